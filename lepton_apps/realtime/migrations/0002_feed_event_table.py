"""The table of feed events, partitioned by day so that old ones are dropped, not deleted."""

from __future__ import annotations

from django.db import migrations

CREATE = """
CREATE TABLE feed_event (
    vertical text NOT NULL,
    number bigint NOT NULL,
    type text NOT NULL,
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (vertical, number, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE feed_event_default PARTITION OF feed_event DEFAULT;
"""


class Migration(migrations.Migration):
    dependencies = [("realtime", "0001_initial")]
    operations = [migrations.RunSQL(CREATE, "DROP TABLE feed_event")]
