"""Learning from the server's own rows: what is read, what a recipe refuses, devices and searches."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from lepton_apps.alerts.models import Label
from lepton_apps.common import clock
from lepton_apps.model_registry import selectors as models
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.streaming.history import Span, decided, history_of, span_of
from lepton_apps.streaming.models import Decision, RecordKey
from tests.champions import PAYMENTS

pytestmark = pytest.mark.django_db(transaction=True)

SCHEMA = PAYMENTS.extractor.schema
WIDTH = len(SCHEMA.names)
AMOUNT = SCHEMA.names.index("amount_log")
HISTORY = "fintech.transactions.history"
DAYS = 60
ROWS = 3_000


def keep(
    rows: int = ROWS, *, frauds: int = 10, days: float = DAYS, version: int = 1
) -> list[Decision]:
    """Decisions spread over days, every ``frauds``-th with a large amount and a chargeback."""
    rng = np.random.default_rng(7)
    x_NF = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    now = clock.now()
    fraud_N = np.arange(rows) % frauds == 0
    x_NF[fraud_N, AMOUNT] += 4
    made = [
        Decision(
            id=uuid4(), decided_at=now - timedelta(days=days * (rows - n) / rows),
            stream=PAYMENTS.name, record_id=f"r{n}", entity_key=f"c{n % 9}",
            occurred_at=now, payload=b"{}", features=x_NF[n].astype("<f4").tobytes(),
            model_version=version, score=0.1, outcome="approve",
        )
        for n in range(rows)
    ]  # fmt: skip
    Decision.objects.bulk_create(made)
    RecordKey.objects.bulk_create(
        RecordKey(key=each.id, decided_at=each.decided_at, entity_key=each.entity_key)
        for each in made
    )
    Label.objects.bulk_create(
        Label(
            stream=PAYMENTS.name, record_id=each.record_id, decision_key=each.id, positive=True,
            kind="chargeback", source=Label.Source.TOPIC, labelled_at=now, received_at=now,
        )
        for each, fraud in zip(made, fraud_N, strict=True)
        if fraud
    )  # fmt: skip
    return made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds a fit: these tests ask what is learned from, not how well."""
    monkeypatch.setattr("fintech.recipes.HISTORY_S", 2.0)


def run(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command(*arguments, "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_rows_are_learned_from_once_their_labels_have_had_time(champion: ModelVersion) -> None:
    made = keep(100, days=10)
    span = span_of("30d")
    assert span is not None
    history = decided(PAYMENTS, span, timedelta(days=7))
    old = [each for each in made if each.decided_at < span.until - timedelta(days=7)]
    assert 20 < len(old) < 40
    assert list(history.entity_N) == [each.entity_key for each in old]
    assert np.all(np.diff(history.at_N) >= 0)
    assert history.known_N.all()
    assert history.positive_N.sum() == sum(n % 10 == 0 for n in range(len(old)))
    assert len(decided(PAYMENTS, span, timedelta()).x_NF) == 100


def test_the_newest_word_counts_and_other_features_are_left_out(champion: ModelVersion) -> None:
    made = keep(20, days=1)
    now = clock.now()
    Label.objects.create(
        stream=PAYMENTS.name, record_id="r0", decision_key=made[0].id, positive=False,
        kind="verdict", source=Label.Source.REST, labelled_at=now, received_at=now,
    )  # fmt: skip
    span = Span(now - timedelta(days=2), now, False)
    assert decided(PAYMENTS, span, timedelta()).positive_N.sum() == 1
    Decision.objects.filter(record_id="r10").update(model_version=99)  # of no schema that is known
    assert decided(PAYMENTS, span, timedelta()).positive_N.sum() == 0


def test_a_history_recipe_trains_on_what_the_server_decided(
    champion: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fintech.recipes.HISTORY_S", 60.0)  # all its steps
    keep()
    said = run("train_model", HISTORY, "--data", "90d", "--device", "cpu")
    version = models.version(PAYMENTS.model_name, said["version"])
    assert version.recipe_name == HISTORY
    assert said["metrics"]["pr_auc"] > 0.9
    assert "boosted_trees" in said["baseline"]
    assert version.manifest["drift"] is not None
    assert models.champion(PAYMENTS.model_name) == champion


@pytest.mark.usefixtures("champion")
def test_too_little_history_is_refused_with_what_is_there_and_what_is_needed() -> None:
    with pytest.raises(CommandError, match="0 payments with 0 known frauds to learn from"):
        run("train_model", HISTORY)
    keep(200)
    with pytest.raises(CommandError, match="11 known frauds to learn from; at least 50 frauds"):
        run("train_model", HISTORY)
    with pytest.raises(CommandError, match="0 quiet rows are too few to learn from; 200"):
        run("train_model", "ops.logs.history")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((HISTORY, "--data", "last week"), "'last week' is neither a span"),
        ((HISTORY, "--data", "1d..5d"), "the span ends before it begins"),
        (("fintech.transactions.starter", "--data", "90d"), "makes its own data. Those that"),
        ((HISTORY, "--nodes", "2"), "--nodes 2 needs --rendezvous"),
        ((HISTORY, "--nodes", "2", "--rendezvous", "a:1"), "Give --data an end"),
        ((HISTORY, "--nodes", "2", "--node-rank", "2"), "--node-rank 2 is not between 0 and 1"),
        ((HISTORY, "--processes", "0"), "--processes 0 is not between"),
        (("fintech.transactions.starter", "--device", "cuda"), 'device="cuda" but torch sees no'),
    ],
)
def test_what_cannot_be_trained_is_refused_by_its_name(
    arguments: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "cuda" in arguments:
        import torch

        from fintech import dataset

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        smaller = dataset.DatasetParameters(payments_per_day=300)
        monkeypatch.setattr(dataset, "DatasetParameters", lambda: smaller)
    with pytest.raises(CommandError, match=why):
        run("train_model", *arguments)


def a_file(path: Path, change: dict[str, str] | None = None, rows: int = 3) -> Path:
    names = [*SCHEMA.names, "decided_at", "positive"]
    row = dict.fromkeys(SCHEMA.names, "0.5") | {
        "decided_at": "2026-03-01T10:00:00Z",
        "positive": "1",
    }
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for _ in range(rows):
            writer.writerow([(row | (change or {}))[name] for name in names])
    return path


def test_rows_of_a_file_are_read_by_the_names_of_features(tmp_path: Path) -> None:
    history = history_of(PAYMENTS, str(a_file(tmp_path / "a.csv")), timedelta())
    assert history.x_NF.shape == (3, WIDTH)
    assert history.positive_N.all()
    assert history.known_N.all()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount_log": "much"}, "amount_log holds something else than numbers"),
        ({"amount_log": "inf"}, "row 1 has no finite number as amount_log"),
        ({"positive": "2"}, "positive is 2, and not 0, 1 or empty"),
        ({"decided_at": "monday"}, "decided_at holds something else than times"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_the_column(
    change: dict[str, str], why: str, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match=why):
        run("train_model", HISTORY, "--data", str(a_file(tmp_path / "a.csv", change)))


def test_a_file_of_other_columns_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CommandError, match=r"lacks the columns .* and others of fintech"):
        run("train_model", HISTORY, "--data", str(tmp_path / "b.csv"))
    (tmp_path / "c.txt").write_text("a")
    with pytest.raises(CommandError, match=r"neither \.parquet nor \.csv"):
        run("train_model", HISTORY, "--data", str(tmp_path / "c.txt"))


@pytest.mark.usefixtures("champion")
def test_a_search_goes_on_in_its_journal_and_its_best_is_registered(tmp_path: Path) -> None:
    keep(600, frauds=3)
    where = ("--storage", str(tmp_path / "study.log"), "--study", "spring")
    first = run("tune_model", HISTORY, "--trials", "1", "--dry-run", *where)
    assert (len(first["trials"]), first["version"]) == (1, None)
    again = run("tune_model", HISTORY, "--trials", "2", *where)
    assert [trial["number"] for trial in again["trials"]] == [0, 1]
    best = max(again["trials"], key=lambda trial: trial["score"])
    manifest = models.version(PAYMENTS.model_name, again["version"]).manifest
    assert manifest["spec"]["params"]["bins"] == best["values"]["bins"]
    assert manifest["recipe"]["batch_size"] == best["values"]["batch_size"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("ops.logs.starter",), "declares nothing to search"),
        ((HISTORY, "--trials", "0"), "--trials 0 is not between"),
        (("fintech.transactions.starter", "--data", "90d"), "makes its own data"),
    ],
)
def test_what_cannot_be_searched_is_refused(arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        run("tune_model", *arguments)
