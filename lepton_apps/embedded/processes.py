"""Starting and ending processes so that none is left behind, and finding those that were."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError
from lepton_apps.embedded.logs import LineSink, copy_lines

Pause = Callable[[float], None]  # waits that many seconds; may raise to give up

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)  # loaded here: nothing may be loaded after a fork
NOBODY = 65534  # the user of PostgreSQL when we are root, which it refuses
CREATED_TOLERANCE_S = 0.01


class EmbeddedServerError(LeptonError):
    """An embedded server cannot be started or used; the sentence says what to do."""

    code = "embedded_server_failed"
    status = 503


class Spawned(subprocess.Popen[bytes]):
    """A child whose output a thread of ours copies to its sink."""

    copier: threading.Thread

    def wait_for_output(self) -> None:
        """Return when its last words are in the sink; soon after its end, or it runs on."""
        self.copier.join(timeout=2)


def spawn(
    argv: Sequence[str],
    sink: LineSink,
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    user: int | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> Spawned:
    """Start a child in a session of its own, whose lines go to ``sink``.

    A terminal's Ctrl-C does not reach it, so that we stop children in our order. When we are
    killed, the kernel sends it ``death_signal``. Call it on a thread that stays: the kernel
    means that thread's death.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    process = Spawned(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(env),
        cwd=cwd,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        start_new_session=True,
        # Safe beside threads: it takes no lock and imports nothing.
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None
    process.copier = threading.Thread(
        target=copy_lines, args=(process.stdout, sink), name=f"log-{process.pid}", daemon=True
    )
    process.copier.start()
    return process


def wait_for_exit(process: subprocess.Popen[bytes], seconds: float, pause: Pause) -> bool:
    """Whether the child ended within ``seconds``."""
    give_up_at = clock.monotonic() + seconds
    while process.poll() is None:
        if clock.monotonic() >= give_up_at:
            return False
        pause(0.02)
    return True


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a child and what it started, at once. Silent when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def has_ended(process: psutil.Process) -> bool:
    """Whether it holds nothing any more. In a container an orphan may stay a zombie for ever."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_ended(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return those that still run after ``seconds``."""
    give_up_at = clock.monotonic() + seconds
    while alive := [process for process in processes if not has_ended(process)]:
        if clock.monotonic() >= give_up_at:
            break
        clock.sleep(0.02)
    return alive


def end_processes(processes: Iterable[psutil.Process], grace_s: float) -> int:
    """SIGTERM, then SIGKILL after ``grace_s``, by pid. Returns how many there were."""
    found = [process for process in processes if not has_ended(process)]
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in wait_until_ended(found, grace_s):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until_ended(found, 10)
    return len(found)


def processes_in(folder: Path) -> list[psutil.Process]:
    """Running processes whose working folder is ``folder``: how PostgreSQL's are recognised.

    Its back ends stay there also when the postmaster, and with it their parent, is gone.
    """
    wanted = str(folder.resolve())
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == wanted:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
    return [process for process in found if process.pid != os.getpid()]


class Register:
    """Remembers on disk which processes we started, so that the next start can end leftovers.

    A pid alone may be another process by then; together with its start time it is not.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, pid: int) -> None:
        try:
            created = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps({"pid": pid, "created": created})
        (self._folder / f"{name}.json").write_text(text, encoding="ascii")

    def remove(self, name: str) -> None:
        (self._folder / f"{name}.json").unlink(missing_ok=True)

    def end_leftovers(self) -> int:
        """End what an earlier run left behind. Returns the number of processes."""
        leftovers = []
        for file in sorted(self._folder.glob("*.json")):
            try:
                noted = json.loads(file.read_text(encoding="ascii"))
                process = psutil.Process(noted["pid"])
                if abs(process.create_time() - noted["created"]) < CREATED_TOLERANCE_S:
                    leftovers.append(process)
            except (ValueError, KeyError, TypeError, psutil.NoSuchProcess):
                pass  # half written, or gone long ago
            file.unlink(missing_ok=True)
        return end_processes(leftovers, grace_s=5)


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As the servers do: connections of an earlier run that linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def kept_port(file: Path) -> int:
    """The port noted in ``file`` when it is free, else a new one, which is noted there."""
    try:
        port = int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        port = 0
    if not port or not port_is_free(port):
        port = free_port()
        write_private(file, str(port))
    return port


def write_private(file: Path, text: str, *, owner: int | None = None) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(descriptor)
    if owner is not None:
        os.chown(unfinished, owner, owner)
    unfinished.replace(file)
