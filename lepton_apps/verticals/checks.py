"""System checks of this server: ``manage.py check`` finds them before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from lepton_apps.verticals import registry
from lepton_apps.verticals.apps import VerticalConfig


@register()
def every_vertical_is_registered(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for config in apps.get_app_configs():
        has_vertical = find_spec(f"{config.name}.vertical") is not None
        if has_vertical and not isinstance(config, VerticalConfig):
            messages.append(
                Error(
                    f"App {config.label!r} has a vertical.py but is not registered.",
                    hint="Derive its AppConfig from lepton_apps.verticals.apps.VerticalConfig.",
                    id="lepton.E001",
                )
            )
    if not registry.verticals():
        messages.append(
            Warning(
                "No vertical is installed, so this server has nothing to score.",
                hint="Name one in LEPTON_VERTICALS (docs/first_vertical.md).",
                id="lepton.W001",
            )
        )
    return messages


@register()
def every_reason_has_a_text(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    return [
        Error(
            f"{stream.name}: reason {reason!r} has no sentence for operators.",
            hint=f"Add it to reason_texts of the vertical {vertical.key!r}.",
            id="lepton.E002",
        )
        for vertical in registry.verticals()
        for stream in vertical.streams
        for reason in sorted(set(stream.extractor.schema.reasons) - set(vertical.reason_texts))
    ]


@register()
def the_servers_are_known(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if not settings.DATABASES:
        messages.append(
            Error(
                "No database: DATABASE_URL is not set and no embedded server is running.",
                hint="Start one with `make run`, or set DATABASE_URL (docs/settings.md).",
                id="lepton.E003",
            )
        )
    if not settings.KAFKA_BOOTSTRAP_SERVERS:
        messages.append(
            Error(
                "No broker: KAFKA_BOOTSTRAP_SERVERS is not set and no embedded one is running.",
                hint="Start one with `make run`, or set KAFKA_BOOTSTRAP_SERVERS.",
                id="lepton.E004",
            )
        )
    return messages
