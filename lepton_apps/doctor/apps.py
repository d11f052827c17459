from __future__ import annotations

from django.apps import AppConfig


class DoctorConfig(AppConfig):
    name = "lepton_apps.doctor"
    label = "doctor"
