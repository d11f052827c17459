"""A real server on the test database, and real browsers of the people of the tests."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from django.core.management import call_command
from django.db import connection
from kafka import KafkaProducer
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from lepton_apps.model_registry.models import ModelVersion
from tests.champions import PAYMENTS

CHROMIUM = shutil.which("chromium")  # what `make chromium` looks for as well
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"
PATIENCE_MS = 30_000  # on a loaded machine; nothing here asserts how fast it is


def environment() -> dict[str, str]:
    """Of a process of the product that works on the test's database and broker."""
    db = connection.settings_dict
    url = (
        f"postgresql://{quote(db['USER'])}:{quote(db['PASSWORD'])}"
        f"@{db['HOST']}:{db['PORT']}/{db['NAME']}"
    )
    return {
        **os.environ,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "FEED_HEARTBEAT_S": "2",
    }


class Server:
    """``manage.py web`` in a process of its own; ``kill`` and ``start`` keep the port."""

    def __init__(self) -> None:
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "web", "--port", str(self.port)],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"http://[^:]+:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError("The server ended before it answered.")

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, signum: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(signum)
        self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None


@pytest.fixture
def server(transactional_db: None) -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.fail("There is no chromium on PATH. `make chromium` installs it on Debian.")
    # Playwright's loop lives in this thread; the tests' ORM calls are made between its steps.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the consoles of all pages of the test complained about."""
    return []


@pytest.fixture
def sign_in(
    server: Server, browser: Browser, complaints: list[str]
) -> Iterator[Callable[..., Page]]:
    """Opens a browser of its own for a person and leads it to the alert list.

    ``at`` is another address by which the browser reaches the server.
    """
    contexts: list[BrowserContext] = []

    def open_list(username: str, at: str | None = None) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text) if message.type in {"error", "warning"} else None
            ),
        )
        page.goto(f"{at or server.url}/sign-in/")
        page.fill("#username", username)
        page.fill("#password", PASSWORD)
        with page.expect_response(lambda answer: answer.request.method == "POST") as signed_in:
            page.keyboard.press("Enter")
        assert signed_in.value.status == 302, page.inner_text("main")
        page.wait_for_selector("#connection[data-state=live]")
        return page

    yield open_list
    for context in contexts:
        with suppress(Exception):
            context.close()


@pytest.fixture
def worker(champion: ModelVersion, consumer_group: str) -> Iterator[None]:
    """A real worker of payments on the real broker."""
    call_command("setup", verbosity=0)
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker", PAYMENTS.name],
        cwd=ROOT,
        env=environment() | {"KAFKA_GROUP": consumer_group},
    )
    yield
    process.terminate()
    process.wait(30)


@pytest.fixture
def produce() -> Iterator[Callable[..., None]]:
    """Sends payments to the topic as any producer does."""
    servers = environment()["KAFKA_BOOTSTRAP_SERVERS"]
    producer = KafkaProducer(bootstrap_servers=servers, acks="all", metrics_enabled=False)

    def send(*records: dict[str, object]) -> None:
        for record in records:
            key = str(record["customer"]).encode()
            producer.send(PAYMENTS.topic, msgspec.json.encode(record), key)
        producer.flush()

    yield send
    producer.close()
