"""What every ``manage.py`` command of the server shares: examples, ``--json``, exit codes, errors.

Exit codes: 0 done; 1 refused or not found, and trying again changes nothing; 2 wrong arguments;
3 a server cannot be reached or is busy, and trying again later may help; 130 Ctrl-C.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, ClassVar, NoReturn

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, ProgrammingError

from lepton_apps.common.errors import LeptonError, UnavailableError
from lepton_apps.common.progress import ProgressLines

REFUSED = 1
WRONG_ARGUMENTS = 2
UNAVAILABLE = 3
INTERRUPTED = 130

AWAY = (psycopg.OperationalError, psycopg.InterfaceError, OperationalError, InterfaceError)
CODES = {
    REFUSED: "request_refused",
    WRONG_ARGUMENTS: "wrong_arguments",
    UNAVAILABLE: "unavailable",
    INTERRUPTED: "interrupted",
}


class Progress:
    """Progress that nobody reads: of a command that answers in JSON."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


class LeptonCommand(BaseCommand):
    """A command that explains itself with examples, speaks JSON when asked, and fails by name.

    ``LeptonError`` and a database that does not answer become one sentence and an exit code;
    other exceptions are bugs and keep their traceback. With ``--json`` there is one line on
    standard output however it ends: the answer, or ``{"error": {"code", "detail"}}``.
    """

    examples: ClassVar[tuple[str, ...]] = ()  # without "manage.py"
    speaks_json: ClassVar[bool] = True  # false: it runs until it is stopped
    as_json = False
    _has_answered = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        lines = "".join(f"\n  manage.py {example}" for example in self.examples)
        kwargs.setdefault("formatter_class", RawDescriptionHelpFormatter)
        kwargs.setdefault("epilog", f"example{'s' * (len(self.examples) > 1)}:{lines}")
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        if self.speaks_json:
            parser.add_argument(
                "--json", action="store_true", help="answer with one JSON object and nothing else"
            )

    def execute(self, *args: Any, **options: Any) -> str | None:
        self.as_json = bool(options.get("json"))
        self._has_answered = False
        try:
            return self._execute(*args, **options)
        except CommandError as exc:
            if self.as_json and not self._has_answered:
                cause = exc.__cause__
                code = cause.code if isinstance(cause, LeptonError) else CODES[exc.returncode]
                self.answer({"error": {"code": code, "detail": str(exc)}})
            raise

    def _execute(self, *args: Any, **options: Any) -> str | None:
        """Raises CommandError, with its exit code, for all that is not a bug."""
        try:
            return super().execute(*args, **options)
        except UnavailableError as exc:
            raise CommandError(exc.detail, returncode=UNAVAILABLE) from exc
        except LeptonError as exc:
            raise CommandError(exc.detail, returncode=REFUSED) from exc
        except AWAY as exc:
            first = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
            raise CommandError(
                f"PostgreSQL does not answer: {first.rstrip('.')}. See `manage.py doctor`.",
                returncode=UNAVAILABLE,
            ) from exc
        except (psycopg.errors.UndefinedTable, ProgrammingError) as exc:
            missing = exc if isinstance(exc, psycopg.Error) else exc.__cause__
            if not isinstance(missing, psycopg.errors.UndefinedTable):
                raise
            raise CommandError(
                f"The database is not migrated ({str(missing).splitlines()[0]}): "
                "run `manage.py migrate` first.",
                returncode=REFUSED,
            ) from exc
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=INTERRUPTED) from None

    def refuse(self, detail: str) -> NoReturn:
        """End with a sentence about an argument and the exit code of wrong arguments."""
        raise CommandError(detail, returncode=WRONG_ARGUMENTS)

    def known(self, what: str, given: str, names: Collection[str]) -> str:
        """``given``, where it is one of the names; otherwise refused with what comes close.

        ``what`` says what the names are of, as "stream".
        """
        if given not in names:
            close = get_close_matches(given.lower(), names, n=3)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            there = f"There are: {', '.join(sorted(names))}." if names else "There are none."
            self.refuse(f"No {what} named {given!r}.{hint} {there}")
        return given

    def between(self, option: str, value: float, least: float, most: float) -> None:
        """Refuse a number outside of a span, by the name of its option."""
        if not least <= value <= most:
            self.refuse(f"{option} {value} is not between {least} and {most}.")

    def answer(self, facts: Mapping[str, Any], *lines: str) -> None:
        """Write ``facts`` as one line of JSON when asked for it, otherwise the lines."""
        self._has_answered = True
        if self.as_json:
            self.stdout.write(json.dumps(facts, default=str))
            return
        for line in lines:
            self.stdout.write(line)

    def say(self, line: str) -> None:
        """A line for people alone."""
        if not self.as_json:
            self.stdout.write(line)

    @contextmanager
    def progress(self) -> Iterator[ProgressLines | Progress]:
        """How long work tells people how far it is: ``progress(stage, done, total)``."""
        if self.as_json:
            yield Progress()
            return
        with ProgressLines(self.stdout) as lines:
            yield lines
