"""``manage.py startvertical``, and the setting that installs what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from lepton_apps.common.env import EnvError, env_packages

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def start(*arguments: str) -> str:
    said = StringIO()
    call_command("startvertical", *arguments, stdout=said)
    return said.getvalue()


@pytest.fixture
def orchard(tmp_path: Path) -> Path:
    """A vertical as it is written; its name comes after those of our packages, and before some."""
    start("orchard", "--title", "Orchard & garden", "--folder", str(tmp_path))
    return tmp_path / "orchard"


@pytest.mark.parametrize("name", ["orchard", "zoo", "apple_trees"])
def test_what_is_written_is_formatted_and_clean_whatever_its_name(
    name: str, tmp_path: Path
) -> None:
    start(name, "--folder", str(tmp_path))
    for check in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [BIN / "ruff", *check, "--no-cache", "--config", "pyproject.toml", tmp_path / name],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_a_program_is_told_what_was_written(tmp_path: Path) -> None:
    told = json.loads(start("orchard", "--folder", str(tmp_path), "--json"))

    assert told["LEPTON_VERTICALS"] == "orchard"
    assert {Path(file) for file in told["files"]} == set((tmp_path / "orchard").iterdir())
    assert (tmp_path / "orchard" / "test_orchard.py").exists()


@pytest.mark.parametrize(
    "name", ["Orchard", "o", "9lives", "class", "a-b", "../up", "fintech", "weather", "numpy"]
)
def test_a_name_that_is_none_or_taken_is_refused_and_nothing_is_written(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match=r"name|installed already"):
        start(name, "--folder", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(orchard: Path, tmp_path: Path) -> None:
    (orchard / "records.py").write_text("mine")
    with pytest.raises(CommandError, match="is there already"):
        start("orchard", "--folder", str(tmp_path))
    assert (orchard / "records.py").read_text() == "mine"


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is not a folder"):
        start("orchard", "--folder", str(tmp_path / "nowhere"))


@pytest.mark.parametrize("title", ['a"b', "a\nb", "x" * 41, "a\\b"])
def test_a_title_that_would_break_the_code_is_refused(title: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="title"):
        start("orchard", "--title", title, "--folder", str(tmp_path))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no.such.package", "no such package"),
        ("nosuchpackage", "no such package"),
        ("not a name", "not the name"),
        ("fintech", "installed already"),
        ("json,json", "installed already"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_name(
    value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEPTON_VERTICALS", value)
    with pytest.raises(EnvError, match=rf"LEPTON_VERTICALS=.*{words}"):
        env_packages("LEPTON_VERTICALS", ["fintech"])


def test_a_command_ends_with_the_sentence_alone() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "streams"],
        cwd=ROOT,
        env={**os.environ, "LEPTON_VERTICALS": "nosuchpackage"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("LEPTON_VERTICALS=nosuchpackage: there is no such package")
    assert len(done.stderr.splitlines()) == 1
