"""What arrives on the topics: payments, and what was later found out about them.

Decoding is validating. Whatever is wrong raises ``msgspec.ValidationError`` whose message ends
with the path of the field, for example ``- at `$.amount```.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from socket import AF_INET, AF_INET6, inet_pton
from string import ascii_uppercase
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from fintech.currencies import EXPONENTS, SMALLEST_UNITS

MAX_AMOUNT: Final = Decimal(10) ** 12
MAX_ATTRIBUTE_DEPTH: Final = 8

# Event time is counted in whole milliseconds after 1970, and 0 means "never" in packed states.
EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
LATEST: Final = datetime(9998, 1, 1, tzinfo=UTC)

# Any two capital letters, not a list of today's countries: those change, and old records stay.
COUNTRIES: Final = frozenset(a + b for a in ascii_uppercase for b in ascii_uppercase)

Name = Annotated[str, Meta(min_length=1, max_length=128)]
OptionalName = Annotated[str, Meta(max_length=128)] | None
Moment = Annotated[datetime, Meta(tz=True)]


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """One payment as the payment system saw it. Fields we do not know are ignored.

    ``amount`` is in units of ``currency``, never in cents. ``device``, ``ip`` and ``country`` are
    of the payer at that moment; an empty string counts as absent.
    """

    id: Name
    occurred_at: Moment
    customer: Name
    card: Name
    terminal: Name
    amount: Decimal
    currency: Annotated[str, Meta(min_length=3, max_length=3)]
    channel: Annotated[str, Meta(min_length=1, max_length=32)]
    merchant: OptionalName = None
    device: OptionalName = None
    ip: Annotated[str, Meta(max_length=45)] | None = None
    country: Annotated[str, Meta(min_length=2, max_length=2)] | None = None
    attributes: dict[str, Any] = {}

    def __post_init__(self) -> None:
        names = (
            f"{self.id}{self.customer}{self.card}{self.terminal}{self.channel}"
            f"{self.merchant}{self.device}"
        )
        if not names.isprintable():  # rarely: most such characters are harmless
            for field in (
                "id",
                "customer",
                "card",
                "terminal",
                "channel",
                "merchant",
                "device",
            ):
                _refuse_control_characters(getattr(self, field), field)
        # Names of spaces alone are a producer's mistake that would make strangers one entity.
        if self.id.isspace() or self.customer.isspace() or self.terminal.isspace():
            for field in ("id", "customer", "terminal"):
                if getattr(self, field).isspace():
                    raise ValueError(f"is blank - at `$.{field}`")
        if not 1970 < self.occurred_at.year < 9998:
            _check_moment(self.occurred_at, "occurred_at")
        _check_amount(self.amount, self.currency)
        country = self.country
        if country is not None and country not in COUNTRIES:
            raise ValueError(f"{country!r} is not two capital letters - at `$.country`")
        if self.ip:
            _check_ip(self.ip)
        if self.attributes:
            _check_depth(self.attributes)


class TransactionLabel(msgspec.Struct, frozen=True, gc=False):
    """What became known of a payment: a chargeback, or a person's verdict."""

    record_id: Name
    verdict: Literal["fraud", "genuine"]
    kind: Literal["chargeback", "verdict"]
    labelled_at: Moment

    def __post_init__(self) -> None:
        if not self.record_id.isprintable():
            _refuse_control_characters(self.record_id, "record_id")
        if not 1970 < self.labelled_at.year < 9998:
            _check_moment(self.labelled_at, "labelled_at")


def _refuse_control_characters(text: str | None, field: str) -> None:
    # PostgreSQL takes neither NUL nor lone surrogates; the others would garble logs and pages.
    for place, character in enumerate(text or ""):
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise ValueError(
                f"U+{ord(character):04X} at position {place} is a control character"
                f" - at `$.{field}`"
            )


def _check_moment(moment: datetime, field: str) -> None:
    # Called for years on the edge only; comparing whole moments costs more than the year.
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"{moment.isoformat()} is out of range - at `$.{field}`")


def _check_amount(amount: Decimal, currency: str) -> None:
    unit = SMALLEST_UNITS.get(currency)
    if unit is None:
        raise ValueError(f"{currency!r} is not an ISO 4217 currency - at `$.currency`")
    if not amount.is_finite():  # first: comparing a NaN raises
        raise ValueError(f"{amount} is not finite - at `$.amount`")
    if not 0 < amount <= MAX_AMOUNT:
        raise ValueError(f"{amount} is not above 0 and at most {MAX_AMOUNT} - at `$.amount`")
    if amount % unit:
        raise ValueError(
            f"{amount} has more than the {EXPONENTS[currency]} decimals of {currency}"
            " - at `$.amount`"
        )


def _check_ip(ip: str) -> None:
    try:
        inet_pton(AF_INET6 if ":" in ip else AF_INET, ip)
    except (OSError, ValueError) as exc:  # ValueError: a NUL inside
        raise ValueError(f"{ip!r} is not an IP address - at `$.ip`") from exc


def _check_depth(attributes: dict[str, Any]) -> None:
    level: list[Any] = [v for v in attributes.values() if isinstance(v, (dict, list))]
    if not level:
        return
    for _ in range(MAX_ATTRIBUTE_DEPTH - 1):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_ATTRIBUTE_DEPTH} levels - at `$.attributes`")
