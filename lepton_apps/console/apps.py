from __future__ import annotations

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """The operator web UI."""

    name = "lepton_apps.console"
    label = "console"
