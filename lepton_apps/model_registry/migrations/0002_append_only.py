"""Names beside keys, roll-backs, withdrawals and retirements; and rows that never change."""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q

NAMES = """
UPDATE model_version SET created_by_name = coalesce(
    (SELECT username FROM auth_user WHERE auth_user.id = created_by_id), 'lepton');
UPDATE model_role_change SET by_name = coalesce(
    (SELECT username FROM auth_user WHERE auth_user.id = by_id), 'lepton');
"""
CREATE = """
CREATE FUNCTION registry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME;
END $$;
CREATE TRIGGER registry_append_only BEFORE UPDATE OR DELETE ON model_version
    FOR EACH ROW EXECUTE FUNCTION registry_is_append_only();
CREATE TRIGGER registry_append_only BEFORE UPDATE OR DELETE ON model_file
    FOR EACH ROW EXECUTE FUNCTION registry_is_append_only();
CREATE TRIGGER registry_append_only BEFORE UPDATE OR DELETE ON model_role_change
    FOR EACH ROW EXECUTE FUNCTION registry_is_append_only();
CREATE TRIGGER registry_append_only BEFORE UPDATE OR DELETE ON model_retirement
    FOR EACH ROW EXECUTE FUNCTION registry_is_append_only();
"""
DROP = """
DROP TRIGGER registry_append_only ON model_version;
DROP TRIGGER registry_append_only ON model_file;
DROP TRIGGER registry_append_only ON model_role_change;
DROP TRIGGER registry_append_only ON model_retirement;
DROP FUNCTION registry_is_append_only();
"""


def account() -> models.ForeignKey:
    """Who acted: a key that nothing holds, since a row that never changes cannot let go of it."""
    return models.ForeignKey(
        db_constraint=False,
        null=True,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        to=settings.AUTH_USER_MODEL,
    )


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("model_registry", "0001_initial"),
    ]

    operations = [
        migrations.AlterField("modelversion", "created_by", account()),
        migrations.AlterField("rolechange", "by", account()),
        migrations.AddField(
            "modelversion",
            "created_by_name",
            models.CharField(default="", max_length=150),
            preserve_default=False,
        ),
        migrations.AddField(
            "rolechange",
            "by_name",
            models.CharField(default="", max_length=150),
            preserve_default=False,
        ),
        migrations.AddField(
            "rolechange",
            "act",
            models.CharField(
                choices=[
                    ("promoted", "Promoted"),
                    ("rolled_back", "Rolled Back"),
                    ("withdrawn", "Withdrawn"),
                ],
                default="promoted",
                max_length=16,
            ),
        ),
        migrations.AlterField(
            "rolechange",
            "version",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                to="model_registry.modelversion",
            ),
        ),
        migrations.AlterField(
            "modelfile",
            "version",
            models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="files",
                to="model_registry.modelversion",
            ),
        ),
        migrations.CreateModel(
            name="Retirement",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("by_name", models.CharField(max_length=150)),
                ("why", models.TextField(blank=True)),
                ("by", account()),
                (
                    "version",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="retirement",
                        to="model_registry.modelversion",
                    ),
                ),
            ],
            options={"db_table": "model_retirement"},
        ),
        migrations.AddConstraint(
            "rolechange",
            models.CheckConstraint(
                condition=Q(act="withdrawn", role="challenger", version=None)
                | (~Q(act="withdrawn") & Q(version__isnull=False)),
                name="role_change_names_whom",
            ),
        ),
        migrations.RunSQL(NAMES, migrations.RunSQL.noop),
        migrations.RunSQL(CREATE, DROP),
    ]
