"""The declared graph of who calls whom: what may be in it, and the entities behind its names.

A service measures under its own name, or under ``service@host`` for each of its hosts, unless it
says under which ``entities``. A host may measure under its own name.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from lepton_apps.verticals.insight import Checked, Declaration, DeclarationRefusedError
from ops import calls

MOST_SERVICES: Final = 2_000
MOST_EDGES: Final = 10_000  # calls, hosts and entities together
MOST_WARNINGS: Final = 20

Name = Annotated[str, Meta(min_length=1, max_length=120)]


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one service needs, and where it runs."""

    calls: list[Name] = []  # services that it waits for
    hosts: list[Name] = []
    entities: list[Name] = []  # under which it measures; empty: see the module


class Topology(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All services by name."""

    services: dict[Name, Service]


def check(body: Any) -> Checked:
    """A declared document as it can be used. Raises DeclarationRefusedError, which names the place."""
    topology = read(body)
    services = topology.services
    if len(services) > MOST_SERVICES:
        raise DeclarationRefusedError(
            f"{len(services):,} services are more than {MOST_SERVICES:,}; declare those that "
            "alerts are about.",
            "$.services",
        )
    edges = sum(len(s.calls) + len(s.hosts) + len(s.entities) for s in services.values())
    if edges > MOST_EDGES:
        raise DeclarationRefusedError(
            f"{edges:,} calls, hosts and entities are more than {MOST_EDGES:,}.", "$.services"
        )
    owner: dict[str, str] = {}
    for name, service in services.items():
        _check_service(name, service)
        for entity in entities_of(name, service):
            if owner.setdefault(entity, name) != name:
                raise DeclarationRefusedError(
                    f"The entity {entity!r} belongs to {owner[entity]!r} and to {name!r}; "
                    "list it with one of them.",
                    f"$.services.{name}.entities",
                )
    names = {name: entities_of(name, service) for name, service in services.items()}
    body = msgspec.to_builtins(topology)
    return Checked(body, tuple(_oddities(services)), names)


def read(body: Any) -> Topology:
    try:
        return msgspec.convert(body, Topology)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at ")
        raise DeclarationRefusedError(
            f"{detail.rstrip('.')}. It looks like "
            '{"services": {"checkout": {"calls": ["payments"], "hosts": ["node-1"]}}}.',
            path.strip("`") or "$",
        ) from None


def _check_service(name: str, service: Service) -> None:
    place = f"$.services.{name}"
    for field_, given in (
        ("calls", service.calls),
        ("hosts", service.hosts),
        ("entities", service.entities),
    ):
        if twice := [each for each, times in Counter(given).items() if times > 1]:
            raise DeclarationRefusedError(f"{twice[0]!r} is there twice.", f"{place}.{field_}")
        for each in (name, *given):
            if not each.isprintable() or each.isspace():
                raise DeclarationRefusedError(
                    f"{each!r} is blank or has a control character.", f"{place}.{field_}"
                )
    if name in service.calls:
        raise DeclarationRefusedError(
            f"{name!r} calls itself; leave that out, it explains nothing.", f"{place}.calls"
        )


def _oddities(services: Mapping[str, Service]) -> Iterator[str]:
    undeclared = sorted({c for s in services.values() for c in s.calls} - set(services))
    for name in undeclared[:MOST_WARNINGS]:
        callers = sorted(caller for caller, s in services.items() if name in s.calls)
        yield f"{callers[0]!r} calls {name!r}, of which nothing else is declared."
    if len(undeclared) > MOST_WARNINGS:
        yield f"{len(undeclared) - MOST_WARNINGS} more are called and not declared."
    graph = {name: sorted(c for c in services[name].calls if c in services) for name in services}
    try:
        TopologicalSorter(dict(sorted(graph.items()))).prepare()
    except CycleError as error:
        circle = " > ".join(reversed(error.args[1]))
        yield (
            f"They call each other in a circle: {circle}. Those on a circle are told from each "
            "other by size and time alone."
        )


def entities_of(name: str, service: Service | None) -> tuple[str, ...]:
    """The entity keys under which a service may measure; of one not declared, its name."""
    if service is None:
        return (name,)
    if service.entities:
        return tuple(service.entities)
    return (name, *(f"{name}@{host}" for host in service.hosts))


@dataclass(frozen=True, slots=True)
class Calls:
    """A topology to walk upstream in: entities, and what can change what."""

    topology: Topology
    service_of: Mapping[str, str] = field(init=False)  # by entity key

    def __post_init__(self) -> None:
        found: dict[str, str] = {}
        for name, service in self.topology.services.items():
            for called in service.calls:
                if called not in self.topology.services:
                    found.setdefault(called, called)
            for entity in entities_of(name, service):
                found[entity] = name
        object.__setattr__(self, "service_of", found)

    def upstream(self, entity: str) -> list[str]:
        """Services that this entity waits for, its own first, nearest first."""
        waiting = deque([self.service_of[entity]])
        found = list(waiting)
        while waiting:
            service = self.topology.services.get(waiting.popleft())
            for called in sorted(service.calls) if service else ():
                if called not in found:
                    found.append(called)
                    waiting.append(called)
        return found

    def entities(self, service: str) -> tuple[str, ...]:
        return entities_of(service, self.topology.services.get(service))

    def hosts(self, service: str) -> tuple[str, ...]:
        declared = self.topology.services.get(service)
        return tuple(declared.hosts) if declared else ()

    def edges(self, entities: Sequence[str]) -> list[tuple[str, str]]:
        """``(cause, effect)`` among these: a called one and its caller, a host and what runs on it."""
        kept = set(entities)
        edges = set()
        for caller in entities:
            name = self.service_of.get(caller)
            service = None if name is None else self.topology.services.get(name)
            if name is None or service is None:
                continue
            for called in service.calls:
                edges |= {(one, caller) for one in self.entities(called) if one in kept}
            for host in service.hosts:
                runs_there = service.entities or caller in (name, f"{name}@{host}")
                if host in kept and runs_there and host != caller:
                    edges.add((host, caller))
        return sorted(edges)


TOPOLOGY: Final = Declaration(
    name="topology",
    summary="Who calls whom, and where it runs: what the likely origin of an alert is looked for in.",
    check=check,
    simulated=calls.topology(),
)
