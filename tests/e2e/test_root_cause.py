"""The likely root cause on the page of an alert: loaded after it, for every eye and every width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from lepton_apps.accounts.models import Role
from lepton_apps.streaming.causes.services import declare_simulated
from tests.e2e.conftest import Server
from tests.e2e.test_looks import OVERFLOW, audit
from tests.ops.around import ops_alert, save_world

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 375)])
def test_the_origin_of_an_alert_is_shown_after_its_page(
    scheme: Any,
    width: int,
    person: Callable[..., User],
    sign_in: Callable[[str], Page],
    server: Server,
    complaints: list[str],
) -> None:
    person("otto", ops=Role.OPERATOR)
    save_world("silence", "payments@node-3")
    declare_simulated("ops")
    beside = ops_alert("payments@node-3", 2, title="payments@node-3 has sent no metrics")
    alert = ops_alert("checkout@node-2")
    page = sign_in("otto")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})

    page.goto(f"{server.url}/alerts/{alert.pk}/")

    block = page.locator("#alert-causes")
    expect(block).to_contain_text("The likely origin is payments@node-3")
    expect(block).to_contain_text("It fell silent")
    assert page.evaluate(OVERFLOW) == 0
    assert audit(page, "root cause") == []
    block.get_by_role("link", name=beside.title).click()
    page.wait_for_url(f"**/alerts/{beside.pk}/")
    page.goto(f"{server.url}/alerts/{alert.pk}/causes/")
    expect(page.locator("main")).to_contain_text("The likely origin is payments@node-3")
    assert page.evaluate(OVERFLOW) == 0
    assert audit(page, "root cause alone") == []
    assert complaints == []
