"""What a site allows, what it has taken part in, and secrets that wait for their update.

The ledgers of consent and of rounds only grow: the database refuses the rest.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models


class FederationConsent(models.Model):
    """One line of a stream's ledger: from ``at`` on its rows may be trained on, or no longer.

    The last line holds, until it expires. Without a line nobody may.
    """

    class Act(models.TextChoices):
        ALLOWED = "allowed"
        STOPPED = "stopped"

    stream = models.CharField(max_length=64)
    sequence = models.PositiveIntegerField()
    act = models.CharField(max_length=16, choices=Act)
    at = models.DateTimeField()
    by_name = models.CharField(max_length=150)
    why = models.TextField()
    # Below: of a line that allows.
    expires_at = models.DateTimeField(null=True)
    epsilon = models.FloatField(null=True)  # of all rounds ever; null: rounds without privacy
    delta = models.FloatField(default=1e-5)  # at which it is counted
    min_rows = models.PositiveIntegerField(default=0)  # labelled ones, or no round
    max_steps = models.PositiveIntegerField(default=0)  # of a round
    max_batch = models.PositiveIntegerField(default=0)  # rows of a step
    max_parameters = models.PositiveIntegerField(default=0)  # numbers of the shared model

    class Meta:
        db_table = "federation_consent"
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "sequence"], name="federation_consent_in_turn"
            )
        ]


class FederationRound(models.Model):
    """An update that was begun: written before the training, so that no crash forgets spending."""

    stream = models.CharField(max_length=64)
    consent = models.ForeignKey(FederationConsent, on_delete=models.PROTECT, related_name="rounds")
    run = models.CharField(max_length=32)
    number = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField()
    of = models.PositiveIntegerField()
    site_name = models.CharField(max_length=100)  # as the coordinator calls this site
    at = models.DateTimeField()
    by_name = models.CharField(max_length=150)  # the account of the token
    rows = models.CharField(max_length=32)  # a band, as everywhere that somebody reads it
    steps = models.PositiveIntegerField()
    # Of a private round; null: without privacy.
    noise = models.FloatField(null=True)  # in units of the clip
    sample_rate = models.FloatField(null=True)
    delta = models.FloatField(null=True)
    spent = models.FloatField(null=True)  # epsilon of all rounds of the stream, with this one

    class Meta:
        db_table = "federation_round"
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "run", "number", "attempt"], name="federation_try_once"
            )
        ]


class FederationTry(models.Model):
    """A try that was joined and not yet answered, with its secret under the server's key."""

    stream = models.CharField(max_length=64)
    run = models.CharField(max_length=32)
    name = models.CharField(max_length=64)  # of the try: run/number/attempt
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    public_key = models.BinaryField()
    sealed = models.BinaryField()
    at = models.DateTimeField()

    class Meta:
        db_table = "federation_try"
        constraints = [
            models.UniqueConstraint(fields=["stream", "name"], name="federation_joined_once")
        ]
