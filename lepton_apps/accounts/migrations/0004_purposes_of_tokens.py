from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Tokens that are there stay for anything."""

    dependencies = [
        ("accounts", "0003_scopes_of_tokens"),
    ]

    operations = [
        migrations.AddField(
            model_name="apitoken",
            name="purpose",
            field=models.CharField(
                blank=True,
                choices=[("", "Anything"), ("federation", "Federation")],
                default="",
                max_length=16,
            ),
        ),
    ]
