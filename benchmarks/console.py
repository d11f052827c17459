"""How long the server takes for each page of the console where there is much to show."""

from __future__ import annotations

import argparse
import http.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import report
from benchmarks.champion import install_champion
from benchmarks.seeding import STREAM, Size, fill, make_days
from benchmarks.servers import BenchmarkError, Servers, add_server_options, command, note, servers
from benchmarks.web import HOST, web
from lepton_apps.common import clock

WARM_UP = 3  # requests of each page that are not counted
SMALL = Size(alerts=100, decisions=1_000, entities=200)
EMPTY = """
TRUNCATE alert, decision, record_key, dead_letter, label, audit_auditentry
RESTART IDENTITY CASCADE
"""
SLOWEST_SHOWN = 5
VERSIONS = 20  # beside the champion
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Page:
    """A page to measure, by whose session (empty: a stranger's), and what it asks the database."""

    name: str
    path: str
    session: str
    queries: int


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=40, help="Requests of each page.")
    add_server_options(parser)
    options = parser.parse_args(arguments)
    if not 100 <= options.alerts <= options.decisions or options.rounds < 20:
        parser.error("--alerts must be 100 to --decisions, and --rounds at least 20.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    began = clock.monotonic()
    size = Size(options.alerts, options.decisions, max(200, options.decisions // 50))
    with servers(options) as run, run.connection() as connection:
        session = _session_of_an_admin()
        _make_versions(run, options.model_cache)
        make_days(connection)
        fill(connection, SMALL)
        few, _ = looked_at(session)
        connection.execute(EMPTY)
        note(f"filling in {size.decisions} decisions")
        fill(connection, size)
        many, unseen = looked_at(session)
        times = _times(run, many, options.rounds)
    queries = {page.name: page.queries for page in many}
    before = {page.name: page.queries for page in few}
    p95_ms = {name: _p95_ms(taken) for name, taken in times.items()}
    slowest = sorted(p95_ms, key=lambda name: -p95_ms[name])
    results = {
        "p95_ms": p95_ms[slowest[0]],
        "pages": len(many),
        "queries": max(queries.values()),
        "pages_with_more_queries": sorted(n for n in queries if queries[n] > before.get(n, 0)),
        "slowest_p95_ms": {name: p95_ms[name] for name in slowest[:SLOWEST_SHOWN]},
        "p50_ms": round(float(np.median(np.concatenate(list(times.values())))) * 1000, 1),
        "not_measured": unseen,
    }
    protocol = (
        f"every route of the console that answers GET with 200, {options.rounds} times in turn on "
        "one kept-alive connection to one web process as a superuser, or as a stranger where a "
        "superuser is sent on; without static files; from the request to the last byte; p95_ms: of the slowest page; queries: of the page with the "
        f"most, compared for every page with a database of {SMALL.alerts} alerts and "
        f"{SMALL.decisions} decisions"
    )
    data = (
        f"{size.alerts} alerts, {size.decisions} decisions of {size.entities} customers in 14 "
        f"days, {2 * size.alerts} audit entries, {size.alerts} labels, {size.alerts // 10} dead "
        "letters"
    )
    result = report.line("console", protocol, data, results, clock.monotonic() - began)
    report.finish(result, options.save)


def _session_of_an_admin() -> str:
    """The key of a session of somebody who may see every page."""
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.test import Client

    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)  # WhiteNoise warns without it
    client = Client()
    client.force_login(User.objects.create_superuser("benchmark"))
    return str(client.cookies["sessionid"].value)


def _make_versions(run: Servers, cache: Path | None) -> None:
    """A champion, and more versions made of the same files."""
    from lepton_apps.model_registry import selectors, services
    from lepton_apps.model_registry.models import ModelFile
    from lepton_apps.verticals import registry
    from lepton_apps.verticals.contract import Trained

    install_champion(run, STREAM, cache)
    _, stream = registry.stream(STREAM)
    champion = selectors.champion(stream.model_name)
    rows = ModelFile.objects.filter(version=champion).values_list("name", "content")
    trained = Trained({name: bytes(content) for name, content in rows}, {}, {})
    for _ in range(VERSIONS):
        services.register_version(stream, trained, None)


def looked_at(session: str) -> tuple[list[Page], list[str]]:
    """The pages, and the routes that are neither pages nor acts, each with the reason."""
    from benchmarks.pages import places

    pages, unseen = [], []
    for place in places():
        if place.missing:
            unseen.append(f"{place.name} ({place.missing})")
            continue
        for key in (session, ""):
            _ask_inside(key, place.path)  # what is loaded once is loaded now
            status, queries = _ask_inside(key, place.path)
            if status != http.HTTPStatus.FOUND:
                break
        if status == http.HTTPStatus.OK:
            pages.append(Page(place.name, place.path, key, queries))
        elif status != http.HTTPStatus.METHOD_NOT_ALLOWED:
            unseen.append(f"{place.name} (status {status})")
    return pages, unseen


def _ask_inside(session: str, path: str) -> tuple[int, int]:
    """Status and number of queries of a page, answered in this process."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(raise_request_exception=False, headers={"host": HOST})
    client.cookies["sessionid"] = session
    with CaptureQueriesContext(connection) as captured:
        status = client.get(path).status_code
    return status, len(captured)


def _times(run: Servers, pages: Sequence[Page], rounds: int) -> Mapping[str, list[float]]:
    """Seconds of each request, by page."""
    times: dict[str, list[float]] = {page.name: [] for page in pages}
    with web(run) as (_, port):
        connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
        for turn in range(WARM_UP + rounds):
            for page in pages:
                headers = {"Cookie": f"sessionid={page.session}"} if page.session else {}
                began = clock.monotonic()
                connection.request("GET", page.path, headers=headers)
                answer = connection.getresponse()
                answer.read()
                taken = clock.monotonic() - began
                if answer.status != http.HTTPStatus.OK:
                    raise BenchmarkError(f"GET {page.path} was answered with {answer.status}.")
                if turn >= WARM_UP:
                    times[page.name].append(taken)
        connection.close()
    return times


def _p95_ms(seconds: Sequence[float]) -> float:
    return round(float(np.percentile(np.asarray(seconds), 95)) * 1000, 1)


if __name__ == "__main__":
    command(main)
