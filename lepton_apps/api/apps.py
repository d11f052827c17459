from __future__ import annotations

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """REST."""

    name = "lepton_apps.api"
    label = "api"
