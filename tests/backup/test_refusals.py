"""What is refused before anything is written: damaged files, wrong databases, taken names."""

from __future__ import annotations

import fcntl
import io
import json
import os
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from lepton_apps.accounts.models import Role
from lepton_apps.accounts.services import create_operator
from lepton_apps.backup.archive import FORMAT_VERSION, MANIFEST
from lepton_apps.backup.saving import back_up
from lepton_apps.common.commands import REFUSED, UNAVAILABLE
from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.retention import LOCK, keep_house
from tests.backup.databases import everything, fresh_database, using
from tests.realtime.conftest import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def fresh(transactional_db: None) -> Iterator[str]:
    with fresh_database() as name, using(name):
        yield name


@pytest.fixture
def file(transactional_db: None, tmp_path: Path) -> Path:
    """A backup of a server with one account."""
    create_operator(None, "nina", {"ops": Role.ADMIN})
    made = tmp_path / "lepton.backup"
    call_command("backup", str(made), stdout=io.StringIO())
    return made


def refused(*arguments: object, code: int = REFUSED) -> str:
    with pytest.raises(CommandError) as caught:
        call_command(*map(str, arguments), stdout=io.StringIO())
    assert caught.value.returncode == code
    return str(caught.value)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def spoil(file: Path) -> None:
    """One bit in the middle of the rows of the largest table."""
    with zipfile.ZipFile(file) as archive:
        tables = [info for info in archive.infolist() if info.filename.startswith("tables/")]
        largest = max(tables, key=lambda info: info.file_size)
    content = bytearray(file.read_bytes())
    content[largest.header_offset + 100 + largest.file_size // 2] ^= 1
    file.write_bytes(bytes(content))


def rewrite_manifest(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    manifest = json.loads(members[MANIFEST])
    change(manifest)
    members[MANIFEST] = msgspec.json.encode(manifest)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def of_the_future(file: Path) -> None:
    rewrite_manifest(file, lambda manifest: manifest.update(version=FORMAT_VERSION + 1))


def lose_a_hash(file: Path) -> None:
    rewrite_manifest(file, lambda manifest: manifest["tables"][0].update(sha256="0" * 64))


def forget_a_field(file: Path) -> None:
    rewrite_manifest(file, lambda manifest: manifest.pop("sequences"))


def make_foreign(file: Path) -> None:
    file.write_bytes(b"-- PostgreSQL database dump\n" * 50)


def make_foreign_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("holiday.txt", "sun")


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (cut, "is damaged: it does not end as it should, so it was cut off."),
        (spoil, "is damaged: the table "),
        (lose_a_hash, "is not what was written. Nothing was changed"),
        (forget_a_field, "is damaged: its manifest cannot be read"),
        (of_the_future, f"is a backup of format {FORMAT_VERSION + 1}, made by Lepton"),
        (make_foreign, "is no backup of Lepton."),
        (make_foreign_zip, "is no backup of Lepton."),
        (lambda file: file.unlink(), "lepton.backup: No such file or directory."),
    ],
)
def test_a_file_that_is_not_whole_changes_nothing(
    harm: Callable[[Path], None], why: str, file: Path
) -> None:
    harm(file)
    before = everything()

    assert why in refused("restore", file, "--replace", connection.settings_dict["NAME"])
    assert everything() == before


def test_a_database_with_rows_is_kept_unless_it_is_named(file: Path) -> None:
    name = connection.settings_dict["NAME"]
    before = everything()

    said = refused("restore", file)
    assert f"The database {name} is not empty (accounts_" in said
    assert f"--replace {name}" in said
    assert f"--replace lepton: this database is named {name}." in refused(
        "restore", file, "--replace", "lepton"
    )
    assert everything() == before


def test_another_release_is_named_with_the_way_there(file: Path, fresh: str) -> None:
    raw = raw_connection()
    raw.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('ops', '0009', now())")
    said = refused("restore", file)
    assert "has migrations that the backup of Lepton 0.1.0 lacks (ops.0009)" in said

    raw.execute("DELETE FROM django_migrations WHERE name = '0009' OR app = 'audit'")
    said = refused("restore", file)
    assert "this database lacks (audit.0001_initial, audit.0002_append_only" in said

    raw.execute("DROP TABLE django_migrations")
    assert "The database is not migrated." in refused("restore", file)


def test_a_database_that_is_in_use_is_left_alone(file: Path, fresh: str) -> None:
    with psycopg.connect(database_url(), application_name="lepton") as other:
        pid = other.info.backend_pid
        said = refused("restore", file, code=UNAVAILABLE)
    assert f"1 other connections of Lepton use the database {fresh} (backend pids {pid})" in said


def test_checking_alone_changes_nothing(file: Path, fresh: str) -> None:
    before = everything()
    said = io.StringIO()
    call_command("restore", str(file), "--check", stdout=said)
    assert f"It may go into the database {fresh}." in said.getvalue()
    assert everything() == before


def test_rows_that_do_not_fit_undo_the_whole_restore(file: Path, fresh: str) -> None:
    """The last thing before the commit: all that refers to something finds it."""
    raw = raw_connection()
    raw.execute("ALTER TABLE auth_user ADD CONSTRAINT nobody CHECK (username <> 'nina')")
    before = everything()
    said = refused("restore", file)
    assert "PostgreSQL refused: " in said
    assert "nobody" in said
    assert everything() == before


def test_audit_entries_come_back_though_nobody_may_change_them(file: Path, fresh: str) -> None:
    call_command("restore", str(file), stdout=io.StringIO())
    with pytest.raises(psycopg.errors.RaiseException, match="never changed"):
        raw_connection().execute("DELETE FROM audit_auditentry")


def test_a_name_that_is_taken_is_not_written_over(file: Path) -> None:
    before = file.read_bytes()
    assert "is there already. Choose another name." in refused("backup", file)
    assert file.read_bytes() == before


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    assert "No such file or directory." in refused("backup", tmp_path / "none" / "b.backup")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))  # as a disk without room
    try:
        assert "full.backup.partial: File too large." in refused("backup", tmp_path / "full.backup")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_two_backups_into_one_file_do_not_mix(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "other.backup"
    with (tmp_path / "other.backup.partial").open("wb") as partial:
        fcntl.flock(partial, fcntl.LOCK_EX)
        assert "Another backup is writing" in refused("backup", target)
    call_command(
        "backup", str(target), stdout=io.StringIO()
    )  # what a killed one left is no hindrance
    assert target.exists()
    assert not (tmp_path / "other.backup.partial").exists()


def test_while_a_backup_reads_nobody_drops_a_day(tmp_path: Path) -> None:
    create_operator(None, "nina", {"ops": Role.ADMIN})
    were_busy: list[bool] = []
    with psycopg.connect(database_url(), autocommit=True) as other:

        def look(stage: str, done: int, total: int) -> None:
            were_busy.append(keep_house(other).was_busy)

        back_up(raw_connection(), tmp_path / "b.backup", with_decisions=True, progress=look)
        assert were_busy
        assert all(were_busy)
        assert not keep_house(other).was_busy
        other.execute("SELECT pg_advisory_lock_shared(%s)", [LOCK])
        assert "A backup" in refused("retention", code=UNAVAILABLE)
        other.execute("SELECT pg_advisory_unlock_shared(%s)", [LOCK])
    assert "0 made" in said("retention")


def said(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()
