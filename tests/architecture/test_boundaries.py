"""One module for each door to the outside: the environment, the clock, the database's writes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.architecture.sources import PRODUCT, ROOT, dotted, files, name, tree, uses

# Before Django's settings there is only the environment; the supervisor hands all of it on.
ENVIRONMENT = {"lepton_apps/common/env.py", "lepton_apps/embedded/__main__.py"}
# These name the settings module where nobody has, and read nothing.
SETTINGS_MODULE = {"lepton_apps/asgi.py", "lepton_apps/wsgi.py"}
# Sets one variable, for a library that reads it while it is loaded.
TOLD_TO_LIBRARIES = {"models_core/__init__.py"}
# torch's launcher tells a process its rank by the environment alone.
LAUNCHED = {"lepton_apps/streaming/management/commands/train_model.py"}
# The framework stands alone: it may not import the host's clock to time a fit.
CLOCK = {
    "lepton_apps/common/clock.py",
    "models_core/loop.py",
    "models_core/progress_bar.py",
}
ENV_READERS = {"lepton_apps/settings.py", "lepton_apps/common/env.py"}
EMBEDDED = "lepton_apps/embedded/"

TIME_CALLS = re.compile(
    r"(?:datetime\.)?datetime\.(?:now|utcnow|today)|(?:datetime\.)?date\.today|timezone\.now"
    r"|(?:django\.utils\.)?timezone\.(?:now|localtime)"
    r"|time\.(?:time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|sleep)"
)
# Writes go through services. What else writes is called by them, by the worker or by one command.
WRITERS = {
    "lepton_apps/accounts/tokens.py": "notes when a token was last used",
    "lepton_apps/realtime/feed.py": "numbers and stores events inside their transaction",
    "lepton_apps/streaming/store.py": "the one transaction of a batch",
    "lepton_apps/streaming/copying.py": "its decisions, as rows of COPY",
    "lepton_apps/streaming/knowing.py": "what it knows and how often it met it",
    "lepton_apps/streaming/shadow/scoring.py": "what a challenger would have done, in it as well",
    "lepton_apps/streaming/tallying.py": "how many scores fell where, in the same transaction",
    "lepton_apps/streaming/offsets.py": "positions after an assignment, and gaps",
    "lepton_apps/streaming/halting.py": "the halt of a stream",
    "lepton_apps/streaming/heartbeat.py": "the row of a worker",
    "lepton_apps/streaming/labels.py": "stamps applied labels in the transaction of the state",
    "lepton_apps/streaming/mirror.py": "stamps what labels wrote, in the same transaction",
    "lepton_apps/streaming/rebuilding.py": "states anew, on command",
    "lepton_apps/streaming/retention.py": "days of partitioned tables",
}
WRITING_SQL = re.compile(
    r"^\s*(?:WITH\b.*?\b)?(?:INSERT INTO|UPDATE (?!SET\b)\w|DELETE FROM|COPY \w|TRUNCATE|DROP TABLE"
    r"|CREATE TABLE|ALTER TABLE)",
    re.DOTALL,
)
ORM_WRITES = {
    "create", "bulk_create", "bulk_update", "get_or_create", "update_or_create", "create_user",
}  # fmt: skip


def test_the_environment_is_read_in_one_place() -> None:
    found = {
        name(path)
        for path in files(*PRODUCT)
        if any(used in {"os.environ", "os.getenv", "os.environb"} for used, _ in uses(path))
    }
    assert found == ENVIRONMENT | SETTINGS_MODULE | TOLD_TO_LIBRARIES | LAUNCHED


def test_settings_and_the_start_of_the_servers_are_who_asks_for_variables() -> None:
    for path in files(*PRODUCT):
        if name(path) in ENV_READERS or name(path).startswith(EMBEDDED):
            continue
        asked = [used for used, _ in uses(path) if used.startswith("lepton_apps.common.env.env_")]
        assert not asked, name(path)


def test_one_module_asks_for_the_time() -> None:
    found = {
        f"{name(path)}:{line} {used}"
        for path in files(*PRODUCT)
        if name(path) not in CLOCK
        for used, line in uses(path)
        if TIME_CALLS.fullmatch(used) and not used.startswith("clock.")
    }
    assert not found


def test_only_services_and_what_they_call_write_to_the_database() -> None:
    found = {name(path) for path in files("lepton_apps") if _writes(path)}
    unexpected = {
        each
        for each in found - WRITERS.keys()
        if not each.endswith("/services.py") and "/migrations/" not in each
    }
    assert not unexpected


def test_every_exception_to_the_rule_is_still_one() -> None:
    assert {each for each in WRITERS if not _writes(ROOT / each)} == set()


def test_verticals_write_nothing() -> None:
    assert not [name(path) for path in files("fintech", "ops", "tests/weather") if _writes(path)]


def _writes(path: Path) -> bool:
    """Whether a file holds SQL that writes, or calls a method of the ORM that does."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if WRITING_SQL.match(node.value):
                return True
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            target = dotted(node.func)
            through_manager = ".objects." in f".{target}." or "?." in target
            if node.func.attr in ORM_WRITES and through_manager:
                return True
            if node.func.attr in {"update", "delete"} and _is_queryset(node.func.value):
                return True
    return False


def _is_queryset(node: ast.expr) -> bool:
    """Whether a chain of calls starts at a model's manager."""
    while isinstance(node, ast.Call | ast.Attribute):
        if isinstance(node, ast.Attribute) and node.attr == "objects":
            return True
        node = node.func if isinstance(node, ast.Call) else node.value
    return False
