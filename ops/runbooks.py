"""Steps that people take about the kinds of faults that evidence shows. Text to read; nothing is done.

A kind is suggested by what the alert itself holds, or by what changed at its likely origin. Each
rule says what it saw. They know nothing of the installation, so they stay general.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lepton_apps.verticals.insight import Advice, AskedAlert, Origin

MOST_ADVICE: Final = 3
LEAST_SHARE: Final = 0.1  # of a metric in a vector's strangeness


@dataclass(frozen=True, slots=True)
class Runbook:
    """A kind of fault: how it shows, and what to do about it."""

    title: str
    look: tuple[str, ...]
    help: tuple[str, ...]
    check: tuple[str, ...]
    metric: re.Pattern[str] | None = None  # a metric's name
    rises: bool = True  # whether the metric has to be above what was expected
    text: re.Pattern[str] | None = None  # a log line or template
    reasons: tuple[str, ...] = ()  # reason codes of alerts


def _any_of(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(parts), re.IGNORECASE)


# What says most of a fault comes first.
RUNBOOKS: Final = (
    Runbook(
        "The disk is full, or soon will be",
        look=(
            "Which file system is full, and how fast it fills: `df -h`, and `df -i` for inodes.",
            "What grows on it: `du -xh --max-depth=2 / | sort -h | tail`; old logs, core dumps, "
            "temporary files and backups that nobody removes are the usual ones.",
            "Deleted files that a process still holds open: `lsof +L1`.",
        ),
        help=(
            "Free space that is safe to free first: rotated logs, caches, old releases.",
            "Restart the process that holds a deleted file open; the space comes back with it.",
            "If it fills within minutes, stop the writer before anything else, then enlarge.",
        ),
        check=(
            "The used share falls and stays below nine tenths for an hour.",
            "No new line says that there is no space left, and what could not be written is there.",
        ),
        metric=_any_of("disk", "filesystem", "inode", "volume.*used"),
        text=_any_of("no space left", "disk (is )?full", "disk quota", r"disk: only"),
    ),
    Runbook(
        "Memory runs out",
        look=(
            "Whether memory only ever rises between restarts, or follows the load.",
            "What was deployed or configured before the rise began.",
            "Whether the kernel killed something: `dmesg -T | grep -i 'out of memory'`, or the "
            "container's last state.",
        ),
        help=(
            "Take a heap dump or profile now if you can: after a restart the evidence is gone.",
            "Restart the instances one after the other to gain time.",
            "Roll back what came before the rise, or lower the size of caches and pools.",
        ),
        check=(
            "Memory stays level for longer than it took to fill before.",
            "Time spent in collecting garbage is as before.",
        ),
        metric=_any_of("memory", r"\bmem_", "heap", r"^gc_", "_gc_", "rss", "swap"),
        text=_any_of("out of memory", r"\boom\b", "heap is", "cannot allocate"),
    ),
    Runbook(
        "It starts, breaks and starts again",
        look=(
            "The last lines before it ends, and its exit status: they name the reason more often "
            "than the first ones.",
            "What changed since its last long run: release, configuration, secret, certificate.",
            "What it needs while it starts: database, files, ports, other services.",
        ),
        help=(
            "Roll back the last change, whatever it was, before looking for its fault.",
            "If a single input breaks it, take that input aside and let it start without.",
            "Give it a longer time to start if it is killed before it is ready.",
        ),
        check=(
            "No restart for longer than it lived between two of them before.",
            "It takes its share of requests again.",
        ),
        metric=_any_of("restart"),
        text=_any_of(
            r"\bpanic\b", "segmentation fault", "process started", "traceback", "core dump"
        ),
        reasons=("resets",),
    ),
    Runbook(
        "A new version misbehaves",
        look=(
            "Whether the first strange line is younger than the deployment, on each instance.",
            "Whether instances of the version before show it too. If they do, it is something else.",
            "What the new version changed of interfaces, flags and schemas.",
        ),
        help=(
            "Roll back, or turn off the flag. Look for the fault afterwards.",
            "If data was migrated, make sure first that the version before can read it.",
        ),
        check=(
            "Errors fall to what they were before the deployment.",
            "The lines that no version had said before are not said any more.",
        ),
        text=_any_of(
            r"\bdeployed\b", "feature flag", "schema mismatch", "legacy serializer", "rollout"
        ),
    ),
    Runbook(
        "Something that it waits for is slow",
        look=(
            "The likely origin above: whether what it calls became slow first.",
            "Waiting connections, threads and queues: they grow at whoever waits.",
            "Whether all instances are slow, or one; one alone points to its host.",
        ),
        help=(
            "Help the one that is slow, not those who wait for it: restarting callers frees nothing.",
            "Shed or pause work that can wait; fewer retries keep the slow one from drowning.",
            "Take a single slow instance or host out of the rotation.",
        ),
        check=(
            "Its slowest twentieth of answers is as it was at this hour on other days.",
            "Timeouts and retries of the callers end, and queues are worked off.",
        ),
        metric=_any_of("latency", "duration", "response_time", r"p9\d", "connections", "queue"),
        text=_any_of("timed? ?out", "did not answer", "deadline exceeded", "connection pool"),
    ),
    Runbook(
        "One error, many times",
        look=(
            "Whether it is one error or many: by template, in the evidence of the log alert.",
            "Whether it comes from one caller, one instance, one kind of request, or from all.",
            "The first of them: what follows is often the consequence.",
        ),
        help=(
            "If the other side refuses or resets, look there: certificate, limit, address, outage.",
            "Stop the caller that sends what cannot be answered, or roll back what it changed.",
        ),
        check=(
            "Errors a second are as before, with as many requests as before.",
            "What failed meanwhile has been tried again, or is known to be lost.",
        ),
        metric=_any_of("error", "failure", "5xx", "exceptions"),
        text=_any_of(r"\[(error|fatal)\]", "failed", "connection reset", "refused"),
    ),
    Runbook(
        "It fell silent",
        look=(
            "Whether the process lives, and its host: a dead one and a cut line look alike from here.",
            "Whether others on the same host are silent too; then it is the host or its network.",
            "Whether what collects and sends logs and metrics lives: it may be only that.",
        ),
        help=(
            "Restart what is dead; the host before the process if neither answers.",
            "If it lives and serves, repair the collector; this alert ends by itself.",
        ),
        check=("Lines and metrics come again, without a gap, for a quarter of an hour.",),
        reasons=("silence",),
    ),
)
SILENCE: Final = RUNBOOKS[-1]


def advice_for(alert: AskedAlert, origins: Sequence[Origin]) -> tuple[Advice, ...]:
    """Up to three kinds of steps, the likely origin's first, each with what suggests it."""
    found: dict[str, Advice] = {}
    for because, runbook in (*_of_origin(alert, origins), *_of_alert(alert)):
        if runbook.title not in found and len(found) < MOST_ADVICE:
            found[runbook.title] = Advice(
                runbook.title, because, runbook.look, runbook.help, runbook.check
            )
    return tuple(found.values())


def _of_origin(alert: AskedAlert, origins: Sequence[Origin]) -> Iterable[tuple[str, Runbook]]:
    for origin in origins[:1]:
        what = origin.sentence.partition(": ")[2].partition(" at ")[0]
        if "stopped sending metrics" in what:
            yield f"{origin.entity_key} stopped sending metrics.", SILENCE
        for runbook in RUNBOOKS:
            named = runbook.metric is not None and runbook.metric.search(what)
            if named and not (runbook.rises and " fell by " in what):
                yield f"at {origin.entity_key}, {what}.", runbook


def _of_alert(alert: AskedAlert) -> Iterable[tuple[str, Runbook]]:
    metrics = list(_raised(alert.evidence))
    texts = list(_said(alert.evidence))
    for runbook in RUNBOOKS:
        if alert.reason in runbook.reasons:
            yield f"the alert's reason is {alert.reason!r}.", runbook
        for text in texts:
            if runbook.text is not None and runbook.text.search(text):
                yield f"it says: {text[:120]}", runbook
                break
        for name in metrics:
            if runbook.metric is not None and runbook.metric.search(name):
                yield f"{name} is above what was expected.", runbook
                break


def _raised(evidence: Mapping[str, Any]) -> Iterable[str]:
    for metric in evidence.get("metrics", ()):
        seen, expected = metric.get("seen"), metric.get("expected")
        if seen is not None and seen > expected and metric.get("share", 0.0) >= LEAST_SHARE:
            yield str(metric["name"])


def _said(evidence: Mapping[str, Any]) -> Iterable[str]:
    """Lines of the evidence that nobody expected, and what else was said, loud things first."""
    lines = sorted(evidence.get("lines", ()), key=lambda line: -int(line.get("loudness", 0)))
    for line in lines:
        yield str(line.get("text") or line.get("template", ""))
