"""Another model takes over and goes again, by the pages, while a real worker decides."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from lepton_apps.common import clock
from lepton_apps.model_registry.models import ModelVersion, RoleChange
from lepton_apps.model_registry.services import register_version
from lepton_apps.streaming.models import Decision
from tests.champions import PAYMENTS, payment, payments_model
from tests.e2e.conftest import PATIENCE_MS

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

NUMBERS = count(1)


def decided_by(version: int, produce: Callable[..., None]) -> bool:
    """Whether records that are produced from now on come to be decided by that version."""
    until = clock.monotonic() + PATIENCE_MS / 1000
    while clock.monotonic() < until:
        number = next(NUMBERS)
        produce(payment(number))
        while clock.monotonic() < until:
            found = Decision.objects.filter(record_id=f"p{number}").first()
            if found is not None:
                break
            clock.sleep(0.05)
        if found is not None and found.model_version == version:
            return True
    return False


def confirm(page: Page, why: str, button: str) -> None:
    """Say why on the page that shows what would change, and do it; by keyboard."""
    expect(page.get_by_label("Why, for the ledger")).to_be_focused()
    page.keyboard.type(why)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name=button)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="done.")).to_be_visible()


def test_a_version_is_promoted_decides_and_is_rolled_back(
    champion: ModelVersion,
    worker: None,
    produce: Callable[..., None],
    admin: User,
    sign_in: Callable[..., Page],
    complaints: list[str],
) -> None:
    second = register_version(PAYMENTS, payments_model(2), None)
    assert decided_by(champion.number, produce)
    page = sign_in("ada")
    page.get_by_role("link", name="Models").click()
    page.get_by_role("link", name=f"version {second.number}", exact=True).click()
    expect(page.get_by_text("It has no role.")).to_be_visible()

    page.get_by_role("link", name="Make it champion").click()
    expect(page.get_by_role("heading", name=f"Make {second} champion?")).to_be_visible()
    confirm(page, "Better on the last week.", "Make it champion")
    expect(page.get_by_text("Champion: it decides")).to_be_visible()
    assert decided_by(second.number, produce)

    page.get_by_role("link", name=f"Roll back to version {champion.number}").click()
    confirm(page, "Too many alerts.", "Roll back")
    expect(page.locator("main")).to_contain_text(f"Champion is version {champion.number}.")
    assert decided_by(champion.number, produce)

    ledger = RoleChange.objects.order_by("sequence").values_list("version__number", "why")
    assert list(ledger)[1:] == [
        (second.number, "Better on the last week."),
        (champion.number, "Too many alerts."),
    ]
    assert complaints == []
