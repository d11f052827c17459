"""The pictures of the documentation can be made from a server that has something to show."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.console.data import open_alert
from tests.e2e.conftest import Server
from tests.e2e.screenshots import olga_signs_in, take

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


def test_pictures_are_taken_of_what_there_is(
    server: Server, browser: Browser, tmp_path: Path
) -> None:
    open_alert(3)

    done = {shot.name: why for shot, why in take(browser, server.url, olga_signs_in(), tmp_path)}

    assert {name for name, why in done.items() if not why} >= {
        "alerts", "alerts-dark", "alerts-phone", "alert", "alert-dark", "streams",
    }  # fmt: skip
    assert done["ops-alert"] == "there is nothing to show yet"
    taken = {path.stem for path in tmp_path.glob("*.png") if path.stat().st_size > 10_000}
    assert taken == {name for name, why in done.items() if not why}
