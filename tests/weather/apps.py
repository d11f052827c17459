"""Registers the weather vertical with the host."""

from __future__ import annotations

from lepton_apps.verticals.apps import VerticalConfig


class WeatherConfig(VerticalConfig):
    name = "tests.weather"
    verbose_name = "Weather"
