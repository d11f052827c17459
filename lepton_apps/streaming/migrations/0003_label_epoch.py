"""When labels changed a state: lets workers follow them by asking for what is new."""

from __future__ import annotations

from django.db import migrations

CREATE = """
CREATE SEQUENCE label_epoch AS bigint;
ALTER TABLE secondary_state ADD COLUMN label_epoch bigint;
CREATE INDEX secondary_state_labels ON secondary_state (stream, label_epoch)
    WHERE label_epoch IS NOT NULL;
"""
DROP = """
DROP INDEX secondary_state_labels;
ALTER TABLE secondary_state DROP COLUMN label_epoch;
DROP SEQUENCE label_epoch;
"""


class Migration(migrations.Migration):
    dependencies = [("streaming", "0002_tables")]
    operations = [migrations.RunSQL(CREATE, DROP)]
