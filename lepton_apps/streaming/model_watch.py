"""What is kept of models at work: challengers in shadow, drift, and trainings by policy."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class ShadowTally(models.Model):
    """What a challenger would have decided, counted beside what the champion did, by the hour."""

    pk = models.CompositePrimaryKey(
        "stream", "hour", "champion", "challenger", "writer", "outcome", "other_outcome"
    )
    stream = models.CharField(max_length=64)
    hour = models.DateTimeField()  # its beginning, our clock
    champion = models.IntegerField()  # numbers of versions of the stream's model
    challenger = models.IntegerField()
    writer = models.IntegerField()  # a connection of PostgreSQL; 0: added up
    outcome = models.SmallIntegerField()  # the champion's, as the policy counts them
    other_outcome = models.SmallIntegerField()  # the challenger's
    count = models.BigIntegerField()
    difference = models.FloatField()  # sum of the challenger's scores less the champion's
    square = models.FloatField()  # sum of the squares of these differences

    class Meta:
        db_table = "shadow_tally"


class ShadowDisagreement(models.Model):
    """A row that the two decide differently: what labels, when they come, are held against."""

    stream = models.CharField(max_length=64)
    decided_at = models.DateTimeField()
    champion = models.IntegerField()
    challenger = models.IntegerField()
    decision_key = models.UUIDField()
    score = models.FloatField()
    other_score = models.FloatField()
    outcome = models.SmallIntegerField()
    other_outcome = models.SmallIntegerField()

    class Meta:
        db_table = "shadow_disagreement"
        indexes = [
            models.Index(
                fields=["stream", "champion", "challenger", "-decided_at"],
                name="disagreement_of_pair",
            ),
            models.Index(fields=["decided_at"], name="disagreement_by_time"),
        ]


class DriftReview(models.Model):
    """One look at how far the rows of late have moved from what the champion was made on."""

    class Verdict(models.TextChoices):
        NONE = "none"
        SOME = "some"
        MUCH = "much"
        TOO_FEW = "too_few"  # rows, or hours
        NO_REFERENCE = "no_reference"  # the version has nothing to be compared with

    stream = models.CharField(max_length=64)
    at = models.DateTimeField()
    version = models.IntegerField()  # the champion's number
    since = models.DateTimeField()  # the window begins there and ends with ``at``
    rows = models.IntegerField()
    verdict = models.CharField(max_length=16, choices=Verdict)
    score_psi = models.FloatField(null=True)
    features = models.JSONField(default=list)  # [[name, PSI], ...], the furthest first
    alert_id = models.BigIntegerField(null=True)

    class Meta:
        db_table = "drift_review"
        indexes = [models.Index(fields=["stream", "-id"], name="drift_of_stream")]


class RetrainingPolicy(models.Model):
    """When a recipe is run again, and what its result may become. The newest of a recipe holds."""

    class Then(models.TextChoices):
        PROPOSE = "propose"  # a version without a role; people decide
        CHALLENGER = "challenger"  # it decides in shadow
        CHAMPION = "champion_if_better"  # than champion and baseline, on labels that neither saw

    recipe = models.CharField(max_length=200)
    every_days = models.FloatField(null=True)  # null: by no schedule
    on_drift = models.BooleanField(default=False)
    data = models.CharField(max_length=100)  # a span, as `train_model --data` takes it
    then = models.CharField(max_length=32, choices=Then, default=Then.PROPOSE)
    at = models.DateTimeField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )  # null: by command
    why = models.TextField(blank=True)

    class Meta:
        db_table = "retraining_policy"
        indexes = [models.Index(fields=["recipe", "-id"], name="policy_of_recipe")]

    @property
    def is_off(self) -> bool:
        return self.every_days is None and not self.on_drift


class TrainingRun(models.Model):
    """A training that a policy asked for, and what came of it."""

    class Cause(models.TextChoices):
        SCHEDULE = "schedule"
        DRIFT = "drift"

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        INTERRUPTED = "interrupted"  # its process is gone

    recipe = models.CharField(max_length=200)
    stream = models.CharField(max_length=64)
    cause = models.CharField(max_length=16, choices=Cause)
    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    version = models.IntegerField(null=True)  # the number of the candidate
    # What it was compared by: {"rows", "positives", "champion", "candidate", "baseline", "note"}.
    comparison = models.JSONField(default=dict)
    became = models.CharField(max_length=32, blank=True)  # candidate, challenger, champion
    error = models.TextField(blank=True)

    class Meta:
        db_table = "training_run"
        indexes = [models.Index(fields=["recipe", "-id"], name="run_of_recipe")]
