from __future__ import annotations

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Who did what, when and why."""

    name = "lepton_apps.audit"
    label = "audit"
