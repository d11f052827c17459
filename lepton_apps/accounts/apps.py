from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Rights per vertical and API tokens."""

    name = "lepton_apps.accounts"
    label = "accounts"
