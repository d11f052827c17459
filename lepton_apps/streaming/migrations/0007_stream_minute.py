from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("streaming", "0006_score_tally_and_budget")]
    operations = [
        migrations.CreateModel(
            name="StreamMinute",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "stream",
                        "minute",
                        "worker_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("stream", models.CharField(max_length=64)),
                ("minute", models.DateTimeField()),
                ("worker_id", models.UUIDField()),
                ("records", models.BigIntegerField()),
                ("lag", models.BigIntegerField(null=True)),
            ],
            options={"db_table": "stream_minute"},
        ),
    ]
