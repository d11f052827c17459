"""What people declared to the verticals. Rows are added by services; the newest of a name holds."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class DeclaredDocument(models.Model):
    """One version of a declaration: who wrote it, when and why."""

    id = models.BigAutoField(primary_key=True)
    vertical = models.CharField(max_length=64)
    name = models.CharField(max_length=64)
    body = models.JSONField()
    at = models.DateTimeField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )  # null: by command
    why = models.TextField(blank=True)

    class Meta:
        db_table = "declared_document"
        indexes = [models.Index(fields=["vertical", "name", "-id"], name="declared_newest")]
