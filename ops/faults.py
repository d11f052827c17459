"""What goes wrong in the simulated world: seven kinds of faults, seen in logs and metrics alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Final

from ops.world import MINUTE_S, Instance, Line, Minute, Usage, filled, restart

FAULTS_A_DAY: Final = 4.0  # in the whole world
QUIET_AT_FIRST: Final = timedelta(hours=2)
SHORTEST_MIN: Final = 10
LONGEST_MIN: Final = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with one entity for a while."""

    kind: str
    entity: str  # the instance, or ``*@host`` for all on a host
    start: datetime
    end: datetime

    def hits(self, instance: Instance, at: datetime) -> bool:
        named = self.entity in (instance.key, f"*@{instance.host}")
        return named and self.start <= at < self.end

    def progress(self, at: datetime) -> float:
        """How far it has come, 0 to 1."""
        return (at - self.start) / (self.end - self.start)


Effect = Callable[[Minute, float, Usage, Random], None]


def leak(minute: Minute, progress: float, usage: Usage, random: Random) -> None:
    """Memory fills up, collecting garbage takes all the time, and then it is over."""
    usage.memory_mb += 90 + 60 * progress
    values = minute.values
    values["memory_mb"] = usage.memory_mb
    values["gc_ms"] *= 1 + 12 * progress
    values["latency_p95_ms"] *= 1 + 4 * progress
    if progress > 0.4:
        say(minute, "WARN", "memory: heap is {n} MB above its soft limit", 2, random)
    if progress > 0.93:
        say(minute, "ERROR", "out of memory: killed by the kernel, {n} pages lost", 1, random)
        say(minute, "INFO", "process started, version 3.{n}", 1, random)
        restart(usage)


def crash_loop(minute: Minute, progress: float, usage: Usage, random: Random) -> None:
    """It starts, breaks, and starts again."""
    del minute.lines[len(minute.lines) // 4 :]
    for _ in range(3):
        say(minute, "INFO", "process started, version 3.{n}", 1, random)
        say(minute, "INFO", "loading {n} plugins", 1, random)
        say(minute, "ERROR", "panic: index {n} out of range in handler", 1, random)
        say(minute, "ERROR", "stack: worker.run at line {n}", 3, random)
    restart(usage)
    values = minute.values
    values["requests_per_s"] *= 0.25
    values["errors_per_s"] += 0.6
    values["bytes_sent_total"] = values["requests_total"] = random.uniform(0, 500)
    values["threads"] = 6


def slow_dependency(minute: Minute, progress: float, usage: Usage, random: Random) -> None:
    """What it waits for has become slow."""
    values = minute.values
    values["latency_p50_ms"] *= 6
    values["latency_p95_ms"] *= 10
    values["connections"] = values["connections"] * 3 + 20
    values["threads"] *= 2
    values["requests_per_s"] *= 0.8
    calls = max(2, len(minute.lines) // 8)
    say(minute, "WARN", "upstream {ip} did not answer within 2000 ms, trying again", calls, random)
    say(minute, "ERROR", "upstream {ip} failed after 3 tries: timeout", calls // 2, random)


def full_disk(minute: Minute, progress: float, usage: Usage, random: Random) -> None:
    """The disk of the host fills up, and then nobody there can write."""
    used = min(100.0, usage.disk_percent + 65 * min(1.0, progress * 1.6))
    minute.values["disk_used_percent"] = used
    if used > 92:
        say(minute, "WARN", "disk: only {n} MB are left on /var", 2, random)
    if used >= 99:
        minute.values["errors_per_s"] += 0.5
        say(
            minute,
            "ERROR",
            "cannot write /var/data/segment-{n}: no space left on device",
            6,
            random,
        )


def bad_deploy(minute: Minute, progress: float, usage: Usage, random: Random) -> None:
    """A new version that says what no version has said before, and fails more often."""
    if progress < 0.05:
        say(minute, "INFO", "deployed version 4.{n} to this instance", 1, random)
        restart(usage)
    minute.values["errors_per_s"] += 0.3
    minute.values["cpu_percent"] *= 1.6
    number = random.randrange(4)
    texts = (
        "feature flag beta_{n} is missing, using the default",
        "response schema mismatch in field total of order {id}",
        "falling back to the legacy serializer for {id}",
        "unexpected null in customer profile {id}",
    )
    say(minute, "ERROR" if number % 2 else "WARN", texts[number], 4, random)


def error_burst(minute: Minute, progress: float, usage: Usage, random: Random) -> None:
    """One kind of error, many times over."""
    minute.values["errors_per_s"] += 1.5
    many = max(10, len(minute.lines) // 3)
    say(minute, "ERROR", "request {id} failed: connection reset by {ip}", many, random)


def silence(minute: Minute, progress: float, usage: Usage, random: Random) -> None:
    """Nothing at all."""
    minute.lines.clear()
    minute.values.clear()


EFFECTS: Final[dict[str, Effect]] = {
    "leak": leak,
    "crash_loop": crash_loop,
    "slow_dependency": slow_dependency,
    "full_disk": full_disk,
    "bad_deploy": bad_deploy,
    "error_burst": error_burst,
    "silence": silence,
}


def drawn(instances: tuple[Instance, ...], start: datetime, seed: int) -> Iterator[Fault]:
    """Faults without end, in order of start, never two at once in the world."""
    random = Random(f"faults {seed}")  # noqa: S311 - a simulation
    at = start + QUIET_AT_FIRST
    kinds = list(EFFECTS)
    while True:
        if not kinds:
            kinds = list(EFFECTS)
        kind = kinds.pop(random.randrange(len(kinds)))
        at += timedelta(days=random.expovariate(FAULTS_A_DAY))
        at = at.replace(second=0, microsecond=0) + timedelta(minutes=1)
        instance = instances[random.randrange(len(instances))]
        entity = f"*@{instance.host}" if kind == "full_disk" else instance.key
        end = at + timedelta(minutes=random.randrange(SHORTEST_MIN, LONGEST_MIN))
        yield Fault(kind, entity, at, end)
        at = end


def say(minute: Minute, level: str, text: str, times: int, random: Random) -> None:
    """Add lines at moments of their own."""
    for _ in range(times):
        at = random.random() * MINUTE_S
        minute.lines.append(Line(at, level, filled(text, random)))
