"""What the console itself remembers: failed sign-ins of the last minutes, and saved views."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class SignInFailure(models.Model):
    """One refused attempt to sign in. Rows older than the window are removed by later failures."""

    username = models.CharField(max_length=150)
    address = models.CharField(max_length=64)  # or the number of a known browser
    at = models.DateTimeField()

    class Meta:
        db_table = "sign_in_failure"
        indexes = [
            models.Index(fields=["username", "address", "at"], name="sign_in_attempts"),
            models.Index(fields=["address", "at"], name="sign_in_attempts_from"),
        ]


class SavedView(models.Model):
    """Filters of the alert list under a name: one person's, or shared with a whole vertical."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000)  # a query string of the list, in its canonical order
    vertical = models.CharField(max_length=64, blank=True)  # whose people see it; empty: the owner
    made_at = models.DateTimeField()

    class Meta:
        db_table = "saved_view"
        constraints = [
            models.UniqueConstraint(fields=["owner", "name"], name="saved_view_name_once")
        ]
        indexes = [models.Index(fields=["vertical"], name="saved_view_shared")]
