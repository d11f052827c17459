"""No bytes crash a decoder: a record is taken, or refused with a reason and the field's path."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lepton_apps.common.errors import RecordRefusedError
from lepton_apps.streaming.batch import Decoder, decode, json_of, key_of
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import LabelStream, Message, Stream, Vertical
from tests.contracts.memory import MAX_BYTES, NOW, Memory, arrivals_of

Take = Callable[[bytes], Any]


def taking(stream: Stream | LabelStream) -> Take:
    """Decodes as the stream's worker does, and asks all that the worker asks of the record."""
    if isinstance(stream, Stream):
        decoder = Decoder(stream, MAX_BYTES)
        return lambda payload: decoder.arrival(Message(payload), NOW, 0, None, "place")
    labels, read = stream, json_of(stream.record_type)

    def take(payload: bytes) -> Any:
        record = decode(read, Message(payload), MAX_BYTES)
        record_id = labels.record_id(record)
        key_of(labels.labels, record_id, record_id)
        assert labels.is_positive(record) in (True, False)
        assert labels.kind(record)
        assert labels.labelled_at(record).tzinfo is not None
        return record

    return take


STREAMS: list[tuple[Vertical, Stream | LabelStream]] = [
    *((vertical, stream) for vertical in registry.verticals() for stream in vertical.streams),
    *((vertical, labels) for vertical in registry.verticals() for labels in vertical.label_streams),
]
every_stream = pytest.mark.parametrize(
    ("vertical", "stream"), STREAMS, ids=[stream.name for _, stream in STREAMS]
)
HURTFUL = (
    "null", "true", "17", "-1", "1e400", "NaN", "-Infinity", '""', '"x"', "[]", "{}", "[[[]]]",
    '"\\u0000"', '"\\ud800"', '"2024-05-01T09:30:00"', '"0001-01-01T00:00:00+14:00"',
    '"9999-12-31T23:59:59-14:00"', json.dumps("x" * 5_000), json.dumps("x" * MAX_BYTES),
    "[" * 2_000 + "]" * 2_000, "9" * 400,
)  # fmt: skip


def mutants(payload: bytes) -> list[tuple[str, bytes]]:
    """Each field left out, and each field replaced by everything hurtful."""
    record = json.loads(payload)
    made = []
    for name in record:
        rest = {key: value for key, value in record.items() if key != name}
        made.append((name, json.dumps(rest).encode()))
        body = json.dumps({**rest, name: "HERE"})
        made += [(name, body.replace('"HERE"', hurtful).encode()) for hurtful in HURTFUL]
    return made


@every_stream
def test_fixtures_decode(vertical: Vertical, stream: Stream | LabelStream) -> None:
    for payload in vertical.fixtures[stream.name]:
        taking(stream)(payload)


def refusal(take: Take, payload: bytes) -> RecordRefusedError | None:
    """How the payload is refused; nothing where it is taken. Any other error comes out."""
    try:
        take(payload)
    except RecordRefusedError as exc:
        return exc
    return None


@every_stream
def test_a_mutated_record_is_refused_with_its_path_or_taken(
    vertical: Vertical, stream: Stream | LabelStream
) -> None:
    take = taking(stream)
    num_refused = 0
    for payload in vertical.fixtures[stream.name]:
        for name, mutant in mutants(payload):
            refused = refusal(take, mutant)
            if refused is not None:
                num_refused += 1
                assert refused.detail.endswith("."), refused.detail
                assert names_the_field(refused, name), (name, refused.path, refused.detail)
            elif isinstance(stream, Stream):
                Memory(stream).take(arrivals_of(stream, [mutant]))
    assert num_refused > len(mutants(payload)) // 3


def names_the_field(refused: RecordRefusedError, name: str) -> bool:
    """A missing field has no path of its own; broken JSON and bad names have none at all."""
    if refused.path == f"$.{name}" or refused.path.startswith((f"$.{name}.", f"$.{name}[")):
        return True
    return refused.path == "$" and (
        refused.reason != "invalid_record" or f"`{name}`" in refused.detail
    )


@every_stream
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_bytes_crash_the_decoder(
    vertical: Vertical, stream: Stream | LabelStream, data: st.DataObject
) -> None:
    fixture = data.draw(st.sampled_from(vertical.fixtures[stream.name]))
    names = list(json.loads(fixture))
    values = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.datetimes().map(str),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
    objects = st.dictionaries(st.sampled_from(names) | st.text(), values, max_size=12)
    like_it = st.builds(lambda changed: {**json.loads(fixture), **changed}, objects)
    cut = st.integers(0, len(fixture)).map(lambda end: fixture[:end])
    payload = data.draw(
        st.binary(max_size=200)
        | cut
        | st.one_of(objects, like_it).map(lambda body: json.dumps(body).encode())
    )

    refused = refusal(taking(stream), payload)

    assert refused is None or refused.reason
