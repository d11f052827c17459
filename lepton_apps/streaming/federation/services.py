"""All writes of federation: what is allowed, tries that are joined, and rounds that are begun."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.streaming.federation import limits, rows, selectors
from lepton_apps.streaming.federation.errors import (
    FederationNotAllowedError,
    FederationRefusedError,
    FederationTryError,
)
from lepton_apps.streaming.federation.models import (
    FederationConsent,
    FederationRound,
    FederationTry,
)
from lepton_apps.streaming.federation.sealing import opened, sealed
from lepton_apps.verticals.contract import Stream
from models_core.federation import Round
from models_core.secure_sum import Masks

LONGEST: Final = timedelta(days=366)  # that rows may be lent without anybody looking again
LEAST_ROWS: Final = 20  # below, an update tells of single rows whatever hides it
MOST: Final = {"max_steps": 100_000, "max_batch": 1_000_000, "max_parameters": 50_000_000}
MOST_WHY: Final = 500  # characters
MOST_NAME: Final = 100  # characters of a site's name
TRY_LIVES: Final = timedelta(days=1)  # between joining and the update
CONSTRAINTS: Final = {"federation_consent_in_turn", "federation_joined_once", "federation_try_once"}


@dataclass(frozen=True)
class Terms:
    """What an admin lets others do with the rows of a stream.

    Args:
        until: no round after it.
        epsilon: the budget of privacy of all rounds that ever were; None: rounds without privacy.
        delta: at which it is counted, also what is spent without a budget.
        min_rows: labelled rows, below which nobody trains.
        max_steps, max_batch, max_parameters: of a round, of a step, of the shared model.
    """

    until: datetime
    epsilon: float | None
    delta: float = 1e-5
    min_rows: int = 1_000
    max_steps: int = 500
    max_batch: int = 4_096
    max_parameters: int = 400_000


@dataclass(frozen=True, slots=True)
class Spending:
    """What a private round adds to the account, and what it comes to with all before it."""

    noise: float
    sample_rate: float
    delta: float
    total: float

    def columns(self) -> dict[str, float]:
        """As the row of a round has it."""
        return {
            "noise": self.noise,
            "sample_rate": self.sample_rate,
            "delta": self.delta,
            "spent": self.total,
        }


def allow(stream: Stream, terms: Terms, by: User | None, why: str) -> FederationConsent:
    """From now on coordinators with a token may train on the stream's rows, within these terms.

    Raises:
        FederationRefusedError: a term is out of range; ``field`` says which.
    """
    _check_terms(stream, terms)
    return _append(
        stream,
        by,
        _checked_why(why),
        FederationConsent(
            act=FederationConsent.Act.ALLOWED,
            expires_at=terms.until,
            epsilon=terms.epsilon,
            delta=terms.delta,
            min_rows=terms.min_rows,
            max_steps=terms.max_steps,
            max_batch=terms.max_batch,
            max_parameters=terms.max_parameters,
        ),
    )


def stop(stream: Stream, by: User | None, why: str) -> FederationConsent:
    """From now on nobody may, and updates that are being trained do not leave.

    Raises:
        FederationNotAllowedError: nobody may anyway.
    """
    if selectors.why_closed(selectors.consent_of(stream.name), clock.now()):
        raise FederationNotAllowedError(
            f"Nobody may train on {stream.name} anyway; there is nothing to stop."
        )
    line = FederationConsent(act=FederationConsent.Act.STOPPED)
    return _append(stream, by, _checked_why(why), line)


def join(stream: Stream, round_: Round, user: User) -> bytes:
    """A fresh public key for this try; its secret waits in the database, sealed.

    Raises:
        FederationNotAllowedError, FederationSchemaError, FederationBudgetError,
        FederationRefusedError: see ``limits``.
        FederationRowsError: too few labelled rows.
        FederationTryError: it was joined before, also where it was answered since.
    """
    consent = limits.require_allowed(stream)
    limits.require_within(round_, consent, stream)
    rows.require_rows(stream, consent)
    masks = Masks("", round_.name)
    about = f"{stream.name} {round_.name}"
    now = clock.now()
    with _once(f"{round_.name} was joined before. Each try is joined once."), transaction.atomic():
        FederationTry.objects.filter(at__lt=now - TRY_LIVES).delete()
        # Of older tries of the same run nothing more will be asked.
        FederationTry.objects.filter(stream=stream.name, run=round_.run).exclude(
            name=round_.name
        ).delete()
        if FederationRound.objects.filter(stream=stream.name, **_place(round_)).exists():
            raise FederationTryError(f"{round_.name} was answered. Each try is joined once.")
        FederationTry.objects.create(
            stream=stream.name,
            run=round_.run,
            name=round_.name,
            user=user,
            public_key=masks.public_key,
            sealed=sealed(masks.secret, about),
            at=now,
        )
        audit.record(
            user,
            "federation.joined",
            f"stream:{stream.name}",
            vertical=_vertical(stream),
            **_told(round_),
        )
    return masks.public_key


def waiting(stream: Stream, round_: Round, user: User) -> FederationTry:
    """The try that this coordinator has joined. Raises FederationTryError: there is none."""
    found = FederationTry.objects.filter(
        stream=stream.name, name=round_.name, user=user, at__gte=clock.now() - TRY_LIVES
    ).first()
    if found is None:
        raise FederationTryError(
            f"{round_.name} was not joined by this account in the last hour, or was answered."
        )
    return found


def site_name(joined: FederationTry, keys: dict[str, bytes]) -> str:
    """How the coordinator calls this site: the name at which its own key stands.

    Raises:
        FederationRefusedError: the key is missing, or a name is none.
    """
    own = bytes(joined.public_key)
    name = next((name for name, key in keys.items() if key == own), None)
    if name is None:
        raise FederationRefusedError(f"The keys of {joined.name} lack that of this site.")
    if not 1 <= len(name) <= MOST_NAME or not name.isprintable():
        raise FederationRefusedError(
            f"{name[:MOST_NAME]!r} is no name of a site: 1 to {MOST_NAME} characters to be printed."
        )
    return name


def begin(
    stream: Stream,
    consent: FederationConsent,
    round_: Round,
    keys: dict[str, bytes],
    user: User,
    *,
    num_rows: int,
    steps: int,
    spending: Spending | None,
) -> Masks:
    """Take the secret out for good and write the round down, spending and all; then it is trained.

    Together or not at all: a crash from here on costs budget for nothing, and never the other way.

    Raises:
        FederationTryError, FederationRefusedError: see ``waiting`` and ``site_name``.
    """
    joined = waiting(stream, round_, user)
    name = site_name(joined, keys)
    about = f"{stream.name} {round_.name}"
    secret = opened(bytes(joined.sealed), about)
    taken = f"{round_.name} is answered already."
    with _once(taken), transaction.atomic():
        count, _ = FederationTry.objects.filter(pk=joined.pk).delete()
        if not count:
            raise FederationTryError(taken)
        FederationRound.objects.create(
            stream=stream.name,
            consent=consent,
            **_place(round_),
            of=round_.of,
            site_name=name,
            at=clock.now(),
            by_name=user.get_username(),
            rows=rows.band(num_rows),
            steps=steps,
            **({} if spending is None else spending.columns()),
        )
        audit.record(
            user,
            "federation.update_begun",
            f"stream:{stream.name}",
            vertical=_vertical(stream),
            **_told(round_),
            site=name,
            rows=rows.band(num_rows),
            epsilon_spent=None if spending is None else round(spending.total, 4),
        )
    return Masks.again(name, round_.name, secret)


def _append(
    stream: Stream, by: User | None, why: str, line: FederationConsent
) -> FederationConsent:
    newest = selectors.consent_of(stream.name)
    line.stream, line.at, line.why = stream.name, clock.now(), why
    line.sequence = newest.sequence + 1 if newest else 1
    line.by_name = by.get_username() if by is not None else audit.SERVER
    with _once("Somebody else was faster. Look again."), transaction.atomic():
        line.save(force_insert=True)
        audit.record(
            by,
            f"federation.{line.act}",
            f"stream:{stream.name}",
            vertical=_vertical(stream),
            why=why,
            **(
                {
                    "epsilon": line.epsilon,
                    "delta": line.delta,
                    "expires_at": line.expires_at.isoformat(),
                    **{name: getattr(line, name) for name in selectors.LIMITS},
                }
                if line.expires_at
                else {}
            ),
        )
    return line


@contextmanager
def _once(sentence: str) -> Iterator[None]:
    """What a unique constraint of ours refuses, as a sentence."""
    try:
        yield
    except IntegrityError as error:
        if any(name in str(error) for name in CONSTRAINTS):
            raise FederationTryError(sentence) from error
        raise


def _check_terms(stream: Stream, terms: Terms) -> None:
    now = clock.now()
    if not now < terms.until <= now + LONGEST:
        _refuse(
            "until", f"{terms.until:%Y-%m-%d %H:%M} is not within the next {LONGEST.days} days."
        )
    epsilon = terms.epsilon
    if epsilon is not None and not (math.isfinite(epsilon) and 0 < epsilon <= limits.MOST_EPSILON):
        _refuse("epsilon", f"{epsilon:g} is not above 0 and at most {limits.MOST_EPSILON:g}.")
    if not 0 < terms.delta < 0.1:
        _refuse("delta", f"{terms.delta:g} is not above 0 and below 0.1.")
    counted = selectors.newest_private(stream.name)
    if counted is not None and counted.delta != terms.delta:
        _refuse(
            "delta",
            f"{terms.delta:g} is another delta than the {counted.delta:g} at which what was spent "
            "is counted. Keep that one.",
        )
    if terms.min_rows < LEAST_ROWS:
        _refuse("min_rows", f"{terms.min_rows} is below {LEAST_ROWS}.")
    for name, most in MOST.items():
        if not 1 <= getattr(terms, name) <= most:
            _refuse(name, f"{getattr(terms, name):,} is not between 1 and {most:,}.")


def _checked_why(why: str) -> str:
    if not 1 <= len(why.strip()) <= MOST_WHY:
        _refuse("why", f"say in 1 to {MOST_WHY} characters why: whoever reads it next will ask.")
    return why.strip()


def _refuse(field: str, detail: str) -> NoReturn:
    raise FederationRefusedError(f"{field}: {detail}", field=field)


def _vertical(stream: Stream) -> str:
    return stream.name.partition(".")[0]


def _place(round_: Round) -> dict[str, Any]:
    return {"run": round_.run, "number": round_.number, "attempt": round_.attempt}


def _told(round_: Round) -> dict[str, Any]:
    return {**_place(round_), "of": round_.of}
