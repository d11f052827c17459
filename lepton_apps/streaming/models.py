"""What the spine remembers. The large tables are partitioned; see the migration for their shape.

Everything here is written by ``store.py`` and ``services.py`` alone.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

# Django looks for an app's tables in this module.
from lepton_apps.streaming.federation.models import FederationConsent as FederationConsent
from lepton_apps.streaming.federation.models import FederationRound as FederationRound
from lepton_apps.streaming.federation.models import FederationTry as FederationTry
from lepton_apps.streaming.model_watch import DriftReview as DriftReview
from lepton_apps.streaming.model_watch import RetrainingPolicy as RetrainingPolicy
from lepton_apps.streaming.model_watch import ShadowDisagreement as ShadowDisagreement
from lepton_apps.streaming.model_watch import ShadowTally as ShadowTally
from lepton_apps.streaming.model_watch import TrainingRun as TrainingRun


class StreamOffset(models.Model):
    """Where a stream goes on reading a partition of one incarnation of its topic."""

    pk = models.CompositePrimaryKey("stream", "topic_id", "partition")
    stream = models.CharField(max_length=64)
    topic_id = models.UUIDField()  # a topic made anew starts its offsets again
    partition = models.IntegerField()
    next_offset = models.BigIntegerField()
    high_water = models.BigIntegerField()  # the last one seen, so that a loss can be counted
    watermark = models.DateTimeField(null=True)  # newest event time read
    last_tick = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "stream_offset"


class EntityState(models.Model):
    """What the extractor remembers of a main entity."""

    pk = models.CompositePrimaryKey("stream", "entity_key")
    stream = models.CharField(max_length=64)
    entity_key = models.CharField(max_length=200)
    version = models.BigIntegerField()
    schema = models.CharField(max_length=16)
    partition = models.IntegerField(null=True)
    due_at = models.DateTimeField(null=True)
    state = models.BinaryField()

    class Meta:
        db_table = "entity_state"
        managed = False


class SecondaryState(models.Model):
    """One writer's share of what is remembered of an entity that no partition owns."""

    pk = models.CompositePrimaryKey("stream", "entity_key", "shard")
    stream = models.CharField(max_length=64)
    entity_key = models.CharField(max_length=200)
    shard = models.IntegerField()
    version = models.BigIntegerField()
    schema = models.CharField(max_length=16)
    state = models.BinaryField()

    class Meta:
        db_table = "secondary_state"
        managed = False


class Knowledge(models.Model):
    """Something a whole stream has learned. Ids are made from content, so writers agree."""

    pk = models.CompositePrimaryKey("stream", "id")
    stream = models.CharField(max_length=64)
    id = models.CharField(max_length=64)
    body = models.BinaryField()
    learned_at = models.DateTimeField()

    class Meta:
        db_table = "knowledge"


class KnowledgeTally(models.Model):
    """How often something that a stream knows was met; a row for each writer, added up to read."""

    pk = models.CompositePrimaryKey("stream", "id", "shard")
    stream = models.CharField(max_length=64)
    id = models.CharField(max_length=64)
    shard = models.IntegerField()
    count = models.BigIntegerField()
    first_at = models.DateTimeField()  # event time
    last_at = models.DateTimeField()

    class Meta:
        db_table = "knowledge_tally"


class ScoreTally(models.Model):
    """How many scores of an hour fell into a bin; a row for each writer, added up to read."""

    pk = models.CompositePrimaryKey("stream", "hour", "model_version", "writer", "bin")
    stream = models.CharField(max_length=64)
    hour = models.DateTimeField()  # of ``decided_at``
    model_version = models.IntegerField()
    writer = models.IntegerField()  # a connection's process; 0: all, once the hour is over
    bin = models.IntegerField()  # see ``tallying``
    count = models.BigIntegerField()
    loud = models.BigIntegerField()  # of these: opened or joined an alert

    class Meta:
        db_table = "score_tally"


class AlertBudget(models.Model):
    """How many alerts of a stream people can read. Rows are added; the newest holds."""

    class Kind(models.TextChoices):
        ALERTS = "alerts"  # alerts opened
        REVIEWS = "reviews"  # loud records, folded or not: each held payment is looked at
        FALSE_ALARMS = "false_alarms"  # alerts that turn out to be nothing

    id = models.BigAutoField(primary_key=True)
    stream = models.CharField(max_length=64)
    kind = models.CharField(max_length=16, choices=Kind)
    per_day = models.FloatField(null=True)  # null: from here on none, the model's thresholds hold
    at = models.DateTimeField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    why = models.TextField(blank=True)

    class Meta:
        db_table = "alert_budget"
        indexes = [models.Index(fields=["stream", "-id"], name="alert_budget_newest")]


class Tick(models.Model):
    """A tick that was given to an extractor, so that a replay sees the same."""

    pk = models.CompositePrimaryKey("stream", "topic_id", "partition", "at")
    stream = models.CharField(max_length=64)
    topic_id = models.UUIDField()
    partition = models.IntegerField()
    at = models.DateTimeField()  # event time
    before_offset = models.BigIntegerField()  # the first record that came after it
    by_clock = models.BooleanField()  # true: the partition was idle

    class Meta:
        db_table = "tick"


class RecordKey(models.Model):
    """Every record ever decided, found by (stream, record id). Unique for ever."""

    key = models.UUIDField(primary_key=True)
    decided_at = models.DateTimeField()
    entity_key = models.CharField(max_length=200)

    class Meta:
        db_table = "record_key"
        managed = False


class Decision(models.Model):
    """A record, the features it was scored by, and what was decided. Partitioned by day."""

    pk = models.CompositePrimaryKey("id", "decided_at")
    id = models.UUIDField()
    decided_at = models.DateTimeField()
    stream = models.CharField(max_length=64)
    record_id = models.CharField(max_length=200)
    entity_key = models.CharField(max_length=200)
    occurred_at = models.DateTimeField()
    topic_id = models.UUIDField(null=True)  # null: came over REST
    partition = models.IntegerField(null=True)
    offset = models.BigIntegerField(null=True)
    payload = models.BinaryField()
    features = models.BinaryField()  # float32, little endian, in the order of the schema
    model_version = models.IntegerField()  # the number of a version of the stream's model
    score = models.FloatField()
    outcome = models.CharField(max_length=32)
    alert_id = models.BigIntegerField(null=True)

    class Meta:
        db_table = "decision"
        managed = False


class DeadLetter(models.Model):
    """A record no retry can help, with its bytes as they came. Partitioned by day."""

    class Status(models.TextChoices):
        NEW = "new"
        REDRIVEN = "redriven"
        DISCARDED = "discarded"

    pk = models.CompositePrimaryKey("id", "failed_at")
    id = models.BigIntegerField()
    failed_at = models.DateTimeField()
    stream = models.CharField(max_length=64)
    topic = models.CharField(max_length=200)
    topic_id = models.UUIDField()
    partition = models.IntegerField()
    offset = models.BigIntegerField()
    key = models.BinaryField(null=True)
    payload = models.BinaryField(null=True)
    headers = models.JSONField(default=list)
    reason = models.CharField(max_length=64)
    detail = models.TextField()
    path = models.TextField()
    status = models.CharField(max_length=16, choices=Status)
    status_at = models.DateTimeField(null=True)
    status_by = models.CharField(max_length=150)

    class Meta:
        db_table = "dead_letter"
        managed = False


class OffsetGap(models.Model):
    """Records that a broker lost before they were read: counted, and shown to operators."""

    class Kind(models.TextChoices):
        RETENTION = "retention"  # deleted by the broker's policy before they were read
        RECREATED = "recreated"  # the topic, or the whole broker, started again empty
        TRUNCATED = "truncated"  # the log ends at from_offset; it was read to to_offset before

    stream = models.CharField(max_length=64)
    topic_id = models.UUIDField()
    partition = models.IntegerField()
    kind = models.CharField(max_length=16, choices=Kind)
    from_offset = models.BigIntegerField()
    to_offset = models.BigIntegerField()  # exclusive
    noticed_at = models.DateTimeField()

    class Meta:
        db_table = "offset_gap"

    @property
    def lost(self) -> int:
        """Number of records that were never read. Those of a log cut short were read before."""
        return 0 if self.kind == self.Kind.TRUNCATED else self.to_offset - self.from_offset


class StreamHalt(models.Model):
    """A stream that stopped on purpose; it goes on when somebody says ``resume``."""

    stream = models.CharField(max_length=64)
    reason = models.TextField()
    at = models.DateTimeField()
    resumed_at = models.DateTimeField(null=True)
    resumed_by = models.CharField(max_length=150, blank=True)

    class Meta:
        db_table = "stream_halt"
        constraints = [
            models.UniqueConstraint(
                fields=["stream"],
                name="one_halt_at_a_time",
                condition=models.Q(resumed_at=None),
            )
        ]


class WorkerHeartbeat(models.Model):
    """A worker says that it lives, what it reads and how far behind it is."""

    worker_id = models.UUIDField(primary_key=True)
    stream = models.CharField(max_length=64)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    condition = models.CharField(max_length=32)  # running, waiting, halted, stopped
    detail = models.TextField(blank=True)
    assignment = models.JSONField(default=list)  # partitions
    lag = models.JSONField(default=dict)  # partition -> records waiting
    rates = models.JSONField(default=dict)  # records_per_s, batch_s, ...
    model_version = models.IntegerField(null=True)

    class Meta:
        db_table = "worker_heartbeat"
        indexes = [models.Index(fields=["stream", "-beat_at"], name="heartbeat_of_stream")]


class StreamMinute(models.Model):
    """What one worker read in a minute, and how far behind it was at the end of it."""

    pk = models.CompositePrimaryKey("stream", "minute", "worker_id")
    stream = models.CharField(max_length=64)
    minute = models.DateTimeField()  # its beginning, our clock
    worker_id = models.UUIDField()
    records = models.BigIntegerField()
    lag = models.BigIntegerField(null=True)  # records; null: it had no partition

    class Meta:
        db_table = "stream_minute"


class ReplayRun(models.Model):
    """A replay: what was asked, how far it is, and how it compares with what happened.

    The one thing that a replay writes.
    """

    class State(models.TextChoices):
        WAITING = "waiting"  # its process has not begun
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"
        INTERRUPTED = "interrupted"  # its process is gone

    ACTIVE = (State.WAITING, State.RUNNING)

    stream = models.CharField(max_length=64)
    question = models.JSONField()  # as ``replay.question`` writes it
    state = models.CharField(max_length=16, choices=State, default=State.WAITING)
    stage = models.CharField(max_length=64, blank=True)
    done = models.BigIntegerField(default=0)  # rows, or records of a topic
    total = models.BigIntegerField(default=0)  # 0: not known yet
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )  # null: by command
    asked_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    cancel_asked_at = models.DateTimeField(null=True)
    host = models.CharField(max_length=255, blank=True)
    pid = models.IntegerField(null=True)
    error = models.TextField(blank=True)
    result = models.JSONField(null=True)

    class Meta:
        db_table = "replay_run"
        indexes = [models.Index(fields=["stream", "-id"], name="replay_of_stream")]
