"""docs/api.md names every address and every error code."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from lepton_apps.api.errors import CODE_OF_STATUS
from lepton_apps.common.errors import LeptonError

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
NEVER_ANSWERED = {
    "too_many_requests",  # nothing here limits rates
    "assignment_stale",  # a worker's own affair
    "assignment_changed",
    "topic_missing",  # a worker's, too
    "topic_silent",  # ends a replay, whose row says so
    "database_in_use",  # of a command
    "pii_key_unknown",
    "pii_keys_refused",
    "write_conflicted",  # tried again, and then `unavailable`
}


def codes(kind: type[LeptonError]) -> set[str]:
    return {kind.code}.union(*(codes(derived) for derived in kind.__subclasses__()))


def test_every_error_code_of_the_api_is_documented() -> None:
    for module in ("lepton_apps.alerts.errors", "lepton_apps.streaming.services"):
        import_module(module)
    ours = {
        code
        for kind in LeptonError.__subclasses__()
        if kind.__module__.startswith(
            (
                "lepton_apps.api",
                "lepton_apps.alerts",
                "lepton_apps.common",
                "lepton_apps.streaming.services",
                "lepton_apps.model_registry.errors",
            )
        )
        for code in codes(kind)
    }
    missing = {
        code
        for code in (ours | set(CODE_OF_STATUS.values())) - NEVER_ANSWERED
        if f"`{code}`" not in PAGE
    }
    assert not missing


def test_every_endpoint_is_documented() -> None:
    from lepton_apps.api.urls import VIEWS

    shown = re.sub(r"\$BASE|/fintech\.transactions|/\d+|\{\w+\}", "", PAGE).replace("//", "/")
    missing = [
        route
        for route in VIEWS
        if re.sub(r"/<\w+:\w+>", "", f"/{route}") not in shown
        and route.rsplit("/", 1)[-1] not in shown
    ]
    assert not missing
