"""Alerts, and the labels that operators and the outside world give to records."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q


class Alert(models.Model):
    """Records of one entity that a person should see, for one reason, close in time.

    A record belongs to at most one alert. Further records of the same entity and reason fold
    into an alert that is still open while their event time is near that of its last record.
    """

    class Status(models.TextChoices):
        OPEN = "open"
        ACKNOWLEDGED = "acknowledged"
        CONFIRMED = "confirmed"
        DISMISSED = "dismissed"

    class Kind(models.TextChoices):
        RECORD = "record"
        MODEL = "model"  # of what a model sees: no record is at fault, and none is labelled

    UNRESOLVED = (Status.OPEN, Status.ACKNOWLEDGED)

    id = models.BigAutoField(primary_key=True)
    vertical = models.CharField(max_length=64)
    stream = models.CharField(max_length=64)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.RECORD, db_default="record")
    entity_key = models.CharField(max_length=200)
    fingerprint = models.UUIDField()  # of stream, entity and reason: what folds together
    reason = models.CharField(max_length=64)
    severity = models.CharField(max_length=16)
    outcome = models.CharField(max_length=32)
    score = models.FloatField()  # the highest of its records
    record_count = models.PositiveIntegerField()
    first_occurred_at = models.DateTimeField()  # event time
    last_occurred_at = models.DateTimeField()  # event time
    opened_at = models.DateTimeField()  # our clock
    updated_at = models.DateTimeField()
    status = models.CharField(max_length=16, choices=Status, default=Status.OPEN)
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    version = models.PositiveIntegerField(default=1)  # raised by every change
    decision_id = models.UUIDField()  # the decision that opened it
    decided_at = models.DateTimeField()  # finds the partition of that decision
    model_version = models.IntegerField()  # the number of a version of the stream's model
    title = models.CharField(max_length=200)
    facts = models.JSONField(default=list)  # [[label, value], ...] of the record that opened it
    explanation = models.JSONField(default=list)  # [{reason, contribution, features}, ...]
    # What the contributions lead from and to, in log odds: a usual row, and the one that opened it.
    base = models.FloatField(null=True)
    log_odds = models.FloatField(null=True)
    evidence = models.JSONField(default=dict)  # what the vertical shows beside it

    class Meta:
        db_table = "alert"
        constraints = [
            models.CheckConstraint(
                condition=Q(score__gte=0, score__lte=1),
                name="alert_score_in_unit_interval",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["open", "acknowledged"], resolved_at=None)
                | Q(
                    status__in=["confirmed", "dismissed"],
                    resolved_at__gte=F("opened_at"),
                ),
                name="alert_resolved_iff_not_open",
            ),
        ]
        indexes = [
            # The list, newest first, with and without a status.
            models.Index(fields=["vertical", "-id"], name="alert_list"),
            models.Index(fields=["vertical", "status", "-id"], name="alert_list_by_status"),
            models.Index(fields=["entity_key", "-id"], name="alert_of_entity"),
            # How many a stream opened, day by day.
            models.Index(fields=["stream", "opened_at"], name="alert_of_stream"),
            # What the worker folds into.
            models.Index(
                fields=["fingerprint"],
                name="alert_to_fold_into",
                condition=Q(status__in=["open", "acknowledged"]),
            ),
        ]


class Label(models.Model):
    """What is known of a record's truth, and who says so. Rows are added; one field is stamped.

    Labels wait until the record they name has been decided; then the stream that was labelled
    takes them into its entity state once, and ``applied_at`` is set.
    """

    class Source(models.TextChoices):
        TOPIC = "topic"
        REST = "rest"
        CONSOLE = "console"

    id = models.BigAutoField(primary_key=True)
    stream = models.CharField(max_length=64)  # the scored stream
    record_id = models.CharField(max_length=200)
    decision_key = models.UUIDField()
    positive = models.BooleanField()
    kind = models.CharField(max_length=32)
    source = models.CharField(max_length=16, choices=Source)
    labelled_at = models.DateTimeField()  # when the outside world knew
    received_at = models.DateTimeField()  # our clock
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    alert = models.ForeignKey(Alert, null=True, on_delete=models.SET_NULL, related_name="labels")
    applied_at = models.DateTimeField(null=True)
    # The moment it counts from in the state, kept so that a reversal takes back the same thing.
    counted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "label"
        indexes = [
            models.Index(fields=["decision_key", "id"], name="label_of_decision"),
            models.Index(
                fields=["stream", "id"],
                name="label_waiting",
                condition=Q(applied_at=None),
            ),
        ]
