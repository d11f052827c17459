"""Rights per vertical, one-time passwords and API tokens. Accounts are Django's users."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models


class Role(models.TextChoices):
    """What somebody may do in a vertical. Each role may do what the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class VerticalAccess(models.Model):
    """A user's role in one vertical. No row: the vertical does not exist for that user."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="vertical_access",
    )
    vertical = models.CharField(max_length=64)
    role = models.CharField(max_length=16, choices=Role)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "vertical"], name="one_role_per_vertical")
        ]


class OneTimePassword(models.Model):
    """The user's password was made by the server: it opens nothing but the choice of another."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="one_time_password",
    )
    created_at = models.DateTimeField()


class Purpose(models.TextChoices):
    """What a token is for."""

    ANYTHING = "", "Anything"  # what its account may, as far as verticals and role let it
    FEDERATION = "federation"  # lets one vertical's rows be trained on, and opens nothing else


class ApiToken(models.Model):
    """A token that acts as its user, as far as its scope lets it.

    Only its hash is stored; the text is shown once. The scope never changes: another one is
    another token.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens"
    )
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)  # SHA-256, hex
    prefix = models.CharField(max_length=12)  # to tell tokens apart, never to sign in
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    verticals = ArrayField(models.CharField(max_length=64), null=True)  # null: all of the user's
    role = models.CharField(max_length=16, choices=Role, blank=True, default="")  # "": no limit
    purpose = models.CharField(max_length=16, choices=Purpose, blank=True, default="")
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
