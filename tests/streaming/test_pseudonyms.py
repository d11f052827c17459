"""``manage.py ingest --pseudonymise``: what names a person never reaches the broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.test import override_settings

from fintech.vertical import LABELS
from lepton_apps.common.pii import Tokeniser
from ops.vertical import LOGS
from tests.champions import PAYMENTS
from tests.streaming.ingested import Inlet, Topics, bodies
from tests.streaming.test_ingest import AS_LABELS, BESIDE, FRAUDS, OF_FRAUDS

KEYS = "old:" + "1" * 32 + ",new:" + "2" * 32
PRIVATE = ("--pseudonymise", "customer", "--pseudonymise", "id")


@pytest.fixture(scope="module")
def topics() -> Iterator[Topics]:
    with closing(Topics()) as topics:
        yield topics


@pytest.fixture
def inlet(topics: Topics, tmp_path: Path) -> Iterator[Inlet]:
    topics.mark()
    with override_settings(PII_KEYS=KEYS):
        yield Inlet(tmp_path, topics)


def test_named_fields_leave_as_tokens_and_labels_name_the_same(inlet: Inlet) -> None:
    by = Tokeniser.of(KEYS)
    inlet.accept(PAYMENTS.name, inlet.file("a.csv", FRAUDS), *OF_FRAUDS, *AS_LABELS, *PRIVATE)

    sent = inlet.read(PAYMENTS.topic)
    found = {body["id"]: body for body in bodies(sent)}
    assert set(found) == {by.token("id", f"tx-{n}") for n in (7, 8, 9)}
    bob = by.token("customer", "bob")
    assert [body["customer"] for body in found.values()].count(bob) == 2
    assert found[by.token("id", "tx-8")]["card"] == "bob:8"  # not named, so it stays
    assert {(raw.key or b"").decode() for raw in sent} <= {
        text for body in found.values() for text in body.values() if isinstance(text, str)
    }
    labels = bodies(inlet.read(LABELS.topic))
    assert [body["record_id"] for body in labels] == [by.token("id", f"tx-{n}") for n in (8, 9)]


def test_tokens_of_an_older_key_are_renewed_on_their_way(inlet: Inlet) -> None:
    old = Tokeniser.of(KEYS.split(",", maxsplit=1)[0]).token("customer", "bob")
    given = inlet.file("a.csv", FRAUDS.replace(b",bob,", f",{old},".encode()))
    inlet.accept(PAYMENTS.name, given, *OF_FRAUDS, "--pseudonymise", "customer")
    names = {body["customer"] for body in bodies(inlet.read(PAYMENTS.topic))}
    assert Tokeniser.of(KEYS).token("customer", "bob") in names


def test_a_misspelt_field_sends_nothing(inlet: Inlet) -> None:
    given = inlet.file("a.csv", FRAUDS)
    outcome = inlet.ingest(PAYMENTS.name, given, *OF_FRAUDS, "--pseudonymise", "custommer")
    assert "no field 'custommer' to pseudonymise" in outcome.refused
    assert inlet.read() == []


def test_without_keys_or_fields_nothing_is_sent(inlet: Inlet) -> None:
    lines = inlet.ingest(LOGS.name, inlet.file("a.log", b"bob"), *BESIDE, *PRIVATE)
    assert "Lines have no fields that --pseudonymise could find." in lines.error
    with override_settings(PII_KEYS=""):
        outcome = inlet.ingest(PAYMENTS.name, inlet.file("a.csv", FRAUDS), *OF_FRAUDS, *PRIVATE)
    assert "PII_KEYS is not set" in outcome.error
    assert inlet.read() == []
