"""Every page in a browser: accessible, without a complaint, as wide as its window, in both themes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from playwright.sync_api import Page, expect

from lepton_apps.common import clock
from tests.console.data import STREAM, save_dead_letter
from tests.console.many import fill, fill_entity, fill_letters
from tests.e2e.conftest import Server

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

AXE = Path(__file__).resolve().parents[2] / "node_modules/axe-core/axe.min.js"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
FOUND = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .filter(each => ["serious", "critical"].includes(each.impact))
    .map(each => `${each.id}: ${each.nodes.slice(0, 3).map(node => node.target).join(", ")}`)"""
LETTERS = f"/streams/{STREAM}/dead-letters/"
MINUTES = """
INSERT INTO stream_minute (stream, minute, worker_id, records, lag)
SELECT %s, date_trunc('minute', %s::timestamptz) - n * interval '1 minute',
       '00000000-0000-0000-0000-000000000001', 6000 + n, n
FROM generate_series(0, 90) AS n
"""
SCORES = """
INSERT INTO score_tally (stream, hour, model_version, writer, bin, count, loud)
SELECT %s, date_trunc('hour', %s::timestamptz), 1, 0, n, 500 - n, 0 FROM generate_series(0, 450) AS n
"""


def pages_with(data: str) -> list[str]:
    pages = [
        "/overview/", "/", "/streams/", LETTERS, "/models/", "/budgets/", "/replay/", "/account/",
        "/panels/fintech/", "/password/", "/nothing/",
    ]  # fmt: skip
    if data == "nothing":
        return pages
    fill(300)
    fill_letters(60)
    alert = fill_entity(77_000)
    with connection.cursor() as cursor:
        cursor.execute(MINUTES, [STREAM, clock.now()])
        cursor.execute(SCORES, [STREAM, clock.now()])
    return [
        *pages,
        "/overview/?span=24h",
        "/?status=all&severity=critical",
        f"/alerts/{alert.pk}/",
        f"/records/{alert.decision_id}/",
        f"{LETTERS}{save_dead_letter(b'[1, 2]')}/",
    ]


def audit(page: Page, path: str) -> list[str]:
    """What axe finds serious or critical. The page's own policy lets no script in but by the tool."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: Any = page.evaluate(FOUND)
    return [f"{path} {each}" for each in found]


@pytest.mark.parametrize("data", ["nothing", "much"])
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 375)])
def test_every_page_is_accessible_and_fits_its_window(
    data: str,
    scheme: Any,
    width: int,
    operator: User,
    sign_in: Callable[[str], Page],
    server: Server,
    complaints: list[str],
) -> None:
    page = sign_in("olga")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    found: list[str] = []
    for path in pages_with(data):
        page.goto(server.url + path)
        page.wait_for_load_state("load")
        found += audit(page, path)
        if page.evaluate(OVERFLOW):
            found.append(f"{path} is wider than its window")
    # A page that is not there is said to be missing by the browser as well.
    assert [each for each in complaints if "404" not in each] + found == []


def test_charts_are_drawn_and_follow_the_theme(
    operator: User, sign_in: Callable[[str], Page], server: Server, complaints: list[str]
) -> None:
    page = sign_in("olga")
    pages_with("much")
    page.goto(f"{server.url}/overview/")
    expect(page.locator("#plot-records canvas")).to_be_visible()
    expect(page.locator("#plot-alerts canvas")).to_be_visible()
    expect(page.locator("#plot-scores canvas")).to_be_visible()
    page.locator("#table-records summary").click()
    with page.expect_response(lambda answer: "/overview/" in answer.url):
        pass
    expect(page.locator("#table-records")).to_have_attribute("open", "")
    page.locator("#theme-button").click()
    expect(page.locator("#plot-records canvas")).to_have_count(1)
    assert complaints == []


def test_an_alert_is_triaged_by_the_keyboard_alone(
    operator: User, sign_in: Callable[[str], Page], server: Server, complaints: list[str]
) -> None:
    page = sign_in("olga")
    fill(6)  # open, acknowledged, dismissed, open, open, confirmed
    page.keyboard.press("g")
    page.keyboard.press("o")
    page.wait_for_url("**/overview/")
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_selector("#connection[data-state=live]")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/alerts/*/")
    page.wait_for_selector("#next-alert:not([hidden])")
    first = page.url
    page.keyboard.press("j")
    page.wait_for_url(lambda url: url != first)
    page.wait_for_selector("#connection[data-state=live]")
    page.keyboard.press("a")
    expect(page.locator("#state")).to_contain_text("acknowledged")
    page.keyboard.press("r")
    page.keyboard.type("Asked the customer.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_contain_text("confirmed")
    page.keyboard.press("k")
    page.wait_for_url(first)
    page.keyboard.press("u")
    page.wait_for_url(f"{server.url}/")
    assert complaints == []
