"""What a check says, and how checks are run: each alone, and none for longer than its limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from django.db import Error as DatabaseError
from django.db import connection

from lepton_apps.common.errors import LeptonError, UnavailableError

LIMIT_S = 20.0  # of one check
NOT_MIGRATED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)


class Verdict(StrEnum):
    """From harmless to bad. ``skipped``: what it needs is not there."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    PROBLEM = "problem"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``do`` is what to do about it: a command, or a sentence."""

    verdict: Verdict
    found: str
    do: str = ""
    check: str = ""  # the name of the check; the runner fills it in


Look = Callable[[], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """A named look at one thing. ``needs`` names checks without which it cannot be done."""

    name: str
    look: Look
    needs: tuple[str, ...] = ()


def ok(found: str) -> Finding:
    return Finding(Verdict.OK, found)


def warning(found: str, do: str) -> Finding:
    return Finding(Verdict.WARNING, found, do)


def problem(found: str, do: str) -> Finding:
    return Finding(Verdict.PROBLEM, found, do)


def unreachable(found: str, do: str) -> Finding:
    return Finding(Verdict.UNREACHABLE, found, do)


def examine(checks: Sequence[Check], limit_s: float = LIMIT_S) -> Iterator[Finding]:
    """Run the checks in order. One that fails or hangs is a finding and hides no other."""
    away: set[str] = set()
    for check in checks:
        if missing := away & set(check.needs):
            away.add(check.name)
            found = f"Not looked at: {', '.join(sorted(missing))} cannot be reached."
            yield Finding(Verdict.SKIPPED, found, check=check.name)
            continue
        findings = _run(check, limit_s)
        if any(finding.verdict is Verdict.UNREACHABLE for finding in findings):
            away.add(check.name)
        for finding in findings:
            yield Finding(finding.verdict, finding.found, finding.do, check.name)


def worst(findings: Collection[Finding]) -> Verdict:
    order = list(Verdict)
    return max((finding.verdict for finding in findings), key=order.index, default=Verdict.OK)


def _run(check: Check, limit_s: float) -> list[Finding]:
    """In a thread of its own, with a connection of its own, which can be left behind."""
    findings: list[Finding] = []

    def look() -> None:
        try:
            findings.extend(check.look())
        except UnavailableError as exc:
            findings.append(unreachable(exc.detail, "Start it, or mend its address, then again."))
        except LeptonError as exc:
            findings.append(problem(exc.detail, "See docs/troubleshooting.md."))
        except (psycopg.Error, DatabaseError) as exc:
            findings.append(_refusal(exc))
        except Exception as exc:  # noqa: BLE001 - a fault in one check must not hide the others
            findings.append(
                problem(f"The check itself failed: {type(exc).__name__}: {exc}", "Report it.")
            )
        finally:
            connection.close()

    thread = threading.Thread(target=look, name=f"doctor-{check.name}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        return [
            problem(
                f"No answer within {limit_s:.0f} s.",
                "Something it asks is stuck or far away: try it by hand, then run the doctor again.",
            )
        ]
    return findings


def _refusal(exc: Exception) -> Finding:
    """What PostgreSQL answered instead. What lacks a table is told of by database.migrations."""
    if isinstance(exc, NOT_MIGRATED) or isinstance(exc.__cause__, NOT_MIGRATED):
        return Finding(Verdict.SKIPPED, "Not looked at: the database is not migrated.")
    return problem(f"PostgreSQL refused to answer: {first_line(exc)}", "Ask it by hand: psql.")


def first_line(exc: Exception) -> str:
    """What PostgreSQL says, without its hints and the text of the query."""
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
