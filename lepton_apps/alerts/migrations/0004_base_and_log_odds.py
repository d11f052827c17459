from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0003_alert_of_stream")]
    operations = [
        migrations.AddField("alert", "base", models.FloatField(null=True)),
        migrations.AddField("alert", "log_odds", models.FloatField(null=True)),
    ]
