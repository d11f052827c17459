"""Registers the payments vertical with the host."""

from __future__ import annotations

from lepton_apps.verticals.apps import VerticalConfig


class FintechConfig(VerticalConfig):
    name = "fintech"
    verbose_name = "Payments"
