from __future__ import annotations

from django.apps import AppConfig


class RealtimeConfig(AppConfig):
    """The live feed."""

    name = "lepton_apps.realtime"
    label = "realtime"
