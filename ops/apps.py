from __future__ import annotations

from lepton_apps.verticals.apps import VerticalConfig


class OpsConfig(VerticalConfig):
    name = "ops"
