"""Where the trials of a search are kept, and who works on which: memory, a journal file, PostgreSQL.

A worker holds a lock for as long as it lives: of its own file beside the journal, or of its own
session with PostgreSQL. Whoever dies lets go of it, so that others see at once, without any clock,
that a trial was left behind.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from models_core.space import TuneError

if TYPE_CHECKING:
    import optuna
    from sqlalchemy import Engine

WORKER = "worker"  # of a trial: who works on it
ATTEMPT = "attempt"  # of a trial: the how-manieth time these values are tried
WHY = "why"  # of a failed trial: a sentence
RETRIES = 1  # of a trial whose worker died; one that kills a second worker too is given up
_ID = re.compile(r"[0-9a-f]{8}")
# A machine that is gone says nothing: the server asks, and drops the session and its locks.
_KEEPALIVE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"


class Turns(Protocol):
    """Who may ask for a trial, and who of those that did is still there."""

    me: str

    def asking(self) -> AbstractContextManager[None]:
        """One worker at a time takes a trial."""
        ...

    def is_alive(self, worker: str) -> bool: ...

    def close(self) -> None: ...


class Alone:
    """The turns of a study in this process's memory: nobody else can ask."""

    me = "0" * 8

    def asking(self) -> AbstractContextManager[None]:
        return nullcontext()

    def is_alive(self, worker: str) -> bool:
        return worker == self.me

    def close(self) -> None: ...


class FileTurns:
    """Turns by locks on files beside the journal; on a shared disk, of every machine that has it."""

    def __init__(self, journal: Path) -> None:
        self.me = secrets.token_hex(4)
        self._journal = journal
        self._mine = self._file(self.me)
        self._handle = os.open(self._mine, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def _file(self, worker: str) -> Path:
        return self._journal.with_name(f"{self._journal.name}.worker-{worker}")

    @contextmanager
    def asking(self) -> Iterator[None]:
        turn = self._journal.with_name(f"{self._journal.name}.turn")
        handle = os.open(turn, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)  # lets go of the lock

    def is_alive(self, worker: str) -> bool:
        if not _ID.fullmatch(worker):
            return False
        try:
            handle = os.open(self._file(worker), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        self._file(worker).unlink(missing_ok=True)
        return False

    def close(self) -> None:
        self._mine.unlink(missing_ok=True)
        os.close(self._handle)


class JournalLock:
    """One process writes to a journal at a time, as Optuna asks for. Goes with who holds it."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = journal.with_name(f"{journal.name}.lock")
        self._handle = -1

    def acquire(self) -> bool:
        """Wait for the lock, and cut off a line that a dying machine left half-written."""
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self._handle = handle
        with self._journal.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        os.close(self._handle)


class DatabaseTurns:
    """Turns by advisory locks of PostgreSQL, which go with the session that took them."""

    def __init__(self, engine: Engine, study: str) -> None:
        self.me = secrets.token_hex(4)
        self._study = zlib.crc32(study.encode()) - 2**31  # advisory locks are known by numbers
        self._engine = engine
        self._session = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._call("pg_advisory_lock(:study, :worker)", self.me)

    def _call(self, function: str, worker: str = "") -> Any:
        from sqlalchemy import text

        number = int(worker or "0", 16) - 2**31
        values = {"study": self._study, "worker": number}
        said = {name: value for name, value in values.items() if f":{name}" in function}
        return self._session.execute(text(f"SELECT {function}"), said).scalar()

    @contextmanager
    def asking(self) -> Iterator[None]:
        self._call("pg_advisory_lock(:study)")
        try:
            yield
        finally:
            self._call("pg_advisory_unlock(:study)")

    def is_alive(self, worker: str) -> bool:
        if worker == self.me:
            return True  # a session may take its own lock again
        if not _ID.fullmatch(worker):
            return False
        if not self._call("pg_try_advisory_lock(:study, :worker)", worker):
            return True
        self._call("pg_advisory_unlock(:study, :worker)", worker)
        return False

    def close(self) -> None:
        self._session.close()
        self._engine.dispose()


def open_study(
    name: str,
    storage: Path | str | None,
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
) -> tuple[optuna.Study, Turns]:
    """The study of this name, new or found, and the turns of those who share it.

    Raises:
        TuneError: the storage is neither a path nor a PostgreSQL URL, or cannot be opened.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    turns: Turns
    kept: Any = None
    if storage is None:
        turns = Alone()
    elif "://" in str(storage):
        turns, kept = _database(str(storage), name)
    else:
        path = Path(storage)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            turns = FileTurns(path)
            lock: Any = JournalLock(path)  # Optuna's own outlives a killed process
            kept = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        except OSError as error:
            raise TuneError(f"The journal {path} cannot be kept: {error.strerror}.") from error
    study = optuna.create_study(
        study_name=name,
        storage=kept,
        sampler=sampler,
        pruner=pruner,
        direction="maximize",
        load_if_exists=True,
    )
    return study, turns


def _database(url: str, name: str) -> tuple[Turns, Any]:
    import optuna
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise TuneError(
            f"A study is kept in a file or in PostgreSQL, not in {parsed.get_backend_name()}: "
            "give a path, or a URL that begins with postgresql://."
        )
    parsed = parsed.set(drivername="postgresql+psycopg")
    turns = DatabaseTurns(create_engine(parsed, connect_args={"options": _KEEPALIVE}), name)
    with turns.asking():  # two at once would make the tables twice
        kept = optuna.storages.RDBStorage(parsed.render_as_string(hide_password=False))
    return turns, kept


@contextmanager
def answered(storage: Path | str | None) -> Iterator[None]:
    """Raise ``TuneError`` with one sentence where a database does not answer (any more)."""
    if storage is None or "://" not in str(storage):
        yield
        return
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        first = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
        raise TuneError(
            f"PostgreSQL does not keep the study: {first.rstrip('.')}. Call again to go on with it."
        ) from error


def take_back(study: optuna.Study, turns: Turns) -> None:
    """Give the trials of workers that died to whoever asks next. Only while it is one's turn."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(WORKER)
        if worker is not None and turns.is_alive(worker):
            continue
        attempt = int(trial.user_attrs.get(ATTEMPT, 1))
        if attempt > RETRIES:
            why = f"Its worker died, {attempt} times: too little memory for these values?"
            study._storage.set_trial_user_attr(trial._trial_id, WHY, why)
        study.tell(trial.number, state=TrialState.FAIL)
        if attempt <= RETRIES:
            study.enqueue_trial(trial.params, user_attrs={ATTEMPT: attempt + 1})
