from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Rights per vertical and API tokens."""

    name = "lepton_apps.accounts"
    label = "accounts"

    def ready(self) -> None:
        import_module("lepton_apps.accounts.checks")
