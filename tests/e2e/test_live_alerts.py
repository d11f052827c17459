"""What an operator sees without touching the page, and that nothing is missed or doubled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from lepton_apps.alerts.models import Alert
from lepton_apps.common import clock
from tests.console.data import make_alert, open_alert, open_alerts
from tests.e2e.conftest import Server

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

ROWS = "#alerts > .alert-row"


def shown(page: Page) -> list[int]:
    """The alerts of the open page, from top to bottom."""
    numbers: list[str] = page.eval_on_selector_all(ROWS, "rows => rows.map(r => r.dataset.id)")
    return [int(number) for number in numbers]


def test_an_alert_appears_and_is_worked_by_keyboard_while_another_operator_looks_on(
    operator: User, admin: User, sign_in: Callable[[str], Page], complaints: list[str]
) -> None:
    olga, ada = sign_in("olga"), sign_in("ada")
    expect(olga.locator("#empty")).to_be_visible()

    alert = open_alert(1)
    row = f"#alert-{alert.pk}"
    expect(olga.locator(f"{row} .title a")).to_have_text(alert.title)
    expect(ada.locator(row)).to_have_attribute("data-status", "open")
    expect(olga.locator("#empty")).to_be_hidden()
    expect(olga.locator("#announcer")).to_have_text("1 new alert: medium")

    olga.keyboard.press("j")
    olga.keyboard.press("a")
    expect(olga.locator(row)).to_have_attribute("data-status", "acknowledged")
    expect(olga.locator(row)).to_be_focused()
    expect(ada.locator(row)).to_have_attribute("data-status", "acknowledged")
    assert Alert.objects.get().acknowledged_by == operator

    ada.keyboard.press("j")
    ada.keyboard.press("Enter")
    expect(ada.locator("#connection")).to_have_attribute("data-state", "live")
    ada.keyboard.press("r")
    ada.keyboard.type("Being written")
    olga.keyboard.press("Enter")
    olga.wait_for_selector("#state")
    olga.keyboard.press("m")
    expect(ada.locator("#state")).to_contain_text("olga has it")
    expect(ada.locator("#note")).to_have_value("Being written")
    ada.get_by_role("button", name="Confirm").click()
    expect(ada.locator("#state")).to_contain_text("confirmed")
    expect(olga.locator("#state")).to_contain_text("by ada at")
    assert Alert.objects.get().status == "confirmed"
    assert complaints == []


def test_a_refusal_is_shown_where_the_act_was_tried(
    operator: User, admin: User, sign_in: Callable[[str], Page], server: Server
) -> None:
    alert = open_alert(1)
    page = sign_in("olga")
    page.goto(f"{server.url}/alerts/{alert.pk}/")
    page.wait_for_selector("#connection[data-state=live]")
    # Somebody was faster, and word of it is still on its way.
    Alert.objects.update(
        status="acknowledged", version=2, acknowledged_at=clock.now(), acknowledged_by=admin
    )
    page.keyboard.press("a")
    expect(page.locator("#action-error")).to_contain_text("by ada")


def test_new_alerts_wait_while_a_row_has_the_focus(
    operator: User, sign_in: Callable[[str], Page], complaints: list[str]
) -> None:
    first = open_alert(1)
    page = sign_in("olga")
    page.keyboard.press("j")
    later = open_alerts(*(make_alert(number) for number in range(2, 14)))
    expect(page.locator("#held")).to_have_text("12 new alerts")
    assert shown(page) == [first.pk]
    expect(page.locator(f"#alert-{first.pk}")).to_be_focused()
    page.keyboard.press("n")
    expect(page.locator("#held")).to_be_hidden()
    assert shown(page) == [*(alert.pk for alert in reversed(later)), first.pk]
    assert complaints == []


def test_fifty_alerts_while_the_network_is_gone_are_all_there_once(
    operator: User, sign_in: Callable[[str], Page], complaints: list[str]
) -> None:
    first = open_alert(1)
    page = sign_in("olga")
    page.context.set_offline(True)
    expect(page.locator("#connection")).not_to_have_attribute("data-state", "live")
    made = [open_alert(number).pk for number in range(2, 52)]
    page.context.set_offline(False)
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    expect(page.locator(ROWS)).to_have_count(51)
    assert shown(page) == [*reversed(made), first.pk]


def test_a_killed_server_costs_no_alert(
    operator: User, sign_in: Callable[[str], Page], server: Server
) -> None:
    page = sign_in("olga")
    server.kill()
    expect(page.locator("#connection")).to_have_attribute("data-state", "reconnecting")
    made = [open_alert(number).pk for number in range(1, 51)]
    server.start()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    expect(page.locator(ROWS)).to_have_count(50)
    assert shown(page) == list(reversed(made))


def test_what_does_not_match_the_filter_stays_out(
    operator: User, sign_in: Callable[[str], Page], server: Server
) -> None:
    page = sign_in("olga")
    page.goto(f"{server.url}/?severity=high")
    page.wait_for_selector("#connection[data-state=live]")
    made = open_alerts(*(make_alert(number) for number in range(1, 9)))
    wanted = [alert.pk for alert in made if alert.severity == "high"]
    expect(page.locator(ROWS)).to_have_count(len(wanted))
    assert shown(page) == list(reversed(wanted))


def test_the_page_never_holds_more_than_five_hundred_rows_and_pages_on_from_the_last(
    operator: User, sign_in: Callable[[str], Page], complaints: list[str]
) -> None:
    page = sign_in("olga")
    made = open_alerts(*(make_alert(number) for number in range(1, 521)))
    expect(page.locator(f"#alert-{made[-1].pk}")).to_be_attached()
    ids = [alert.pk for alert in reversed(made)]
    assert shown(page) == ids[:500]
    page.locator("#older").click()
    expect(page.locator(ROWS)).to_have_count(20)
    assert shown(page) == ids[500:]
    assert complaints == []


def test_signing_out_elsewhere_leads_to_the_sign_in(
    operator: User, sign_in: Callable[[str], Page]
) -> None:
    page = sign_in("olga")
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in/?next=*")
