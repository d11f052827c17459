"""Manners that every command of the server has, whoever wrote it and whatever it derives from."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.core.management.base import BaseCommand

from lepton_apps.backup.archive import ArchiveWriter, Manifest
from lepton_apps.common.commands import (
    INTERRUPTED,
    UNAVAILABLE,
    WRONG_ARGUMENTS,
)
from tests.realtime.conftest import database_url

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    name: str(app) for name, app in get_commands().items() if str(app).startswith("lepton_apps.")
}
every_command = pytest.mark.parametrize("name", sorted(COMMANDS))
# They run until they are stopped, wait out what is away, and say what they do as they do it.
LONG_RUNNING = {"web", "worker", "simulate"}
NOWHERE = "postgresql://nobody:none@127.0.0.1:1/lepton"

# What each needs to get as far as its server. A new command comes here; so is it held.
ARGUMENTS: dict[str, Sequence[str]] = {
    "backup": ("{folder}/new.backup",),
    "drift": (),
    "doctor": ("--only", "database.reachable"),
    "declare": ("ops.topology",),
    "budget": ("fintech.transactions",),
    "compare_models": ("fintech.transactions",),
    "create_operator": ("ann",),
    "create_token": ("ann", "collector"),
    "federate": (
        "fintech.transactions",
        "--site",
        "a=https://a.example",
        "--site",
        "b=https://b.example",
        "--token-file",
        "a={folder}/a.token",
        "--token-file",
        "b={folder}/a.token",
    ),
    "federation": ("status",),
    "evaluate_model": ("fintech.transactions", "1"),
    "grant_access": ("ann", "ops", "viewer"),
    "models": (),
    "new_feed_epoch": ("fintech",),
    "promote_model": ("fintech.transactions", "1", "--why", "Better."),
    "rebuild_states": ("fintech.transactions",),
    "redrive": ("fintech.transactions",),
    "replay": ("fintech.transactions", "--since", "24h"),
    "reset_password": ("ann",),
    "restore": ("{folder}/old.backup",),
    "resume": ("fintech.transactions",),
    "retention": (),
    "retraining": (),
    "retire_model": ("fintech.transactions", "1", "--why", "Old."),
    "revoke_token": ("1",),
    "rollback_model": ("fintech.transactions", "--why", "Worse."),
    "setup": (),
    "tokens": (),
    "trainer": ("--once",),
    "tune_model": ("fintech.transactions.history", "--trials", "1"),
    "withdraw_challenger": ("fintech.transactions", "--why", "Seen enough."),
}
TOPICS = {"setup": (), "ingest": ("ops.logs", "{folder}/a.log", "--key", "k", "--start", "2026-03-01",
    "--timezone", "UTC")}  # fmt: skip


def command(name: str) -> BaseCommand:
    return load_command_class(COMMANDS[name], name)


def speaks_json(name: str) -> bool:
    parser = command(name).create_parser("manage.py", name)
    return any("--json" in action.option_strings for action in parser._actions)


def run(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", name, *arguments],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "lepton_apps.settings", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def is_one_sentence(said: str) -> bool:
    """Django puts the kind of error before it."""
    return said.startswith("CommandError: ") and len(said.strip().splitlines()) == 1


@every_command
def test_its_help_says_what_it_does_and_shows_an_example(name: str) -> None:
    told = command(name).create_parser("manage.py", name).format_help()
    assert command(name).help
    assert f"manage.py {name}" in told.lower().partition("example")[2]


@every_command
def test_its_arguments_say_what_they_are(name: str) -> None:
    common = set(BaseCommand().create_parser("manage.py", "none")._option_string_actions)
    silent = [
        action.dest
        for action in command(name).create_parser("manage.py", name)._actions
        if not action.help and not common & set(action.option_strings)
    ]
    assert silent == []


@every_command
def test_an_argument_that_it_does_not_know_is_refused_by_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command(name).run_from_argv(["manage.py", name, "--no-such-thing", "x", "y", "z", "v"])
    said = capsys.readouterr().err
    assert caught.value.code == WRONG_ARGUMENTS
    assert "usage: manage.py" in said
    assert "error: " in said


@every_command
def test_it_can_be_asked_for_json_unless_it_goes_on_for_ever(name: str) -> None:
    assert speaks_json(name) is (name not in LONG_RUNNING)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_without_its_database_it_says_so_in_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "old.backup").write_bytes(_a_backup(tmp_path))
    (tmp_path / "a.token").write_text("lpt_x\n")
    arguments = [each.format(folder=tmp_path) for each in ARGUMENTS[name]]
    done = run(name, *arguments, "--json", DATABASE_URL=NOWHERE)
    assert (done.returncode, is_one_sentence(done.stderr)) == (UNAVAILABLE, True), done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)
    assert not (tmp_path / "new.backup").exists()
    assert not (tmp_path / "new.backup.partial").exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", sorted(TOPICS))
def test_without_its_broker_it_says_so_in_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("a line\n")
    arguments = [each.format(folder=tmp_path) for each in TOPICS[name]]
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": database_url()}
    done = run(name, *arguments, "--json", **away)
    assert (done.returncode, is_one_sentence(done.stderr)) == (UNAVAILABLE, True), done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["error"]["code"] == "broker_unavailable"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            ("worker", "fintech.transaction"),
            "'fintech.transaction'. Did you mean fintech.transacti",
        ),
        (("resume", "fintech.labls"), "'fintech.labls'. Did you mean fintech.labels"),
        (("redrive", "ops.log"), "No stream named 'ops.log'. Did you mean ops.logs"),
        (("redrive",), "Name either a stream or --id"),
        (("redrive", "ops.logs", "--id", "7"), "Name either a stream or --id"),
        (("rebuild_states", "fintech.labels"), "No scored stream named 'fintech.labels'."),
        (("simulate", "fintek"), "No vertical named 'fintek'. Did you mean fintech?"),
        (("simulate", "weather"), "The vertical 'weather' has no simulator. Those that do: fin"),
        (("simulate", "fintech", "--rate", "0"), "--rate 0.0 is not above 0 and at most 100000."),
        (("simulate", "ops", "--past-days", "-1"), "--past-days -1.0 is not between 0 and 365."),
        (("worker", "ops.logs", "--metrics-port", "70000"), "--metrics-port 70000 is not between"),
        (("new_feed_epoch", "op"), "No vertical named 'op'. Did you mean ops?"),
        (("setup", "--operator", "a b"), "--operator 'a b': "),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(
    arguments: Sequence[str], why: str
) -> None:
    with pytest.raises(CommandError) as caught:
        call_command(*arguments, stdout=io.StringIO())
    assert why in str(caught.value)
    assert caught.value.returncode == WRONG_ARGUMENTS


@pytest.mark.django_db(transaction=True)
def test_a_refusal_in_json_is_one_line_with_the_code_of_the_error() -> None:
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("resume", "fintech.transactions", "--json", stdout=out)
    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["error"]["code"] == "stream_not_halted"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "arguments", [("streams",), ("setup",), ("retention",), ("new_feed_epoch",), ("redrive", "ops.logs")]
)  # fmt: skip
def test_an_answer_in_json_is_one_object_on_one_line(arguments: Sequence[str]) -> None:
    out = io.StringIO()
    call_command(*arguments, "--json", stdout=out)
    (line,) = out.getvalue().splitlines()
    assert isinstance(json.loads(line), dict)


def test_a_database_that_is_not_migrated_is_named_as_that() -> None:
    done = run("resume", "fintech.transactions", DATABASE_URL=os.environ["DATABASE_URL"])
    assert done.returncode == 1
    assert "run `manage.py migrate` first." in done.stderr
    assert is_one_sentence(done.stderr)


def test_a_variable_that_cannot_be_used_is_one_sentence() -> None:
    done = run("streams", WORKER_BATCH_SIZE="lots")
    assert done.returncode == 2
    assert done.stderr.startswith("WORKER_BATCH_SIZE=lots is not a whole number.")
    assert "Traceback" not in done.stderr


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield int(listening.getsockname()[1])


def test_ctrl_c_ends_a_command_with_one_word(silent_server: int) -> None:
    url = f"postgresql://u:p@127.0.0.1:{silent_server}/lepton?connect_timeout=60"
    process = subprocess.Popen(
        [sys.executable, "manage.py", "retention", "--json"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "lepton_apps.settings", "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up_at = time.monotonic() + 30
    while not _is_connected_to(process.pid, silent_server) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (INTERRUPTED, "CommandError: Interrupted.\n")
    assert json.loads(out)["error"]["code"] == "interrupted"


def _is_connected_to(pid: int, port: int) -> bool:
    return any(
        each.raddr and each.raddr.port == port for each in psutil.Process(pid).net_connections()
    )


def _a_backup(folder: Path) -> bytes:
    """Whole, and of nothing: the database is asked before a row is looked at."""
    file = folder / "made.backup"
    with ArchiveWriter(file) as archive:
        archive.finish(Manifest(1, "0.1.0", "2026-03-01", 180000, True, (("a", "b"),), (), (), {}))
    return file.read_bytes()


def test_every_command_that_answers_is_held_to_its_database() -> None:
    """A new command is listed above, needs no server, or trains for long before it asks one."""
    without = {"streams", "ingest", "startvertical", "train_model", "train_starters"}
    assert set(COMMANDS) - LONG_RUNNING - without <= set(ARGUMENTS)
