"""What a vertical says of an alert when somebody looks at it, and what the host lets it read for that.

Nothing here is on the way of a record: a person or a program asks, and the answer is kept nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lepton_apps.common.errors import LeptonError


class DeclarationRefusedError(LeptonError):
    """What somebody declared cannot be. ``path`` names the place in the document."""

    code: ClassVar[str] = "declaration_refused"

    def __init__(self, detail: str, path: str = "$") -> None:
        super().__init__(detail, path=path)


class Checked(NamedTuple):
    """A declared document that can be used, and what is odd about it all the same."""

    body: Any  # JSON
    warnings: tuple[str, ...]
    # What it names, and the entity keys that each may have: the host says which none has.
    names: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A document that people keep up to date because no record says what is in it."""

    name: str  # in addresses: /api/v1/<vertical>/<name>
    summary: str  # one sentence
    check: Callable[[Any], Checked]  # raises DeclarationRefusedError
    simulated: Any = None  # what is true of the simulated world; declared with it where nothing is


@dataclass(frozen=True, slots=True)
class AskedAlert:
    """An alert that somebody looks at."""

    id: int
    stream: str
    entity_key: str
    reason: str
    title: str
    first_at: datetime  # event time
    last_at: datetime  # event time
    evidence: Mapping[str, Any]


class Neighbour(NamedTuple):
    """Another alert, near in time."""

    id: int
    stream: str
    entity_key: str
    title: str
    reason: str
    severity: str
    status: str
    first_at: datetime  # event time


class ScoredRow(NamedTuple):
    """A feature row as it was scored."""

    entity_key: str
    at: datetime  # event time of the record, or of the tick, that made it
    by_tick: bool
    x_F: NDArray[np.float32]


class Surroundings(Protocol):
    """What can be read around an alert. Each call is one query, and bounded.

    Asking for more entities or a longer span than there may be raises ``ValueError``.
    """

    def declared(self, name: str) -> Any | None:
        """The vertical's declaration of that name as it is now; None: nobody declared one."""
        ...

    def known(self, stream: str, entities: Sequence[str]) -> frozenset[str]:
        """Which of up to 400 entities the extractor of a stream remembers."""
        ...

    def rows(
        self, stream: str, entities: Sequence[str], since: datetime, until: datetime
    ) -> Sequence[ScoredRow]:
        """Rows of a stream of the vertical, of up to 40 entities and 24 hours, by time."""
        ...

    def states(self, stream: str, entities: Sequence[str]) -> Mapping[str, bytes]:
        """What the extractor remembers now of up to 40 entities; new ones are absent."""
        ...

    def alerts(
        self, entities: Sequence[str], since: datetime, until: datetime
    ) -> Sequence[Neighbour]:
        """The vertical's other alerts of up to 400 entities that began in the span, by time."""
        ...


@dataclass(frozen=True, slots=True)
class Origin:
    """An entity that may be where an alert comes from, and what speaks for it."""

    entity_key: str
    sentence: str  # for people: what changed, when, how much of the alert that accounts for
    score: float  # larger is likelier; compares the origins of one alert
    way: tuple[str, ...]  # from the origin to the alert's entity
    began: datetime | None  # event time
    numbers: Mapping[str, float] = field(default_factory=dict)  # what the sentence is made of
    alerts: tuple[Neighbour, ...] = ()  # of this entity, near in time


@dataclass(frozen=True, slots=True)
class Advice:
    """What people do about such alerts: to read, never to be carried out by the server."""

    title: str
    because: str  # what of the alert suggests it
    look: tuple[str, ...]  # what to look at first
    help: tuple[str, ...]  # what usually helps
    check: tuple[str, ...]  # how to see that it worked


@dataclass(frozen=True, slots=True)
class Insight:
    """The answer. An empty one is an answer too, and ``summary`` says why it is empty."""

    summary: str
    origins: tuple[Origin, ...] = ()  # likeliest first
    advice: tuple[Advice, ...] = ()
    notes: tuple[str, ...] = ()  # what was left out or could not be looked at
