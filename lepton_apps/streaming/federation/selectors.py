"""What is allowed, what was done, and what is spent and left of a site's rows."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from lepton_apps.common import clock
from lepton_apps.common.clock import moment
from lepton_apps.common.errors import NotFoundError
from lepton_apps.streaming.federation.models import FederationConsent, FederationRound
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream

ROUNDS: Final = 50  # newest, of one stream
LIMITS: Final = ("min_rows", "max_steps", "max_batch", "max_parameters")


def stream_named(name: str) -> Stream:
    """Raises NotFoundError: no scored stream has that name."""
    for vertical in registry.verticals():
        for stream in vertical.streams:
            if stream.name == name:
                return stream
    there = ", ".join(s.name for v in registry.verticals() for s in v.streams) or "none"
    raise NotFoundError(f"There is no scored stream {name!r}. Streams: {there}.", stream=name)


def consent_of(stream: str) -> FederationConsent | None:
    """The newest line of the ledger; it may allow nothing any more."""
    return FederationConsent.objects.filter(stream=stream).order_by("-sequence").first()


def why_closed(consent: FederationConsent | None, now: datetime) -> str:
    """Why a line allows nothing now, in a few words; empty where it does."""
    if consent is None:
        return "nobody has allowed it"
    if consent.act == FederationConsent.Act.STOPPED:
        return "it was stopped"
    if consent.expires_at is None or consent.expires_at <= now:
        return f"what was allowed ended at {consent.expires_at:%Y-%m-%d %H:%M} UTC"
    return ""


def newest_private(stream: str) -> FederationRound | None:
    """The last round that spent something; its ``spent`` is of all there were."""
    return (
        FederationRound.objects.filter(stream=stream, spent__isnull=False).order_by("-id").first()
    )


def spent(stream: str) -> float:
    """Epsilon of all private rounds of the stream together, at the delta they were counted at."""
    newest = newest_private(stream)
    return newest.spent if newest is not None and newest.spent is not None else 0.0


def private_rounds(stream: str) -> list[tuple[float, float, int]]:
    """Noise, sample rate and steps of each private round, as the accountant takes them."""
    found = FederationRound.objects.filter(stream=stream, noise__isnull=False).order_by("id")
    return [
        (noise, rate, steps)
        for noise, rate, steps in found.values_list("noise", "sample_rate", "steps")
        if noise is not None and rate is not None
    ]


def rounds(stream: str, limit: int = ROUNDS) -> list[FederationRound]:
    """Newest first."""
    return list(FederationRound.objects.filter(stream=stream).order_by("-id")[:limit])


def statuses(verticals: Collection[str] | None = None) -> list[dict[str, Any]]:
    """``status`` of every scored stream of these verticals, or of all."""
    return [
        status(stream)
        for vertical in registry.verticals()
        if verticals is None or vertical.key in verticals
        for stream in vertical.streams
    ]


def status(stream: Stream) -> dict[str, Any]:
    """What a person sees: whether others may train here, by whose word, and the budget."""
    consent = consent_of(stream.name)
    closed = why_closed(consent, clock.now())
    of_stream = FederationRound.objects.filter(stream=stream.name)
    newest = of_stream.order_by("-id").first()
    return {
        "stream": stream.name,
        "schema_hash": stream.extractor.schema.hash,
        "open": not closed,
        "closed_because": closed or None,
        "consent": consent and _consent(consent),
        "budget": _budget(stream.name, consent),
        "rounds": of_stream.count(),
        "rounds_without_privacy": of_stream.filter(noise__isnull=True).count(),
        "last_round_at": newest and moment(newest.at),
    }


def round_row(row: FederationRound) -> dict[str, Any]:
    """A round as a line of a list."""
    return {
        "run": row.run,
        "number": row.number,
        "attempt": row.attempt,
        "of": row.of,
        "site": row.site_name,
        "at": moment(row.at),
        "by": row.by_name,
        "rows": row.rows,
        "steps": row.steps,
        "noise": row.noise,
        "sample_rate": row.sample_rate,
        "spent": row.spent,
    }


def _consent(consent: FederationConsent) -> dict[str, Any]:
    allows = consent.act == FederationConsent.Act.ALLOWED
    return {
        "act": consent.act,
        "at": moment(consent.at),
        "by": consent.by_name,
        "why": consent.why,
        "expires_at": moment(consent.expires_at) if consent.expires_at else None,
        "private_only": consent.epsilon is not None,
        "limits": {name: getattr(consent, name) for name in LIMITS} if allows else None,
    }


def _budget(stream: str, consent: FederationConsent | None) -> dict[str, Any] | None:
    """Spent and left; null where rows never had a budget and nothing was spent."""
    newest = newest_private(stream)
    epsilon = consent.epsilon if consent is not None else None
    if newest is None and epsilon is None:
        return None
    used = newest.spent if newest is not None and newest.spent is not None else 0.0
    delta = newest.delta if newest is not None else consent and consent.delta
    return {
        "epsilon": epsilon,
        "delta": delta,
        "spent": used,
        "left": None if epsilon is None else max(0.0, epsilon - used),
    }
