"""The AppConfig of the registry, and the base that a vertical's AppConfig derives from."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.apps import AppConfig

from lepton_apps.verticals import registry


class VerticalsConfig(AppConfig):
    name = "lepton_apps.verticals"
    default = True

    def ready(self) -> None:
        import_module("lepton_apps.verticals.checks")


class VerticalConfig(AppConfig):
    """Registers ``<app>.vertical.VERTICAL`` when the app is ready.

    A module that imports a base AppConfig holds two candidates, and Django then takes neither;
    so the base says it is not the default and every derived class says that it is.
    """

    default = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.default = True

    def ready(self) -> None:
        registry.register(import_module(f"{self.name}.vertical").VERTICAL, app=self.name)
