from __future__ import annotations

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    """Tokens that are there keep all rights of their account."""

    dependencies = [
        ("accounts", "0002_one_time_password"),
    ]

    operations = [
        migrations.AddField(
            model_name="apitoken",
            name="verticals",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=64), null=True, size=None
            ),
        ),
        migrations.AddField(
            model_name="apitoken",
            name="role",
            field=models.CharField(
                blank=True,
                choices=[("viewer", "Viewer"), ("operator", "Operator"), ("admin", "Admin")],
                default="",
                max_length=16,
            ),
        ),
    ]
