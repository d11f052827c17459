"""docs/first_vertical.md as a newcomer goes through it: every command, in order, on real servers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lepton_apps.streaming.kafka import Admin
from tests.docs.api_page import Example
from tests.docs.api_world import World
from tests.docs.pages import ROOT, text
from tests.realtime.conftest import database_url

PAGE = "docs/first_vertical.md"
NAME = "orchard"
PATIENCE_S = 120.0  # on a loaded machine
COPIED = ("lepton_apps", "models_core", "fintech", "ops", "tests", "manage.py", "pyproject.toml")
COMMAND = re.compile(
    r"^(?:\.venv/bin/python|export|BASE=|AUTH=|make|curl) .*?(?=^\S|\Z)|^(?:BASE|AUTH)=.*?$",
    re.MULTILINE | re.DOTALL,
)
QUOTED = re.compile(r"`(\.venv/bin/python [^`]+)`|^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Started by `make run`, whose own tests are in tests/embedded: here its parts are started.
STAYS = ("manage.py worker", "manage.py web")


def commands() -> list[str]:
    """What the page says to type, in order; what is quoted in a sentence as well."""
    found: list[str] = []
    for quoted, fenced in QUOTED.findall(text(PAGE)):
        body = quoted or fenced
        found += [match.group().strip() for match in COMMAND.finditer(body)] if fenced else [quoted]
    return found


class Newcomer:
    """A checkout, a shell in it, and what was started there."""

    def __init__(self, folder: Path, environment: dict[str, str], stack: ExitStack) -> None:
        self.folder = folder
        self.environment = environment
        self.variables: dict[str, str] = {}
        self._stack = stack

    def type(self, command: str) -> str:
        """Run one command of the page as a shell does; what it prints."""
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.environment[name] = value
            return ""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def start(self, command: str, ready: str) -> str:
        """Run one that stays; returns the line that it says when it is ready."""
        process = subprocess.Popen(
            command.split(),
            cwd=self.folder,
            env={**self.environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(process.wait, 30)
        self._stack.callback(process.terminate)
        assert process.stdout is not None
        for line in process.stdout:
            if ready in line:
                return line
        raise AssertionError(f"{command} ended before it was ready.")

    def say(self, question: str) -> Any:
        """The first row of a query."""
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            return connection.execute(question).fetchone()


@pytest.fixture
def newcomer(transactional_db: None, tmp_path: Path) -> Iterator[Newcomer]:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy2(source, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    (tmp_path / "data").mkdir()
    database = f"newcomer_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(database_url(), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {database}")
    environment = {
        **os.environ,
        "DATABASE_URL": database_url().rpartition("/")[0] + f"/{database}",
        "LEPTON_DATA_DIR": str(tmp_path / "data"),
        "KAFKA_GROUP": database,
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    with ExitStack() as stack:
        yield Newcomer(tmp_path, environment, stack)
    admin = Admin()
    try:
        if admin.topic(f"{NAME}.measurements.v1") is not None:
            admin.delete_topic(f"{NAME}.measurements.v1")
    finally:
        admin.close()
    with psycopg.connect(database_url(), autocommit=True) as server:
        server.execute(f"DROP DATABASE {database} WITH (FORCE)")


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(900)
def test_a_newcomer_comes_from_nothing_to_an_alert_by_typing_what_the_page_says(
    newcomer: Newcomer,
) -> None:
    said: dict[str, str] = {}
    later: list[str] = []
    for command in commands():
        if command.startswith("curl "):
            later.append(command)
        elif command.startswith(("BASE=", "AUTH=")):
            name, _, value = command.partition("=")
            newcomer.variables[name] = value
        elif "grant_access" in command:
            later.append(command)  # needs the account that `setup` makes
        elif command == "make run" or any(stays in command for stays in STAYS):
            continue
        else:
            said[command] = newcomer.type(command)

    listed = next(out for command, out in said.items() if command.endswith("manage.py streams"))
    assert f"{NAME}.measurements" in listed
    tested = next(out for command, out in said.items() if "pytest" in command)
    assert " passed" in tested

    for command in later:
        if "grant_access" in command:
            newcomer.type(command)
    newcomer.start(f".venv/bin/python manage.py worker {NAME}.measurements", "started")
    give_up_at = time.monotonic() + PATIENCE_S
    while newcomer.say("SELECT count(*) FROM alert")[0] == 0:
        assert time.monotonic() < give_up_at, "No alert came."
        time.sleep(0.2)

    address = newcomer.start(".venv/bin/python manage.py web --port 0", "answers at")
    port = int(address.rpartition(":")[2])
    token = newcomer.type(re.sub(r'^.*\$\(|\)"$', "", newcomer.variables["AUTH"])).strip()
    world = World(port, token)
    (curl,) = [command for command in later if command.startswith("curl ")]
    answer = world.ask(Example("record", curl, None).request(world.variables))
    assert answer.status == 200, answer.body
    assert answer.body["outcome"] == "look"
    assert newcomer.say("SELECT vertical FROM alert WHERE title = '912.5 at device-03'") == (NAME,)
