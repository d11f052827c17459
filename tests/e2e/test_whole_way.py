"""From a record in Kafka to an operator's verdict, and a network that goes away in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from lepton_apps.accounts.models import Role
from lepton_apps.alerts import services
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.streaming.models import Decision
from tests.champions import payment
from tests.console.data import make_alert, open_alert, open_alerts
from tests.e2e.conftest import Server
from tests.e2e.test_live_alerts import ROWS, shown
from tests.e2e.wires import Wire

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

LISTEN_TO_ANNOUNCER = """() => {
  window.announced = [];
  const announcer = document.getElementById("announcer");
  new MutationObserver(() => window.announced.push(announcer.textContent))
    .observe(announcer, { childList: true, characterData: true, subtree: true });
}"""

COUNT_ANNOUNCED = "window.announced.reduce((sum, text) => sum + parseInt(text), 0)"


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    wire = Wire(server.port)
    yield wire
    wire.close()


def test_a_produced_record_becomes_an_alert_on_the_open_page_and_is_worked_there(
    worker: None,
    produce: Callable[..., None],
    operator: User,
    person: Callable[..., User],
    sign_in: Callable[..., Page],
    complaints: list[str],
) -> None:
    person("nora", fintech=Role.OPERATOR)
    olga, nora = sign_in("olga"), sign_in("nora")
    expect(olga.locator("#empty")).to_be_visible()

    produce(payment(1, id="quiet"), payment(2, id="loud", amount="9000.00"))

    for page in (olga, nora):
        expect(page.locator(ROWS)).to_have_count(1)
    alert = Alert.objects.get()
    row = f"#alert-{alert.pk}"
    expect(olga.locator(f"{row} .title a")).to_have_text(alert.title)
    assert Decision.objects.get(alert_id=alert.pk).record_id == "loud"

    olga.keyboard.press("j")
    olga.keyboard.press("a")
    expect(olga.locator(row)).to_have_attribute("data-status", "acknowledged")
    expect(nora.locator(row)).to_have_attribute("data-status", "acknowledged")
    alert.refresh_from_db()
    assert (alert.status, alert.acknowledged_by) == ("acknowledged", operator)

    olga.keyboard.press("Enter")
    expect(olga.locator("main")).to_contain_text('"amount": "9000.00"')
    assert complaints == []


def test_five_hundred_alerts_while_the_wire_is_cut_are_all_there_once_and_in_order(
    operator: User, admin: User, wire: Wire, sign_in: Callable[..., Page]
) -> None:
    first = open_alert(1)
    page = sign_in("olga", at=wire.url)
    page.evaluate(LISTEN_TO_ANNOUNCER)
    wire.cut()
    expect(page.locator("#connection")).to_have_attribute("data-state", "reconnecting")
    made = [
        alert.pk
        for start in range(2, 502, 50)
        for alert in open_alerts(*(make_alert(n) for n in range(start, start + 50)))
    ]
    services.acknowledge(made[-1], admin)
    assert shown(page) == [first.pk]

    wire.mend()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    expect(page.locator(f"#alert-{made[-1]}")).to_have_attribute("data-status", "acknowledged")
    # The page holds five hundred rows: the oldest one has made room.
    expect(page.locator(ROWS)).to_have_count(500)
    assert shown(page) == list(reversed(made))

    page.wait_for_function(f"() => ({COUNT_ANNOUNCED}) >= 500")
    said = page.evaluate("() => window.announced")
    assert page.evaluate(f"() => {COUNT_ANNOUNCED}") == 500
    assert len(said) <= 5, "a screen reader would speak for minutes"


def test_an_alert_is_triaged_from_the_list_to_its_end_by_the_keyboard_alone(
    operator: User, sign_in: Callable[..., Page], complaints: list[str]
) -> None:
    open_alert(1)
    alert = open_alert(2)
    page = sign_in("olga")
    row = page.locator(f"#alert-{alert.pk}")
    press = page.keyboard.press

    press("j")
    expect(row).to_be_focused()
    press("a")
    expect(row).to_have_attribute("data-status", "acknowledged")
    press("Enter")
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    press("m")
    expect(page.locator("#state")).to_contain_text("olga has it")
    press("r")
    expect(page.locator("#note")).to_be_focused()
    page.keyboard.type("Card was copied; customer called.")
    press("Tab")
    expect(page.get_by_role("button", name="Confirm")).to_be_focused()
    press("Enter")
    expect(page.locator("#state")).to_have_attribute("data-status", "confirmed")
    press("u")
    expect(page.locator(ROWS)).to_have_count(1)
    expect(row).to_have_count(0)

    alert.refresh_from_db()
    assert (alert.status, alert.resolved_by, alert.assigned_to) == ("confirmed", operator, operator)
    assert Label.objects.filter(alert=alert).count() == 1
    assert complaints == []
