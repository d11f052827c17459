"""What a site allows others to train on, and what they have; ledgers that only grow."""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

APPEND_ONLY = """
CREATE FUNCTION federation_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME;
END $$;
CREATE TRIGGER federation_append_only BEFORE UPDATE OR DELETE ON federation_consent
    FOR EACH ROW EXECUTE FUNCTION federation_is_append_only();
CREATE TRIGGER federation_append_only BEFORE UPDATE OR DELETE ON federation_round
    FOR EACH ROW EXECUTE FUNCTION federation_is_append_only();
"""
NOT_ANY_MORE = """
DROP TRIGGER federation_append_only ON federation_consent;
DROP TRIGGER federation_append_only ON federation_round;
DROP FUNCTION federation_is_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("streaming", "0010_retraining"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="FederationConsent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("stream", models.CharField(max_length=64)),
                ("sequence", models.PositiveIntegerField()),
                (
                    "act",
                    models.CharField(
                        choices=[("allowed", "Allowed"), ("stopped", "Stopped")], max_length=16
                    ),
                ),
                ("at", models.DateTimeField()),
                ("by_name", models.CharField(max_length=150)),
                ("why", models.TextField()),
                ("expires_at", models.DateTimeField(null=True)),
                ("epsilon", models.FloatField(null=True)),
                ("delta", models.FloatField(default=1e-05)),
                ("min_rows", models.PositiveIntegerField(default=0)),
                ("max_steps", models.PositiveIntegerField(default=0)),
                ("max_batch", models.PositiveIntegerField(default=0)),
                ("max_parameters", models.PositiveIntegerField(default=0)),
            ],
            options={
                "db_table": "federation_consent",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("stream", "sequence"), name="federation_consent_in_turn"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="FederationRound",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("stream", models.CharField(max_length=64)),
                ("run", models.CharField(max_length=32)),
                ("number", models.PositiveIntegerField()),
                ("attempt", models.PositiveIntegerField()),
                ("of", models.PositiveIntegerField()),
                ("site_name", models.CharField(max_length=100)),
                ("at", models.DateTimeField()),
                ("by_name", models.CharField(max_length=150)),
                ("rows", models.CharField(max_length=32)),
                ("steps", models.PositiveIntegerField()),
                ("noise", models.FloatField(null=True)),
                ("sample_rate", models.FloatField(null=True)),
                ("delta", models.FloatField(null=True)),
                ("spent", models.FloatField(null=True)),
                (
                    "consent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="rounds",
                        to="streaming.federationconsent",
                    ),
                ),
            ],
            options={
                "db_table": "federation_round",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("stream", "run", "number", "attempt"), name="federation_try_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="FederationTry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("stream", models.CharField(max_length=64)),
                ("run", models.CharField(max_length=32)),
                ("name", models.CharField(max_length=64)),
                ("public_key", models.BinaryField()),
                ("sealed", models.BinaryField()),
                ("at", models.DateTimeField()),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "federation_try",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("stream", "name"), name="federation_joined_once"
                    )
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, NOT_ANY_MORE),
    ]
