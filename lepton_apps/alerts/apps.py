from __future__ import annotations

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    """Alerts and labels."""

    name = "lepton_apps.alerts"
    label = "alerts"
