"""Three instances of the server, each with a database of its own, make one model over HTTP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import StringIO
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from lepton_apps.model_registry import selectors
from lepton_apps.streaming.models import FederationConsent
from tests.champions import PAYMENTS
from tests.console.data import STREAM
from tests.streaming.federations import allow, coordinator, save_labelled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

ROOT = Path(__file__).resolve().parents[2]
EPSILON = 8.0


@contextmanager
def copied(name: str) -> Iterator[str]:
    """A database that is a copy of the test's, as it is now; gives its address."""
    own = connection.settings_dict["NAME"]
    connection.close()  # a template may have no guests
    server, _, maintenance = os.environ["DATABASE_URL"].rpartition("/")
    with psycopg.connect(f"{server}/{maintenance}", autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{own}"')
        try:
            yield f"{server}/{name}"
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def web(url: str) -> Iterator[subprocess.Popen[str]]:
    """``manage.py web`` on that database; ``address`` waits until it listens."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "web", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://[^:]+:(\d+)", line):
            return f"http://127.0.0.1:{found[1]}"
    raise AssertionError("The server ended before it answered.")


def test_three_instances_make_a_private_model_and_each_site_keeps_its_own_account(
    tmp_path: Path,
) -> None:
    _, token = coordinator()
    (tmp_path / "token").write_text(f"{token}\n")
    allow(epsilon=EPSILON)
    save_labelled(300, seed=1)
    with ExitStack() as stack:
        north_url = stack.enter_context(copied("lepton_site_north"))
        save_labelled(200, seed=2)
        south_url = stack.enter_context(copied("lepton_site_south"))
        with connection.cursor() as cursor:  # the coordinator lends nothing
            cursor.execute("TRUNCATE federation_consent CASCADE")
        started = [stack.enter_context(web(url)) for url in (north_url, south_url)]
        north, south = map(address, started)
        arguments = [
            STREAM, "--site", f"north={north}", "--site", f"south={south}",
            "--token-file", f"north={tmp_path / 'token'}", "--token-file",
            f"south={tmp_path / 'token'}", "--rounds", "1", "--epsilon", "6",
            "--recipe", "steps=10", "--recipe", "batch_size=64", "--recipe", "learning_rate=0.02",
        ]  # fmt: skip
        said = StringIO()
        call_command("federate", *arguments, "--json", stdout=said)
        told = json.loads(said.getvalue())
        spent = {url: account(url) for url in (north_url, south_url)}

    assert told["federated"] == {"rounds": 1, "sites": ["north", "south"], "lost": []}
    assert (told["privacy"]["epsilon"], told["privacy"]["delta"]) == (6.0, 1e-5)
    assert set(told["baseline"]) == {"champion_v1", "boosted_trees"}
    assert token not in said.getvalue()
    version = selectors.version(PAYMENTS.model_name, told["version"])
    assert version.manifest["federated"]["sites"] == ["north", "south"]
    assert selectors.roles_of(PAYMENTS.model_name) == {"champion": 1}
    assert not FederationConsent.objects.exists()
    assert spent[north_url][:2] == (1, "200 to 499")
    assert all(5.5 < epsilon <= 6.0 and not tries for _, _, epsilon, tries in spent.values())


def account(url: str) -> tuple[int, str, float, int]:
    """Rounds, the band of rows, epsilon and open tries, as a site's database has them."""
    with psycopg.connect(url) as raw:
        row = raw.execute(
            "SELECT count(*), max(rows), max(spent), (SELECT count(*) FROM federation_round r"
            " JOIN federation_try t ON t.run = r.run AND t.stream = r.stream) FROM federation_round"
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2], row[3]
