"""A new operator's first minute, on a phone and in the dark."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from lepton_apps.accounts.models import Role
from lepton_apps.accounts.services import create_operator
from tests.e2e.conftest import Server

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

OWN = "a lamp over blue water"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_one_time_password_leads_through_the_choice_of_another_to_the_alerts(
    server: Server, browser: Browser, scheme: str
) -> None:
    _, password = create_operator(None, "nina", {"fintech": Role.OPERATOR})
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(f"{server.url}/streams/")
    page.fill("#username", "nina")
    page.fill("#password", password)
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Choose your password")).to_be_visible()
    expect(page.get_by_label("New password")).to_be_focused()
    assert page.evaluate(OVERFLOW) == 0
    page.keyboard.type("password1234")
    page.get_by_label("The same again").fill("password1234")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This password is too common.")
    assert page.evaluate(OVERFLOW) == 0

    page.get_by_label("New password").fill(OWN)
    page.get_by_label("The same again").fill(OWN)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{server.url}/streams/")

    page.get_by_role("link", name="nina your account").click()
    page.get_by_role("link", name="Change password").click()
    expect(page.get_by_role("heading", name="Change password")).to_be_visible()
    assert page.evaluate(OVERFLOW) == 0
    context.close()
