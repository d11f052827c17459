"""Who did what, when and why. Rows are added and never change; the database refuses the rest."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class AuditEntry(models.Model):
    """One act of a person or of the server itself."""

    at = models.DateTimeField(db_index=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
    )
    actor_name = models.CharField(max_length=150)  # kept when the account goes
    action = models.CharField(max_length=64)  # "alert.resolved", "model.promoted", ...
    target = models.CharField(max_length=200)
    vertical = models.CharField(max_length=64, blank=True)
    why = models.TextField(blank=True)
    data = models.JSONField(default=dict)

    class Meta:
        indexes = [
            models.Index(fields=["target", "at"], name="audit_of_target"),
            # The log page reads backwards by id: of the verticals that an admin has, of one person.
            models.Index(fields=["vertical", "id"], name="audit_of_vertical"),
            models.Index(fields=["actor_name", "id"], name="audit_of_person"),
        ]
