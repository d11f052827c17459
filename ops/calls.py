"""Who calls whom in the simulated world, and what the trouble of one does to those that call it.

A caller waits for what it calls: when the called service answers later than its load accounts for,
so does the caller, by the share of its requests that wait. Calls that fail are tried once more, and
some of them fail again. Load does not flow back: a caller in trouble calls as often as before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

from ops.faults import say
from ops.world import INSTANCES, PLAIN, Instance, Minute

# Of a service's requests, the share that waits for each service that it calls.
CALLS: Final[dict[str, dict[str, float]]] = {
    "payments": {},
    "inventory": {},
    "mailer": {},  # takes from a queue, so nobody waits for it
    "checkout": {"payments": 0.93, "inventory": 1.0},
    "gateway": {"checkout": 0.12, "inventory": 0.86},
}  # called before callers
TAIL: Final = (
    4.0  # a callee that a quarter of the requests wait for makes the whole slowest twentieth
)
FAILS_AGAIN: Final = 0.5  # of calls that failed at the first try
GIVES_UP_MS: Final = 2_000.0  # a caller waits no longer for one call
# From here on the caller says so in its log.
SAYS_SLOW_MS: Final = 150.0
SAYS_FAILING: Final = 0.05


def topology() -> dict[str, Any]:
    """What a producer of this world would declare."""
    hosts: dict[str, list[str]] = {}
    for instance in INSTANCES:
        hosts.setdefault(instance.service, []).append(instance.host)
    return {
        "services": {
            service: {"calls": list(CALLS[service]), "hosts": hosts[service]} for service in CALLS
        }
    }


def pass_on(
    minutes: Mapping[Instance, Minute], instances: Sequence[Instance], random: Random
) -> set[Instance]:
    """Let callers suffer from what they call; returns those that a person would notice."""
    noticed: set[Instance] = set()
    for service, calls in CALLS.items():
        troubles = [
            (share, _trouble([minutes[each] for each in instances if each.service == callee]))
            for callee, share in calls.items()
        ]
        for instance in instances:
            if (
                instance.service == service
                and minutes[instance].values
                and _suffer(instance, minutes[instance], troubles, random)
            ):
                noticed.add(instance)
    return noticed


def _trouble(called: Sequence[Minute]) -> tuple[float, float, float]:
    """How much later a service answers, in ms at the median and the slowest twentieth, and fails."""
    alive = [minute.values for minute in called if minute.values]
    if not called:
        return 0.0, 0.0, 0.0
    failing = float(len(called) - len(alive))
    slow_p50 = slow_p95 = 0.0
    for values in alive:
        busy = math.sqrt(values["requests_per_s"] + 0.05)
        slow_p50 += values["latency_p50_ms"] - (18 + 6 * busy)
        slow_p95 += values["latency_p95_ms"] - (55 + 22 * busy)
        errors = values["errors_per_s"]
        failing += errors / (errors + values["requests_per_s"] + 1e-9)
    answering = max(len(alive), 1)
    return slow_p50 / answering, slow_p95 / answering, failing / len(called)


def _suffer(
    instance: Instance,
    minute: Minute,
    troubles: Sequence[tuple[float, tuple[float, float, float]]],
    random: Random,
) -> bool:
    later, failing = 0.0, 0.0
    values = minute.values
    for share, (slow_p50, slow_p95, fails) in troubles:
        later += min(1.0, TAIL * share) * slow_p95
        failing += share * fails
        values["latency_p50_ms"] += min(share * slow_p50, GIVES_UP_MS)
    values["latency_p50_ms"] = max(1.0, values["latency_p50_ms"])
    values["latency_p95_ms"] = max(2.0, values["latency_p95_ms"] + min(later, GIVES_UP_MS))
    values["errors_per_s"] += values["requests_per_s"] * min(failing, 1.0) * FAILS_AGAIN
    if instance.service != PLAIN and later > SAYS_SLOW_MS:
        say(minute, "WARN", "upstream {ip} did not answer within 2000 ms, trying again", 2, random)
    if instance.service != PLAIN and failing > SAYS_FAILING:
        say(minute, "ERROR", "upstream {ip} failed after 3 tries: timeout", 2, random)
    return later > SAYS_SLOW_MS or failing > SAYS_FAILING
