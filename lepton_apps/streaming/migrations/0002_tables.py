"""The large tables, in SQL: partitions, fill factors and column storage matter here.

* ``record_key`` is hash-partitioned and never pruned: a unique key across time partitions would
  have to hold the time, and "unique for ever" is the point.
* ``decision`` and ``dead_letter`` are partitioned by day and dropped by policy (``retention``).
* State rows are rewritten by every batch: a fill factor of 60 keeps almost all updates HOT, and
  PLAIN storage keeps PostgreSQL from trying to compress what is packed already.
"""

from __future__ import annotations

from django.db import migrations

KEY_PARTITIONS = 8

CREATE = (
    """
CREATE TABLE entity_state (
    stream text NOT NULL,
    entity_key text NOT NULL,
    version bigint NOT NULL,
    schema text NOT NULL,
    partition integer,
    due_at timestamptz,
    state bytea STORAGE PLAIN NOT NULL,
    PRIMARY KEY (stream, entity_key)
) WITH (fillfactor = 60);
CREATE INDEX entity_state_due ON entity_state (stream, partition, due_at)
    WHERE due_at IS NOT NULL;

CREATE TABLE secondary_state (
    stream text NOT NULL,
    entity_key text NOT NULL,
    shard integer NOT NULL,
    version bigint NOT NULL,
    schema text NOT NULL,
    state bytea STORAGE PLAIN NOT NULL,
    PRIMARY KEY (stream, entity_key, shard)
) WITH (fillfactor = 60);

CREATE TABLE record_key (
    key uuid NOT NULL PRIMARY KEY,
    decided_at timestamptz NOT NULL,
    entity_key text NOT NULL
) PARTITION BY HASH (key);
"""
    + "".join(
        f"CREATE TABLE record_key_{n} PARTITION OF record_key"
        f" FOR VALUES WITH (MODULUS {KEY_PARTITIONS}, REMAINDER {n});\n"
        for n in range(KEY_PARTITIONS)
    )
    + """
CREATE TABLE decision (
    id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    stream text NOT NULL,
    record_id text NOT NULL,
    entity_key text NOT NULL,
    occurred_at timestamptz NOT NULL,
    topic_id uuid,
    partition integer,
    "offset" bigint,
    payload bytea NOT NULL,
    features bytea NOT NULL,
    model_version integer NOT NULL,
    score double precision NOT NULL,
    outcome text NOT NULL,
    alert_id bigint
) PARTITION BY RANGE (decided_at);
-- One index serves the history of an entity and, with record_key, the way from a record to it.
CREATE INDEX decision_of_entity ON decision (entity_key, decided_at);
CREATE INDEX decision_of_alert ON decision (alert_id) WHERE alert_id IS NOT NULL;
CREATE TABLE decision_default PARTITION OF decision DEFAULT;

CREATE SEQUENCE dead_letter_id AS bigint;
CREATE TABLE dead_letter (
    id bigint NOT NULL DEFAULT nextval('dead_letter_id'),
    failed_at timestamptz NOT NULL,
    stream text NOT NULL,
    topic text NOT NULL,
    topic_id uuid NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    payload bytea,
    headers jsonb NOT NULL DEFAULT '[]',
    reason text NOT NULL,
    detail text NOT NULL,
    path text NOT NULL,
    status text NOT NULL DEFAULT 'new',
    status_at timestamptz,
    status_by text NOT NULL DEFAULT '',
    PRIMARY KEY (id, failed_at)
) PARTITION BY RANGE (failed_at);
CREATE INDEX dead_letter_list ON dead_letter (stream, status, id);
CREATE TABLE dead_letter_default PARTITION OF dead_letter DEFAULT;
"""
)

DROP = """
DROP TABLE dead_letter; DROP SEQUENCE dead_letter_id; DROP TABLE decision; DROP TABLE record_key;
DROP TABLE secondary_state; DROP TABLE entity_state;
"""


class Migration(migrations.Migration):
    dependencies = [("streaming", "0001_initial")]
    operations = [migrations.RunSQL(CREATE, DROP)]
