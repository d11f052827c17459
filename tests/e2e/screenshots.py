"""Make the pictures of the documentation anew, from a server that runs.

    make run                                   # in another terminal; let it run for a few minutes
    .venv/bin/python -m tests.e2e.screenshots  # writes docs/images

It looks as an account of its own, olga, who may work in every vertical. A page that this server
does not have, or has nothing to show on, is named and left out; its picture stays as it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium")
DESK, PHONE = (1280, 800), (390, 844)
SETTLED_MS = 1_500  # for the live feed and the charts
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


@dataclass(frozen=True)
class Shot:
    """One picture. ``path`` is asked when it is taken; ``None``: there is nothing to show."""

    name: str
    path: Callable[[], str | None]
    size: tuple[int, int] = DESK
    dark: bool = False
    at: str = ""  # a selector: what stands at the top of the picture


def always(path: str) -> Callable[[], str]:
    return lambda: path


def loudest(stream: str) -> Callable[[], str | None]:
    """The page of the newest open alert of a stream, of the loudest severity that there is."""

    def find() -> str | None:
        from lepton_apps.alerts.models import Alert

        for severity in ("critical", "high", "medium", "low"):
            found = Alert.objects.filter(stream=stream, severity=severity).order_by("-id").first()
            if found is not None:
                return f"/alerts/{found.pk}/"
        return None

    return find


SHOTS = (
    Shot("overview", always("/overview/")),
    Shot("alerts", always("/")),
    Shot("alerts-dark", always("/"), dark=True),
    Shot("alerts-phone", always("/"), PHONE),
    Shot("alert", loudest("fintech.transactions")),
    Shot("alert-dark", loudest("fintech.transactions"), dark=True),
    Shot("ops-alert", loudest("ops.logs")),
    Shot("root-cause", loudest("ops.metrics"), at="#alert-causes"),
    Shot("streams", always("/streams/")),
    Shot("models", always("/models/")),
)


def take(browser: Browser, url: str, session: str, folder: Path) -> Iterator[tuple[Shot, str]]:
    """Take every picture; yields each with why it was left out, or with nothing."""
    for shot in SHOTS:
        path = shot.path()
        if path is None:
            yield shot, "there is nothing to show yet"
            continue
        width, height = shot.size
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if shot.dark else "light",
            reduced_motion="reduce",
        )
        context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        page = context.new_page()
        answer = page.goto(f"{url}{path}")
        if answer is None or answer.status != HTTPStatus.OK:
            yield shot, f"{path} answers {answer.status if answer else 'nothing'}"
        elif "/sign-in/" in page.url:
            yield shot, "the session is not taken"
        else:
            page.wait_for_timeout(SETTLED_MS)
            if shot.at:
                page.locator(shot.at).evaluate("each => each.scrollIntoView()")
            page.screenshot(path=folder / f"{shot.name}.png")
            yield shot, ""
        context.close()


def olga_signs_in() -> str:
    """The session of the account that the pictures are taken by; made where it is missing."""
    from django.contrib.auth.models import User
    from django.test import Client

    from lepton_apps.accounts.models import Role, VerticalAccess
    from lepton_apps.verticals import registry

    olga, _ = User.objects.get_or_create(username="olga")
    for vertical in registry.verticals():
        VerticalAccess.objects.get_or_create(
            user=olga, vertical=vertical.key, defaults={"role": Role.ADMIN}
        )
    client = Client()
    client.force_login(olga)
    return str(client.cookies["sessionid"].value)


def main() -> int:
    import django

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the running server")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_apps.settings")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright's loop lives in this thread
    django.setup()
    session = olga_signs_in()
    left_out = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        for shot, why in take(browser, arguments.url.rstrip("/"), session, arguments.folder):
            left_out += bool(why)
            sys.stdout.write(f"{shot.name}: {why or 'taken'}\n")
        browser.close()
    return 1 if left_out == len(SHOTS) else 0


if __name__ == "__main__":
    sys.exit(main())
