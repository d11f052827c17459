"""What every registered vertical promises, held against every stream it declares."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from django.db import connection
from django.template.loader import render_to_string
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lepton_apps.streaming.alerting import LOUDNESS
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import (
    Extraction,
    Message,
    Panel,
    Policy,
    States,
    Stream,
    Vertical,
)
from lepton_apps.verticals.insight import Declaration, DeclarationRefusedError
from tests.contracts.memory import (
    NOW,
    Memory,
    Scored,
    arrivals_of,
    at_another_time,
    scored_streams,
)

PACKED_LIMIT = 2_000  # bytes of a main entity's state: it is read and written with every batch
SECONDS = st.integers(-900, 900)

every_stream = pytest.mark.parametrize(
    ("vertical", "stream"), scored_streams(), ids=[s.name for _, s in scored_streams()]
)
every_policy = pytest.mark.parametrize(
    "policy", [s.policy for _, s in scored_streams()], ids=[s.name for _, s in scored_streams()]
)
every_panel = pytest.mark.parametrize(
    "panel",
    [panel for vertical in registry.verticals() for panel in vertical.panels],
    ids=lambda panel: panel.key,
)
every_declaration = pytest.mark.parametrize(
    "declaration",
    [each for vertical in registry.verticals() for each in vertical.declarations],
    ids=lambda each: each.name,
)
unhurried = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def sequences(vertical: Vertical, stream: Stream) -> st.SearchStrategy[list[bytes]]:
    """Fixtures in any order, more than once, at times close to each other and out of order."""
    fixtures = vertical.fixtures[stream.name]
    start = max(arrival.occurred_at for arrival in arrivals_of(stream, fixtures))

    def moved(chosen: tuple[bytes, int]) -> bytes:
        return at_another_time(stream, chosen[0], start + timedelta(seconds=chosen[1]))

    return st.lists(st.tuples(st.sampled_from(fixtures), SECONDS).map(moved), max_size=14)


@every_stream
@unhurried
@given(data=st.data())
def test_cutting_the_records_into_other_batches_changes_nothing(
    vertical: Vertical, stream: Stream, data: st.DataObject
) -> None:
    arrivals = arrivals_of(stream, data.draw(sequences(vertical, stream)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(arrivals)))))
    whole, cut = Memory(stream), Memory(stream)

    rows, ticks = whole.take(arrivals)
    parts = [cut.take(arrivals[a:b]) for a, b in pairwise([0, *cuts, len(arrivals)])]

    assert np.concatenate([part.x_BF for part, _ in parts]).tobytes() == rows.x_BF.tobytes()
    assert [a.record_id for part, _ in parts for a in part.about] == [
        a.record_id for a in rows.about
    ]
    assert [given_tick for _, part in parts for given_tick in part] == ticks
    assert cut == whole


@every_stream
def test_fixtures_become_finite_rows_of_the_declared_columns(
    vertical: Vertical, stream: Stream
) -> None:
    arrivals = arrivals_of(stream, vertical.fixtures[stream.name])

    rows, _ = Memory(stream).take(arrivals)

    schema = stream.extractor.schema
    assert len(schema.names) == len(schema.reasons) > 0
    assert rows.x_BF.shape == (len(rows.about), len(schema.names))
    assert rows.x_BF.dtype == np.float32
    assert np.isfinite(rows.x_BF).all()
    about = [a.record_id for a in rows.about]
    assert len(about) == len(set(about))  # no record makes two rows
    assert {id_ for id_ in about if not id_.startswith("tick:")} <= {a.record_id for a in arrivals}


@every_stream
def test_extracting_leaves_its_input_alone_and_repeats_itself(
    vertical: Vertical, stream: Stream
) -> None:
    memory = Memory(stream)
    arrivals = arrivals_of(stream, vertical.fixtures[stream.name])
    memory.take(arrivals)
    records = [arrival.record for arrival in arrivals]
    shards = [arrival.shard for arrival in arrivals]
    secondary = {key: dict(shards) for key, shards in memory.secondary.items()}
    states = States(dict(memory.primary), secondary, dict(memory.knowledge))

    first = stream.extractor.extract(records, shards, states)
    second = stream.extractor.extract(records, shards, states)

    assert states == States(memory.primary, memory.secondary, memory.knowledge)
    assert first.x_BF.tobytes() == second.x_BF.tobytes()
    assert (first.primary, first.secondary) == (second.primary, second.secondary)
    assert (first.due_at, first.knowledge) == (second.due_at, second.knowledge)


@every_stream
def test_the_state_of_a_main_entity_stays_small(vertical: Vertical, stream: Stream) -> None:
    memory = Memory(stream)
    memory.take(arrivals_of(stream, vertical.fixtures[stream.name] * 20))

    assert max(len(state) for state in memory.primary.values()) < PACKED_LIMIT


@every_stream
def test_nothing_in_gives_nothing_out(vertical: Vertical, stream: Stream) -> None:
    extractor, empty = stream.extractor, States({}, {}, {})

    for extraction in (
        extractor.extract([], [], empty),
        extractor.on_tick(NOW, [], empty),
        extractor.apply_labels([], 0, empty),
    ):
        assert extraction.x_BF.shape == (0, len(extractor.schema.names))
        assert _changes(extraction) == 0


def _changes(extraction: Extraction) -> int:
    changed = (extraction.primary, extraction.secondary, extraction.due_at, extraction.knowledge)
    return len(extraction.source_B) + sum(len(part) for part in changed)


@every_stream
def test_every_alert_renders(vertical: Vertical, stream: Stream) -> None:
    records = [a.record for a in arrivals_of(stream, vertical.fixtures[stream.name])]
    if stream.tick is not None:
        records.append(None)  # a row that a tick made is about no record

    for record in records:
        text = vertical.render_alert(stream.name, record, {})
        assert 0 < len(text.title) <= 200
        assert all(isinstance(part, str) and part for fact in text.facts for part in fact)


@every_stream
def test_every_reason_has_a_sentence(vertical: Vertical, stream: Stream) -> None:
    for reason in stream.extractor.schema.reasons:
        assert vertical.reason_texts[reason].endswith("."), reason


@every_policy
@unhurried
@given(
    scores=st.lists(st.floats(0, 1) | st.sampled_from([0.0, 1.0])),
    levels=st.lists(st.floats(0, 1), min_size=9, max_size=9),
)
def test_a_policy_answers_every_score_and_never_milder_for_a_higher_one(
    policy: Policy, scores: list[float], levels: list[float]
) -> None:
    thresholds = dict(zip(policy.thresholds, sorted(levels), strict=False))
    s_B = np.sort(np.array(scores))

    outcome_B = policy.decide(s_B, thresholds)

    assert outcome_B.shape == s_B.shape
    assert set(outcome_B.tolist()) <= set(range(len(policy.outcomes)))
    assert (np.diff(outcome_B) >= 0).all()
    for outcome in policy.outcomes:
        loudness = [LOUDNESS[policy.severity(outcome, float(score))] for score in s_B]
        assert loudness == sorted(loudness)


@pytest.mark.django_db(transaction=True)
@every_panel
def test_a_panel_asks_the_same_number_of_questions_however_much_there_is(panel: Panel) -> None:
    def num_queries() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert render_to_string(panel.template, dict(panel.load()))
        return len(queries)

    before = num_queries()
    with connection.cursor() as cursor:
        for _, stream in scored_streams():
            cursor.executemany(
                "INSERT INTO knowledge (stream, id, body, learned_at) VALUES (%s, %s, %s, now())",
                [(stream.name, f"id-{n}", f"kind {n}".encode()) for n in range(30)],
            )
    assert num_queries() == before


@every_declaration
def test_what_is_simulated_can_be_declared_and_is_kept_as_it_is(declaration: Declaration) -> None:
    if declaration.simulated is not None:
        checked = declaration.check(declaration.simulated)
        assert declaration.check(json.loads(json.dumps(checked.body))) == checked


@every_declaration
@given(body=st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5),
                         lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner)))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_whatever_is_declared_is_used_or_refused_with_its_place(
    declaration: Declaration, body: object
) -> None:
    try:
        place, kept = "$", json.dumps(declaration.check(body).body)
    except DeclarationRefusedError as refused:
        place, kept = refused.data["path"], "nothing"
    assert place.startswith("$")
    assert kept


@every_declaration
def test_a_declaration_has_an_address_of_its_own(declaration: Declaration) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]*", declaration.name)


def test_recipes_name_streams_of_their_own_vertical() -> None:
    for vertical in registry.verticals():
        names = {stream.name for stream in vertical.streams}
        assert {recipe.stream for recipe in vertical.recipes} <= names


@pytest.mark.parametrize(
    "vertical", [v for v in registry.verticals() if v.simulate], ids=lambda v: v.key
)
def test_simulated_records_are_in_order_decode_and_repeat_for_a_seed(vertical: Vertical) -> None:
    assert vertical.simulate is not None
    streams: dict[str, Stream] = {stream.topic: stream for stream in vertical.streams}
    worlds = [vertical.simulate(seed=7, start=NOW, records_per_s=20.0) for _ in range(2)]

    made = [[next(world) for _ in range(300)] for world in worlds]

    assert made[0] == made[1]
    times = [record.occurred_at for record in made[0]]
    assert times == sorted(times)
    scored = [record for record in made[0] if record.topic in streams]
    assert scored
    for record in scored:
        message = Message(record.value, record.key.encode(), record.occurred_at)
        (arrival,) = arrivals_of(streams[record.topic], [message])
        assert (record.key, record.occurred_at) == (arrival.entity_key, arrival.occurred_at)


def test_fixtures_are_there_for_every_stream() -> None:
    for vertical in registry.verticals():
        names = [s.name for s in vertical.streams] + [s.name for s in vertical.label_streams]
        assert all(vertical.fixtures.get(name) for name in names)


def test_the_suite_holds_more_than_one_vertical() -> None:
    streams: list[Scored] = scored_streams()
    assert len({vertical.key for vertical, _ in streams}) >= 2
    assert any(stream.tick for _, stream in streams)
