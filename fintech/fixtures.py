"""Payloads that every part of the host is tried out with."""

from __future__ import annotations

from typing import Final

TRANSACTIONS: Final[tuple[bytes, ...]] = (
    b'{"id": "fixture-1", "occurred_at": "2024-05-01T09:30:00.250Z", "customer": "c17-1",'
    b' "card": "k17-1-a", "terminal": "tDE4", "merchant": "mDE1", "amount": "12.34",'
    b' "currency": "EUR", "channel": "contactless", "device": null, "ip": null,'
    b' "country": "DE", "attributes": {}}',
    # An amount as a number, an offset, IPv6, free attributes, a field that we do not know.
    b'{"id": "fixture-2", "occurred_at": "2024-05-01T13:02:11+02:00", "customer": "c17-1",'
    b' "card": "k17-1-b", "terminal": "tGB9", "merchant": null, "amount": 250,'
    b' "currency": "GBP", "channel": "online", "device": "d00ff", "ip": "2001:db8::7",'
    b' "country": "GB", "attributes": {"basket": [{"sku": "a", "n": 2}], "note": "caf\xc3\xa9"},'
    b' "loyalty": true}',
    # The least that is needed; a currency without decimals; long ago.
    b'{"id": "fixture-3", "occurred_at": "2008-02-29T23:59:59Z", "customer": "c3-1",'
    b' "card": "k3-1-a", "terminal": "tJP2", "amount": "1500", "currency": "JPY",'
    b' "channel": "atm"}',
    # A channel that we have no flag for.
    b'{"id": "fixture-4", "occurred_at": "2024-05-01T09:31:00Z", "customer": "c17-1",'
    b' "card": "k17-1-a", "terminal": "tDE4", "amount": "0.01", "currency": "EUR",'
    b' "channel": "qr-code", "device": "", "country": "FR"}',
)

LABELS: Final[tuple[bytes, ...]] = (
    b'{"record_id": "fixture-1", "verdict": "fraud", "kind": "chargeback",'
    b' "labelled_at": "2024-05-07T10:00:00Z"}',
    b'{"record_id": "fixture-2", "verdict": "genuine", "kind": "verdict",'
    b' "labelled_at": "2024-05-02T08:15:00+02:00"}',
)
