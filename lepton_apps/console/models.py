"""What the console itself remembers: failed sign-ins of the last minutes, and nothing else."""

from __future__ import annotations

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
