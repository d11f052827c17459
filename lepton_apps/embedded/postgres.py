"""A real PostgreSQL from a wheel: made, started, healed and stopped in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, LiteralString

import psutil
import psycopg
from psycopg import sql

from lepton_apps.common import clock
from lepton_apps.embedded.binaries import is_traversable_by_all, postgres_binaries
from lepton_apps.embedded.logs import Both, LineSink, Tail
from lepton_apps.embedded.processes import (
    NOBODY,
    EmbeddedServerError,
    Pause,
    Spawned,
    end_processes,
    kept_port,
    kill_group,
    port_is_free,
    processes_in,
    spawn,
    wait_for_exit,
    wait_until_ended,
    write_private,
)

ADMIN: Final = "postgres"
OWNER: Final = "lepton"  # role and database of the server; no superuser
START_LIMIT_S = 300  # recovery after a crash replays up to max_wal_size
SHARED_FOLDER = Path("/var/lib/lepton")  # for root, when the data folder lies in a closed home
# Nothing of the caller's environment: PGDATA, PGPORT and the like would change our server.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

CONFIGURATION = """\
# Written anew at each start. Settings of your own go into local.conf beside this file.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = {max_connections}
password_encryption = 'scram-sha-256'
shared_buffers = {shared_buffers}
# Containers often have 64 MB of /dev/shm, where parallel queries would fail.
dynamic_shared_memory_type = mmap
work_mem = 16MB
maintenance_work_mem = 128MB
random_page_cost = 1.1
jit = off
fsync = on
synchronous_commit = on
# Few checkpoints: each makes the next write of every page a full one. This build has no lz4.
checkpoint_timeout = 15min
max_wal_size = 2GB
min_wal_size = 128MB
# State rows are updated all the time; dead ones must go soon for updates to stay in their page.
autovacuum_naptime = 20s
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d '
log_min_messages = warning
log_checkpoints = off
log_lock_waits = on
include_if_exists = 'local.conf'
"""


def memory_for_pages() -> str:
    """A sixteenth of the machine's memory: half a million entity states fit into 1 GB.

    PostgreSQL's own advice is a quarter; here the broker, web and workers live on it too.
    """
    share_mb = psutil.virtual_memory().total // 16 // 2**20
    return f"{min(1024, max(128, share_mb))}MB"


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """How much memory the server takes, in PostgreSQL's notation.

    ``sync_new_files`` false makes the folder quicker to create; a power cut in the next seconds
    would spoil it. What is committed later is on disk either way.
    """

    shared_buffers: str = field(default_factory=memory_for_pages)
    max_connections: int = 100
    sync_new_files: bool = True


def is_back_end(process: psutil.Process) -> bool:
    """Whether it is a child of a postmaster, which all rename themselves to say what they do."""
    try:
        title = str(process.cmdline()[0])
    except (psutil.Error, IndexError):
        return True  # gone meanwhile
    return title.startswith("postgres:")


class EmbeddedPostgres:
    """PostgreSQL on a loopback port that is kept in ``folder``, as are passwords and data.

    ``start`` heals what a kill -9 left. The caller makes sure that nobody else uses ``folder``.
    As root the server runs as user 65534, for PostgreSQL refuses root.
    """

    def __init__(
        self,
        folder: Path,
        sink: LineSink,
        *,
        sizing: Sizing | None = None,
        pause: Pause = clock.sleep,
    ) -> None:
        self._folder = folder
        self._tail = Tail()
        self._sink = Both(self._tail, sink)
        self._sizing = sizing or Sizing()
        self._pause = pause
        self._user = NOBODY if os.geteuid() == 0 else None
        self._process: Spawned | None = None
        self._passwords: dict[str, str] = {}
        self._port = 0

    @property
    def pid(self) -> int | None:
        """The postmaster's pid while it runs."""
        return self._process.pid if self._process and self.is_alive() else None

    @property
    def port(self) -> int:
        return self._port

    @property
    def data(self) -> Path:
        """The folder of the database files, resolved."""
        return (self._folder / "postgres").resolve() / "data"

    def url(self, database: str = OWNER, user: str = OWNER) -> str:
        """Where to connect, password included. ``user`` is ``lepton`` or ``postgres``."""
        return f"postgresql://{user}:{self._passwords[user]}@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Return when the server answers and the database ``lepton`` is there.

        Raises EmbeddedServerError with what PostgreSQL said.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        home = self._make_home()
        self._passwords = {name: self._password(name) for name in (ADMIN, OWNER)}
        binaries = postgres_binaries(self._user, home)
        if not self.data.exists():
            self._create(binaries, home)
        self._end_leftovers()
        self._choose_port()
        self._launch(binaries)
        try:
            self._wait_until_ready()
            self._ensure_database()
        except BaseException:
            self.stop()
            raise

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, *, is_discarded: bool = False) -> None:
        """Fast shutdown: sessions end, data is safe. Silent when it does not run.

        Where the data is discarded anyway, the checkpoint that takes most of the time is left out.
        """
        process = self._process
        if process is None:
            return
        self._process = None
        steps = [(signal.SIGINT, 60), (signal.SIGQUIT, 10)]
        for signum, limit_s in steps[1:] if is_discarded else steps:
            if process.poll() is None:
                process.send_signal(signum)
                # Not self._pause: a stop must go on where a start may be given up.
                wait_for_exit(process, limit_s, clock.sleep)
        kill_group(process)

    def restart(self) -> None:
        """Stop where it still runs, then start on the same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """What kill -9 of the postmaster does: its back ends are left behind. For tests."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal_immediate_shutdown(self) -> None:
        """Ask for the quickest end that leaves no orphans; the next start recovers."""
        if self._process is not None and self.is_alive():
            self._process.send_signal(signal.SIGQUIT)

    def _make_home(self) -> Path:
        """The folder of the server's files, owned by its user.

        As root it must be reachable for user 65534. Where ``folder`` lies in a closed home, it
        is a link to a folder under /var/lib/lepton.
        """
        home = self._folder / "postgres"
        if home.exists():
            owner = home.stat().st_uid
            if self._user is not None and owner != 0:
                self._user = owner  # an ordinary user may have begun it
        elif self._user is not None and not is_traversable_by_all(self._folder):
            SHARED_FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
            elsewhere = Path(tempfile.mkdtemp(prefix="data-", dir=SHARED_FOLDER))
            elsewhere.chmod(0o755)
            home.unlink(missing_ok=True)  # a link whose target is gone
            home.symlink_to(elsewhere / "postgres")
        home = home.resolve()
        home.mkdir(mode=0o700, exist_ok=True)
        if self._user is not None:
            os.chown(home, self._user, self._user)
        return home

    def _password(self, role: str) -> str:
        file = self._folder / f"{role}.password"
        if not file.exists():
            if role == ADMIN and self.data.exists():
                raise EmbeddedServerError(
                    f"{file} is missing, but {self.data} holds a database that needs it. Put the "
                    "file back, or move the data folder away to begin anew."
                )
            write_private(file, secrets.token_urlsafe(24))
        return file.read_text(encoding="utf-8").strip()

    def _create(self, binaries: Path, home: Path) -> None:
        unfinished = self.data.with_name("data.unfinished")  # of a run that was cut short
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self.data.with_name("initdb.password")
        write_private(password, self._passwords[ADMIN], owner=self._user)
        options = [
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        options += ["--locale=C", "--auth=scram-sha-256", f"--username={ADMIN}"]
        options += [
            f"--pwfile={password}",
            f"--pgdata={unfinished}",
            "--no-instructions",
        ]
        try:
            subprocess.run(
                [binaries / "initdb", *options],
                env=ENVIRONMENT,
                cwd=home,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
                check=True,
                capture_output=True,
                timeout=START_LIMIT_S,
            )
        except subprocess.CalledProcessError as exc:
            said = exc.stderr.decode("utf-8", "replace").strip()
            raise EmbeddedServerError(f"initdb of {home} failed: {said}") from exc
        except (OSError, subprocess.SubprocessError) as exc:
            raise EmbeddedServerError(f"initdb of {home} cannot be run: {exc}.") from exc
        finally:
            password.unlink(missing_ok=True)
        unfinished.rename(self.data)

    def _end_leftovers(self) -> None:
        """End the processes of an earlier run that still hold the data.

        After a kill -9 of the postmaster its back ends keep the shared memory block, and a start
        is refused for as long as they live.
        """
        postmasters = [each for each in processes_in(self.data) if not is_back_end(each)]
        for process in postmasters:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)  # fast shutdown
        wait_until_ended(postmasters, 10)
        end_processes(processes_in(self.data), grace_s=1)
        # Nobody works in the folder any more, so a pid in this file can only be a stranger's.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _choose_port(self) -> None:
        if not self._port:
            self._port = kept_port(self._folder / "postgres.port")
        elif not port_is_free(self._port):
            # Others were told this port: a new one would not reach them.
            raise EmbeddedServerError(
                f"Port {self._port} of the embedded PostgreSQL is taken by another program."
            )

    def _launch(self, binaries: Path) -> None:
        text = CONFIGURATION.format(
            port=self._port,
            shared_buffers=self._sizing.shared_buffers,
            max_connections=self._sizing.max_connections,
        )
        write_private(self.data / "postgresql.conf", text, owner=self._user)
        self._tail.clear()
        try:
            self._process = spawn(
                [str(binaries / "postgres"), "-D", str(self.data)],
                self._sink,
                env=ENVIRONMENT,
                cwd=self.data,
                user=self._user,
                death_signal=signal.SIGINT,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            raise EmbeddedServerError(f"PostgreSQL cannot be run: {exc}.") from exc

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None
        give_up_at = clock.monotonic() + START_LIMIT_S
        why = ""
        while clock.monotonic() < give_up_at:
            if process.poll() is not None:
                process.wait_for_output()
                raise EmbeddedServerError(f"PostgreSQL ended at its start: {self._tail.text()}")
            try:
                psycopg.connect(self.url(ADMIN, ADMIN), connect_timeout=5).close()
            except psycopg.OperationalError as exc:
                why = str(exc).strip()
                if "password authentication failed" in why:
                    raise EmbeddedServerError(
                        f"{self._folder / ADMIN}.password is not the password of {self.data}."
                    ) from exc
                self._pause(0.05)
            else:
                return
        raise EmbeddedServerError(f"PostgreSQL did not answer in {START_LIMIT_S} s: {why}")

    def _ensure_database(self) -> None:
        with psycopg.connect(self.url(ADMIN, ADMIN), autocommit=True) as connection:

            def missing(query: LiteralString) -> bool:
                return connection.execute(query, [OWNER]).fetchone() is None

            if missing("SELECT 1 FROM pg_roles WHERE rolname = %s"):
                connection.execute("CREATE ROLE lepton LOGIN CREATEDB")
                connection.execute("GRANT pg_monitor TO lepton")
            connection.execute(
                sql.SQL("ALTER ROLE lepton PASSWORD {}").format(self._passwords[OWNER])
            )
            if missing("SELECT 1 FROM pg_database WHERE datname = %s"):
                connection.execute("CREATE DATABASE lepton OWNER lepton")
