"""What the doctor finds without a server: packages, variables, keys, hosts, files."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import CommandError, call_command

from lepton_apps.common.commands import UNAVAILABLE, WRONG_ARGUMENTS
from lepton_apps.doctor.environment import compare_packages
from lepton_apps.doctor.findings import Check, Finding, Verdict, examine, ok, unreachable
from tests.commands.test_every_command import run
from tests.doctor.looking import is_well, only

doctor = partial(run, "doctor")
AWAY = {
    "DATABASE_URL": "postgresql://nobody:hush-hush@127.0.0.1:1/lepton",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
}


def test_all_bad_variables_are_named_and_hide_nothing_else() -> None:
    done = doctor(
        "--json", "--only", "environment", "--only", "database",
        **{**AWAY, "WORKER_BATCH_SIZE": "lots", "WEB_THREADS": "0", "WORKER_STATE_CASHE": "5"},
    )  # fmt: skip
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    found = {finding["found"] for finding in told["findings"]}
    assert "WORKER_BATCH_SIZE=lots is not a whole number." in found
    assert "WEB_THREADS=0 is below the minimum of 1." in found
    misspelt = [f for f in told["findings"] if f["found"].startswith("WORKER_STATE_CASHE")]
    assert misspelt[0]["do"] == "Did you mean WORKER_STATE_CACHE?"
    assert (done.returncode, told["verdict"]) == (UNAVAILABLE, "unreachable")
    assert any("127.0.0.1:1/lepton" in each for each in found)
    assert "hush-hush" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    skipped = {f["check"] for f in told["findings"] if f["verdict"] == "skipped"}
    assert "database.migrations" in skipped


def test_a_database_url_of_another_kind_is_named_too() -> None:
    done = doctor("--only", "environment.variables", DATABASE_URL="mysql://u:p@h/d")
    assert done.returncode == 1
    assert "DATABASE_URL starts with mysql://; it must be postgresql://." in done.stdout


def test_packages_that_are_not_those_that_were_tested_are_named(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(
        "# what is needed\nDjango==1.0  # the host\nno-such-package==1.0  # nothing\n"
        'no-such-either==1.0; sys_platform == "amiga"  # elsewhere\n'
    )
    found = [(finding.verdict, finding.found) for finding in compare_packages(file)]
    assert found[0][0] is Verdict.WARNING
    assert found[0][1].endswith("is installed, 1.0 was tested.")
    assert found[1] == (Verdict.PROBLEM, "The package no-such-package is not installed.")
    assert found[2] == (Verdict.OK, "2 packages were looked at.")
    assert is_well("environment.python")


@pytest.mark.parametrize(
    ("key", "why"),
    [("", "is not set"), ("short", "is weak (5 characters"), ("ab" * 40, "2 different ones")],
)
def test_a_secret_key_that_can_be_guessed_is_a_problem(key: str, why: str, settings: Any) -> None:
    settings.SECRET_KEY = key
    found = only("environment.secret_key", Verdict.PROBLEM)
    assert why in found.found
    assert "token_urlsafe" in found.do


def test_a_console_for_others_needs_more_than_one_for_this_machine(settings: Any) -> None:
    settings.DEBUG = False  # as pytest-django has it anyway
    settings.ALLOWED_HOSTS = ["localhost"]
    assert is_well("environment.web")
    settings.ALLOWED_HOSTS = ["lepton.example"]
    assert "SECURE_COOKIES=true" in only("environment.web", Verdict.WARNING).do
    settings.SECURE_COOKIES = True
    assert "CSRF_TRUSTED_ORIGINS" in only("environment.web", Verdict.WARNING).found
    settings.CSRF_TRUSTED_ORIGINS = ["https://lepton.example"]
    assert is_well("environment.web")
    settings.ALLOWED_HOSTS = ["*"]
    assert "any Host header" in only("environment.web", Verdict.WARNING).found
    settings.DEBUG = True
    assert only("environment.web", Verdict.PROBLEM).do == "Unset DEBUG."


def test_missing_files_of_the_charts_are_a_warning(settings: Any) -> None:
    settings.STATICFILES_DIRS = []
    finders.get_finder.cache_clear()  # type: ignore[attr-defined]
    try:
        assert "npm ci" in only("environment.static_files", Verdict.WARNING).do
    finally:
        finders.get_finder.cache_clear()  # type: ignore[attr-defined]


def test_a_data_folder_that_others_may_read_or_that_is_not_there(
    settings: Any, tmp_path: Path
) -> None:
    settings.LEPTON_DATA_DIR = tmp_path
    tmp_path.chmod(0o755)
    found = only("environment.data_folder", Verdict.WARNING)
    assert ("(mode 755)" in found.found, found.do) == (True, f"chmod go-rw {tmp_path}")
    settings.LEPTON_DATA_DIR = tmp_path / "none"
    assert "mkdir -m 700" in only("environment.data_folder", Verdict.PROBLEM).do


def test_a_check_that_fails_or_hangs_hides_no_other() -> None:
    never = threading.Event()

    def fails() -> list[Finding]:
        raise RuntimeError("broken")

    def hangs() -> list[Finding]:
        never.wait()
        return []

    checks = [
        Check("a.fails", fails),
        Check("a.hangs", hangs),
        Check("a.away", lambda: [unreachable("It is away.", "Start it.")]),
        Check("a.needy", lambda: [ok("never asked")], ("a.away",)),
        Check("a.needier", lambda: [ok("never asked")], ("a.needy",)),
        Check("a.fine", lambda: [ok("fine")]),
    ]
    try:
        found = {each.check: each for each in examine(checks, limit_s=0.2)}
    finally:
        never.set()
    assert [each.verdict.value for each in found.values()] == [
        "problem", "problem", "unreachable", "skipped", "skipped", "ok",
    ]  # fmt: skip
    assert "RuntimeError: broken" in found["a.fails"].found


def test_an_unknown_check_is_refused_with_what_comes_close() -> None:
    with pytest.raises(
        CommandError, match=r"No check named 'databse'\. Did you mean database"
    ) as caught:
        call_command("doctor", "--only", "databse")
    assert caught.value.returncode == WRONG_ARGUMENTS
