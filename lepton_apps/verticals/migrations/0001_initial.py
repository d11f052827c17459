from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
    operations = [
        migrations.CreateModel(
            name="DeclaredDocument",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("vertical", models.CharField(max_length=64)),
                ("name", models.CharField(max_length=64)),
                ("body", models.JSONField()),
                ("at", models.DateTimeField()),
                ("why", models.TextField(blank=True)),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "declared_document",
                "indexes": [
                    models.Index(fields=["vertical", "name", "-id"], name="declared_newest")
                ],
            },
        ),
    ]
