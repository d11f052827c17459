"""What the payment topics accept, and how they say what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from fintech.currencies import EXPONENTS
from fintech.records import MAX_ATTRIBUTE_DEPTH, Transaction, TransactionLabel

GOOD: dict[str, Any] = {
    "id": "p-1",
    "occurred_at": "2024-05-01T10:00:00Z",
    "customer": "c-1",
    "card": "k-1",
    "terminal": "t-1",
    "merchant": "m-1",
    "amount": "12.34",
    "currency": "EUR",
    "channel": "online",
    "device": "d-1",
    "ip": "100.64.0.1",
    "country": "DE",
    "attributes": {"basket": [{"n": 1}]},
}
GOOD_LABEL: dict[str, Any] = {
    "record_id": "p-1",
    "verdict": "fraud",
    "kind": "chargeback",
    "labelled_at": "2024-05-07T10:00:00+02:00",
}


def decode(body: dict[str, Any] | bytes) -> Transaction:
    payload = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return msgspec.json.decode(payload, type=Transaction)


def nested(depth: int) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for _ in range(depth - 1):
        attributes = {"in": attributes}
    return attributes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", "p\x00"),
        ("id", "x" * 129),
        ("id", 7),
        ("id", None),
        ("occurred_at", "2024-05-01T10:00:00"),
        ("occurred_at", "0001-01-01T00:00:00+14:00"),
        ("occurred_at", "9999-12-31T23:59:59-12:00"),
        ("occurred_at", "1969-12-31T23:59:59Z"),
        ("occurred_at", "yesterday"),
        ("occurred_at", 1714557600),
        ("id", " "),
        ("customer", ""),
        ("customer", "\u2003 "),
        ("terminal", "  "),
        ("customer", "c\n1"),
        ("card", ["k-1"]),
        ("card", "k\u0085"),
        ("terminal", ""),
        ("merchant", "m\x7f"),
        ("device", "d\x1b[31m"),
        ("amount", "NaN"),
        ("amount", "sNaN"),
        ("amount", "Infinity"),
        ("amount", "-Infinity"),
        ("amount", "-1.00"),
        ("amount", "0"),
        ("amount", 0.0),
        ("amount", "12.345"),
        ("amount", 12.345),
        ("amount", "1." + "0" * 40 + "1"),
        ("amount", "1000000000000.01"),
        ("amount", "1e999999"),
        ("amount", "a lot"),
        ("amount", None),
        ("amount", True),
        ("currency", "XXX"),
        ("currency", "eur"),
        ("currency", "EURO"),
        ("currency", 978),
        ("channel", ""),
        ("country", "de"),
        ("country", "DEU"),
        ("country", "D1"),
        ("ip", "100.64.0.256"),
        ("ip", "100.64.0.1\x00"),
        ("ip", "fe80::zz"),
        ("ip", 1),
        ("attributes", [1]),
        ("attributes", nested(MAX_ATTRIBUTE_DEPTH + 1)),
    ],
)
def test_a_wrong_field_is_refused_with_its_path(field: str, value: Any) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        decode({**GOOD, field: value})

    assert str(caught.value).endswith(f"- at `$.{field}`")


@pytest.mark.parametrize("field", ["id", "occurred_at", "customer", "card", "terminal", "amount"])
def test_a_missing_field_is_refused_by_name(field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"`{field}`"):
        decode({name: value for name, value in GOOD.items() if name != field})


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id": NaN}',
        b'{"id": "\\ud800"}',
        b'{"id": "p-1"',
        b"",
        b"[]",
        b'{"id": "\xff"}',
        msgspec.json.encode(GOOD).replace(b'"12.34"', b"Infinity"),
        msgspec.json.encode(GOOD)[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_not_json_of_a_payment_is_refused(payload: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError, RecursionError)):
        decode(payload)


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("12.34", "EUR", "12.34"),
        (12.34, "EUR", "12.34"),
        (12, "EUR", "12"),
        ("12.340", "EUR", "12.34"),  # numerically two decimals
        ("1500", "JPY", "1500"),
        ("0.001", "KWD", "0.001"),
        ("0.0001", "CLF", "0.0001"),
        ("1000000000000", "EUR", "1000000000000"),
    ],
)
def test_an_amount_is_exact(amount: Any, currency: str, expected: str) -> None:
    record = decode({**GOOD, "amount": amount, "currency": currency})

    assert record.amount == Decimal(expected)


def test_fields_that_we_do_not_know_are_let_through() -> None:
    assert decode({**GOOD, "loyalty": {"points": 3}}).id == "p-1"


def test_optional_fields_may_be_missing_null_or_empty() -> None:
    optional = ("merchant", "device", "ip")
    bare = {name: value for name, value in GOOD.items() if name not in (*optional, "country")}

    assert decode(bare).device is None
    assert decode({**GOOD, **dict.fromkeys((*optional, "country"), None)}).ip is None
    assert decode({**GOOD, **dict.fromkeys(optional, "")}).device == ""


def test_2008_is_not_absurd_and_an_offset_is_kept_as_an_instant() -> None:
    record = decode({**GOOD, "occurred_at": "2008-02-29T23:30:00-05:00"})

    assert record.occurred_at == datetime(2008, 3, 1, 4, 30, tzinfo=UTC)


def test_names_may_be_of_any_script_and_hold_spaces() -> None:
    name = "Zoë\u00a0Œuvré 東京"

    assert decode({**GOOD, "merchant": name}).merchant == name


def test_attributes_may_nest_as_deep_as_said() -> None:
    assert decode({**GOOD, "attributes": nested(MAX_ATTRIBUTE_DEPTH)}).attributes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("record_id", ""),
        ("record_id", "a\x00"),
        ("verdict", "maybe"),
        ("kind", "rumour"),
        ("labelled_at", "2024-05-07T10:00:00"),
        ("labelled_at", "9999-12-31T00:00:00Z"),
    ],
)
def test_a_wrong_label_is_refused_with_its_path(field: str, value: Any) -> None:
    assert msgspec.convert(GOOD_LABEL, TransactionLabel, strict=False).verdict == "fraud"
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(
            msgspec.json.encode({**GOOD_LABEL, field: value}), type=TransactionLabel
        )

    assert str(caught.value).endswith(f"- at `$.{field}`")


def test_currencies_have_the_decimals_of_iso_4217() -> None:
    wanted = {"EUR": 2, "USD": 2, "JPY": 0, "KRW": 0, "BHD": 3, "TND": 3, "CLF": 4, "HUF": 2}

    assert {code: EXPONENTS[code] for code in wanted} == wanted
    assert all(len(code) == 3 and code.isupper() for code in EXPONENTS)
