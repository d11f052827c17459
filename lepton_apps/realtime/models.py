"""What the server tells browsers, numbered without gaps per vertical."""

from __future__ import annotations

import uuid

from django.db import models


class FeedCounter(models.Model):
    """The last event number of a vertical. A restore from backup must start a new epoch."""

    vertical = models.CharField(max_length=64, primary_key=True)
    epoch = models.UUIDField(default=uuid.uuid4)
    last_number = models.BigIntegerField(default=0)

    class Meta:
        db_table = "feed_counter"


class FeedEvent(models.Model):
    """One event. The table is partitioned by day; see the migration."""

    pk = models.CompositePrimaryKey("vertical", "number", "created_at")
    vertical = models.CharField(max_length=64)
    number = models.BigIntegerField()
    type = models.CharField(max_length=32)
    body = models.JSONField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "feed_event"
        managed = False
