"""Runs the whole server on one machine: servers, one-time commands, then web, workers, simulators.

One thread does all of it, for the kernel ties a child's end to the thread that started it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError
from lepton_apps.embedded.children import Backoff, Child, ChildSpec, StopRank, ended
from lepton_apps.embedded.folder import DataFolder
from lepton_apps.embedded.logs import Both, LineSink, RotatedFile, Tail, Terminal
from lepton_apps.embedded.processes import Spawned, kill_group, port_is_free, spawn
from lepton_apps.embedded.servers import Named, Servers

ROOT = Path(__file__).resolve().parents[2]
STEP_S = 0.2  # how often children are looked after
STOP_GRACE_S = 12.0  # the web process itself gives requests 10 s
SAME_SIGNAL_S = 0.5  # make and the terminal may each deliver the same Ctrl-C
DISK_CHECK_S = 600.0
DISK_WARNING_BYTES = 1_000_000_000
READY_WARNING_S = 120.0
ONE_TIME_PASSWORD = "one-time password"  # noqa: S105  (the words in the line that `setup` prints)
LISTEN_ON_ALL = ("", "0.0.0.0", "::")  # noqa: S104


class StopRequestedError(Exception):
    """Somebody asked us to stop while we waited for something."""


class CommandFailedError(LeptonError):
    """A command that must succeed before the server can run did not."""

    code = "command_failed"
    status = 500


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What to run. ``workers`` counts those of each scored stream; a label stream has one.

    ``metrics_port`` is the first of as many as there are children; 0: metrics are not served.
    """

    port: int = 8000
    host: str = "127.0.0.1"
    workers: int = 1
    simulate: bool = True
    servers_only: bool = False
    metrics_port: int = 0


class Streams(NamedTuple):
    """What ``manage.py streams --json`` tells."""

    scored: list[str]
    labels: list[str]
    simulators: list[str]


class Supervisor:
    """One run on one data folder. ``run`` returns when it was asked to stop."""

    def __init__(
        self,
        folder: DataFolder,
        named: Named,
        options: RunOptions,
        *,
        env: Mapping[str, str],
        terminal: Terminal,
        manage: Path = ROOT / "manage.py",
    ) -> None:
        self._folder = folder
        self._named = named
        self._options = options
        self._terminal = terminal
        self._manage_file = manage
        self._base_env = dict(env)
        self._env: dict[str, str] = {}
        self._servers: Servers | None = None
        self._children: list[Child] = []
        self._command: Spawned | None = None
        self._setup_backoff = Backoff()
        self._setup_is_due = False
        self._is_announced = False
        self._sign_in = "as an operator you have. Password lost: manage.py reset_password NAME"
        self._disk_checked_at = -DISK_CHECK_S
        self._stop_asked_at: float | None = None

    def run(self) -> None:
        """Raises LeptonError where the server cannot be brought up; all is stopped by then."""
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._on_signal)
        self._folder.lock()
        try:
            self._bring_up()
            if self._options.servers_only:
                self._announce()
            self._supervise()
        except StopRequestedError:
            self._terminal.say("Stopping. Ctrl-C again kills at once.")
        finally:
            self._stop()
            self._folder.release()

    # --- the way up

    def _bring_up(self) -> None:
        self._check_disk()
        options = self._options
        if not options.servers_only and not port_is_free(options.port):
            raise CommandFailedError(
                f"Port {options.port} is taken by another program. Choose another with --port."
            )
        if num := self._folder.register.end_leftovers():
            self._terminal.say(f"Ended {num} process(es) that an earlier run left behind.")
        self._servers = Servers(self._folder, self._named, self._terminal.say, self._pause)
        self._servers.start()
        settings = self._servers.settings
        self._folder.write_runtime(settings)
        self._env = {
            "LOG_FORMAT": "text",  # for people; what the caller set comes after and wins
            **self._base_env,
            **{name: str(value) for name, value in settings.items()},
            "LEPTON_DATA_DIR": str(self._folder.path),
            "PYTHONUNBUFFERED": "1",
        }
        if options.servers_only:
            return
        (self._folder.path / "static").mkdir(exist_ok=True)  # settings.STATIC_ROOT, may be empty
        self._manage("migrate", "--verbosity", "1")
        self._setup()
        self._manage("train_starters")
        specs = self._specs(self._streams())
        self._children = [self._child(spec, number) for number, spec in enumerate(specs)]

    def _streams(self) -> Streams:
        done = subprocess.run(
            self._argv("streams", "--json"),
            env=self._env,
            cwd=self._manage_file.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise CommandFailedError(f"`manage.py streams --json` failed: {said}")
        told = json.loads(done.stdout)
        return Streams(
            scored=[each["name"] for each in told["streams"] if each["kind"] == "scored"],
            labels=[each["name"] for each in told["streams"] if each["kind"] == "labels"],
            simulators=list(told["simulators"]),
        )

    def _specs(self, streams: Streams) -> list[ChildSpec]:
        options = self._options
        web = self._argv("web", "--host", options.host, "--port", str(options.port))
        specs = [ChildSpec(name="web", argv=web, rank=StopRank.WEB)]
        for stream in streams.scored:
            for number in range(1, options.workers + 1):
                name = stream if options.workers == 1 else f"{stream}-{number}"
                argv = self._argv("worker", stream)
                specs.append(ChildSpec(name=name, argv=argv, rank=StopRank.WORKER))
        for stream in streams.labels:
            argv = self._argv("worker", stream)
            specs.append(ChildSpec(name=stream, argv=argv, rank=StopRank.WORKER))
        for vertical in streams.simulators if options.simulate else []:
            argv = self._argv("simulate", vertical)
            name = f"simulate-{vertical}"
            specs.append(ChildSpec(name=name, argv=argv, rank=StopRank.SIMULATOR))
        return specs

    def _child(self, spec: ChildSpec, number: int) -> Child:
        env = self._env
        if first_port := self._options.metrics_port:
            env = {**env, "METRICS_PORT": str(first_port + number)}
        return Child(
            spec,
            self._sink(spec.name),
            self._folder.register,
            env=env,
            cwd=self._manage_file.parent,
        )

    def _sink(self, name: str) -> LineSink:
        return Both(self._terminal.named(name), RotatedFile(self._folder.logs / f"{name}.log"))

    def _argv(self, *arguments: str) -> Sequence[str]:
        return [sys.executable, str(self._manage_file), *arguments]

    def _setup(self) -> None:
        """Its lines are shown but not kept in a file: at the first start it prints a password."""
        said = Tail()
        self._manage("setup", sink=Both(self._terminal.named("setup"), said))
        for line in said.text().splitlines():
            if ONE_TIME_PASSWORD in line:
                self._sign_in = line  # training follows and would push it off the screen

    def _manage(self, *arguments: str, sink: LineSink | None = None) -> None:
        """Run a command to its end. Raises CommandFailedError."""
        name = arguments[0]
        sink = sink or self._sink(name)
        process = spawn(self._argv(*arguments), sink, env=self._env, cwd=self._manage_file.parent)
        self._command = process
        self._folder.register.add(name, process.pid)
        try:
            while process.poll() is None:
                self._pause(0.05)
            process.wait_for_output()
        finally:
            self._command = None
            kill_group(process)
            self._folder.register.remove(name)
        if process.returncode:
            raise CommandFailedError(
                f"`manage.py {' '.join(arguments)}` {ended(process.returncode)}: see its lines."
            )

    # --- while it runs

    def _supervise(self) -> None:
        started_at = clock.monotonic()
        while True:
            self._pause(STEP_S)
            self._check_disk()
            if not self._servers_are_well():
                continue
            for child in self._children:
                if said := child.tend():
                    self._terminal.say(said)
            if not self._is_announced:
                waited = clock.monotonic() - started_at
                if self._web_is_ready():
                    self._announce()
                elif waited > READY_WARNING_S:
                    started_at = clock.monotonic()
                    self._terminal.say(f"Still waiting for {self._url}/readyz to answer.")

    def _servers_are_well(self) -> bool:
        assert self._servers is not None
        is_well, topics_are_gone = self._servers.heal()
        if self._options.servers_only:
            return is_well
        self._setup_is_due |= topics_are_gone
        if is_well and self._setup_is_due and self._setup_backoff.is_due:
            self._terminal.say("The broker came back empty; its topics are created anew.")
            try:
                self._setup()
            except CommandFailedError as exc:
                self._setup_backoff.failed()
                self._terminal.say(f"{exc} Trying again in {self._setup_backoff.delay_s:.0f} s.")
                return False
            self._setup_backoff.reset()
            self._setup_is_due = False
            for child in self._children:
                # The new broker knows no producer of before, and refuses what they send.
                if child.spec.rank is StopRank.SIMULATOR:
                    child.terminate()
        return is_well and not self._setup_is_due

    def _web_is_ready(self) -> bool:
        connection = http.client.HTTPConnection(self._shown_host, self._options.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def _shown_host(self) -> str:
        """An address that reaches the web process from here, also when it listens on all."""
        host = self._options.host
        return "127.0.0.1" if host in LISTEN_ON_ALL else host

    @property
    def _url(self) -> str:
        return f"http://{self._shown_host}:{self._options.port}"

    def _announce(self) -> None:
        assert self._servers is not None
        lines = [
            f"Database  {self._servers.describe_database()}.",
            f"Broker    {self._servers.describe_broker()}.",
            f"Data      {self._folder.path} (logs in {self._folder.logs}).",
            "Stop      Ctrl-C.",
        ]
        if not self._options.servers_only:
            lines.insert(0, f"Lepton runs at {self._url}")
            lines.insert(1, f"Sign in   {self._sign_in}")
        rule = "-" * 78
        self._terminal.say("\n".join(["", rule, *lines, rule]))
        self._is_announced = True

    def _check_disk(self) -> None:
        now = clock.monotonic()
        if now - self._disk_checked_at < DISK_CHECK_S:
            return
        self._disk_checked_at = now
        free = self._folder.free_bytes()
        if free < DISK_WARNING_BYTES:
            self._terminal.say(
                f"Warning: {free / 1e6:.0f} MB are free where {self._folder.path} lies. "
                "PostgreSQL stops when the disk is full; make room."
            )

    # --- the way down

    def _pause(self, seconds: float) -> None:
        """Every wait goes through here, so that a stop is noticed at a safe point."""
        if self._stop_asked_at is None:
            clock.sleep(seconds)
        if self._stop_asked_at is not None:
            raise StopRequestedError

    def _stop(self) -> None:
        for rank in StopRank:
            children = [child for child in self._children if child.spec.rank is rank]
            for child in children:
                child.terminate()
            give_up_at = clock.monotonic() + STOP_GRACE_S
            while clock.monotonic() < give_up_at and not all(c.has_ended for c in children):
                clock.sleep(0.05)
            for child in children:
                child.kill()
        if self._servers is not None:
            self._servers.stop()
            self._folder.remove_runtime()
            self._terminal.say("Stopped.")

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        now = clock.monotonic()
        if self._stop_asked_at is None:
            self._stop_asked_at = now
        elif now - self._stop_asked_at > SAME_SIGNAL_S:
            self._kill_at_once()

    def _kill_at_once(self) -> None:
        """Runs inside a signal handler: only what takes no lock. The next start heals."""
        pids = [child.pid for child in self._children]
        pids.append(self._command.pid if self._command is not None else None)
        if self._servers is not None:
            pids += self._servers.pids
            if self._servers.postgres is not None:
                self._servers.postgres.signal_immediate_shutdown()
        for pid in pids:
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        os._exit(130)
