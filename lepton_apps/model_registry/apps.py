from __future__ import annotations

from django.apps import AppConfig


class ModelRegistryConfig(AppConfig):
    """Model versions and their roles."""

    name = "lepton_apps.model_registry"
    label = "model_registry"
