from __future__ import annotations

from django.apps import AppConfig


class BackupConfig(AppConfig):
    name = "lepton_apps.backup"
    label = "backup"
