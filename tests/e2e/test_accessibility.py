"""Every page of the console, from the URLconf, as axe sees it, in the light and in the dark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page

from benchmarks.pages import places
from lepton_apps.model_registry.models import ModelVersion
from tests.console.data import make_alert, open_alerts, save_dead_letter, save_decision
from tests.e2e.conftest import ROOT, Server

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
RUN = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.map((v) => ({
    id: v.id, impact: v.impact, nodes: v.nodes.map((n) => n.target.join(" ")).slice(0, 5),
  }));
}"""
GRAVE = {"serious", "critical"}


def grave(page: Page) -> list[Any]:
    """What shuts people out of the page that is open, in both schemes."""
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        found += [
            (scheme, violation["id"], violation["nodes"])
            for violation in page.evaluate(RUN)
            if violation["impact"] in GRAVE
        ]
    return found


def test_no_page_shuts_anybody_out_or_complains_in_the_browsers_console(
    champion: ModelVersion,
    admin: User,
    server: Server,
    sign_in: Callable[..., Page],
    complaints: list[str],
) -> None:
    alerts = open_alerts(*(make_alert(number) for number in range(1, 9)))
    save_decision(alerts[-1], 8)
    save_dead_letter(b'{"amount": "much"}')
    page = sign_in("ada")
    failures: dict[str, Any] = {}
    seen = set()
    for place in places():
        if place.missing or "?" in place.path:
            continue
        answer = page.request.get(f"{server.url}{place.path}", max_redirects=0)
        # Acts answer 405; fragments are no documents, and belong to pages that are looked at.
        if not answer.ok or not answer.text().lstrip().lower().startswith("<!doctype html>"):
            continue
        page.goto(f"{server.url}{place.path}")
        page.evaluate(AXE.read_text(encoding="utf-8"))
        seen.add(place.name)
        if found := grave(page):
            failures[place.path] = found
        if complaints:
            failures[f"{place.path} console"] = complaints.copy()
            complaints.clear()
    assert failures == {}
    assert seen >= {"alerts", "alert", "streams", "dead-letters", "dead-letter", "panels"}


@pytest.mark.parametrize("path", ["/sign-in/", "/no-such-page/"])
def test_a_strangers_page_shuts_nobody_out(server: Server, browser: Browser, path: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}{path}")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert grave(page) == []
    context.close()
