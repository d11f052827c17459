"""Registers the vertical with the host."""

from __future__ import annotations

from lepton_apps.verticals.apps import VerticalConfig


class ${camel}Config(VerticalConfig):
    name = "$key"
    verbose_name = "$title"
