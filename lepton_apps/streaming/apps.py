from __future__ import annotations

from django.apps import AppConfig


class StreamingConfig(AppConfig):
    """The way of a record."""

    name = "lepton_apps.streaming"
    label = "streaming"
