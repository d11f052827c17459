"""What ``evaluate(model, data)`` says of each task, held against answers counted by hand."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from models_core import (
    Calibration,
    Data,
    FitRecipe,
    Model,
    Report,
    Spec,
    Table,
    evaluate,
    fit,
    fit_boosted_trees,
)

RECIPE = FitRecipe(
    steps=60, batch_size=128, evaluate_every=20, precision="float32", learning_rate=5e-3, seed=2
)


def three_kinds(num: int, seed: int) -> Data:
    random = np.random.default_rng(seed)
    x_NF = random.normal(size=(num, 4)).astype(np.float32)
    kind_N = (x_NF[:, 0] > 0).astype(int) + (x_NF[:, 1] > 0.7)
    return Data(x_NF, kind_N, "classes", class_names=["calm", "<b>loud</b>", "both & more"])


def walks(num: int, seed: int) -> Data:
    """The next step of a random walk: nothing beats its last one."""
    steps_NT = np.random.default_rng(seed).normal(size=(num, 9)).cumsum(axis=1).astype(np.float32)
    return Data({"walk": steps_NT[:, :8, None]}, steps_NT[:, 8])


def test_a_binary_report_agrees_with_scikit_learn(
    model: Model, test_table: Table, calibration: Calibration
) -> None:
    report = evaluate(
        model, test_table, threshold=0.4, miss_cost=25.0, calibration=calibration, alert_share=0.1
    )
    y, p = test_table.y_N, calibration.apply(model.logits(test_table.x_NF))
    flagged = p >= 0.4
    assert report.confusion == tuple(map(tuple, sk.confusion_matrix(y, flagged).tolist()))
    wanted = {
        "accuracy": sk.accuracy_score(y, flagged),
        "precision": sk.precision_score(y, flagged),
        "recall": sk.recall_score(y, flagged),
        "f1": sk.f1_score(y, flagged),
        "roc_auc": sk.roc_auc_score(y, p),
        "pr_auc": sk.average_precision_score(y, p),
        "log_loss": sk.log_loss(y, p),
        "brier": sk.brier_score_loss(y, p),
    }
    assert {name: report.metrics[name] for name in wanted} == pytest.approx(wanted, rel=1e-6)
    (_, alarms), (misses, _) = report.confusion
    assert report.metrics["cost"] == misses * 25 + alarms
    costs = [25 * (y[p < t]).sum() + (1 - y[p >= t]).sum() for t in np.unique(p)]
    assert report.metrics["cheapest_cost"] == pytest.approx(min(costs))
    top = np.argsort(-p)[: len(p) // 10]
    assert report.metrics["recall_at_budget"] == pytest.approx(y[top].sum() / y.sum(), abs=0.01)
    assert report.baselines["base_rate"]["pr_auc"] == pytest.approx(y.mean())
    assert report.baselines["base_rate"]["roc_auc"] == 0.5
    assert report.beaten_by == ()
    fpr, tpr = report.curves["roc"].x, report.curves["roc"].y
    assert np.trapezoid(tpr, fpr) == pytest.approx(wanted["roc_auc"], abs=2e-3)
    assert sum(each.rows for each in report.calibration) == len(y)


def test_boosted_trees_stand_beside_and_a_model_that_knows_nothing_loses_to_them(
    train: Table, validation: Table, test_table: Table
) -> None:
    trees = fit_boosted_trees(train, validation, max_trees=30)
    hasty = fit(Spec("mlp", 6, {"width": 8}), train, validation, replace(RECIPE, steps=1))
    report = evaluate(hasty, test_table, baseline=trees)
    measured = evaluate(test_table.y_N, trees.probabilities(test_table.x_NF))
    assert report.baselines["boosted_trees"]["pr_auc"] == measured["pr_auc"]
    assert "boosted_trees" in report.beaten_by
    assert report.verdict.startswith("The model does not beat all baselines: pr_auc is ")
    assert "boosted_trees" in str(report).splitlines()[1]


def test_a_report_of_classes_agrees_with_scikit_learn() -> None:
    data = three_kinds(900, 1)
    model = fit(Spec.of("mlp", data, width=16), data, three_kinds(300, 2), RECIPE)
    test = three_kinds(400, 3)
    report = evaluate(model, test)
    p_NC = model.predict(test).astype(np.float64)
    answer_N = p_NC.argmax(axis=1)
    named = sk.precision_recall_fscore_support(test.target, answer_N, zero_division=0)
    assert report.confusion == tuple(
        map(tuple, sk.confusion_matrix(test.target, answer_N).tolist())
    )
    for place, name in enumerate(test.class_names):
        told = report.per_class[name]
        assert [told[k] for k in ("precision", "recall", "f1", "rows")] == pytest.approx(
            [each[place] for each in named]
        )
    assert report.metrics["macro_f1"] == pytest.approx(named[2].mean())
    loss = sk.log_loss(test.target, p_NC / p_NC.sum(axis=1, keepdims=True))
    assert report.metrics["log_loss"] == pytest.approx(loss, rel=1e-4)
    assert 0 <= report.metrics["ece"] < 0.3
    assert report.beaten_by == ()


def test_a_regression_is_held_against_the_mean_and_the_last_value() -> None:
    data = walks(600, 1)
    model = fit(Spec.of("gru", data, width=8), data, walks(200, 2), RECIPE)
    test = walks(300, 3)
    report = evaluate(model, test)
    y_N, answer_N = test.target[:, 0], model.predict(test)[:, 0]
    last_N = test.inputs["walk"][:, -1, 0]
    assert report.metrics["rmse"] == pytest.approx(math.sqrt(((answer_N - y_N) ** 2).mean()))
    assert report.metrics["mae"] == pytest.approx(np.abs(answer_N - y_N).mean(), rel=1e-5)
    assert report.metrics["r2"] == pytest.approx(sk.r2_score(y_N, answer_N), rel=1e-5)
    kept = report.baselines["last_value"]
    assert kept["mae"] == pytest.approx(np.abs(last_N - y_N).mean(), rel=1e-5)
    assert report.baselines["mean"]["r2"] == pytest.approx(0, abs=1e-9)
    assert report.histogram is not None
    assert sum(report.histogram.counts["residual"]) == len(test)


def test_without_a_series_the_last_value_is_that_of_the_row_before() -> None:
    x_NF = np.linspace(0, 1, 40, dtype=np.float32).reshape(20, 2)
    data = Data(x_NF, np.arange(20.0), "regression")
    model = fit(Spec.of("mlp", data, width=4), data, data, replace(RECIPE, steps=2))
    assert evaluate(model, data).baselines["last_value"]["mae"] == pytest.approx((19 + 9.5) / 20)


def test_next_tokens_are_measured_by_perplexity_and_by_rank() -> None:
    start_N = np.random.default_rng(4).integers(0, 6, 300)
    token_NT = (start_N[:, None] + np.arange(8)) % 6
    data = Data({"tokens": token_NT}, task="next")
    spec = Spec.of("causal_transformer", data, width=16, heads=2, layers=1)
    model = fit(spec, data.rows(slice(0, 200)), data.rows(slice(200, 250)), RECIPE)
    report = evaluate(model, data.rows(slice(250, 300)))
    assert report.metrics["top_1"] == 1.0
    assert report.metrics["perplexity"] == pytest.approx(math.exp(report.metrics["log_loss"]))
    assert report.baselines["frequencies"]["perplexity"] == pytest.approx(6, abs=0.1)
    assert report.beaten_by == ()


def test_a_reconstruction_is_held_against_the_mean() -> None:
    low_N2 = np.random.default_rng(5).normal(size=(500, 2))
    x_NF = (low_N2 @ np.array([[1.0, 2, 0, 1], [0, 1, 1, -1]])).astype(np.float32)
    data = Data(x_NF, task="reconstruction")
    spec = Spec.of("autoencoder", data, width=16, middle=2)
    report = evaluate(fit(spec, data, data, RECIPE), data)
    assert report.metrics["rmse"] < report.baselines["mean"]["rmse"]
    assert report.beaten_by == ()


def test_a_report_goes_through_json_unchanged_and_other_json_is_refused(
    model: Model, test_table: Table
) -> None:
    report = evaluate(model, test_table)
    assert Report.from_json(report.to_json()) == report
    with pytest.raises(ValueError, match="Not a report"):
        Report.from_json(b'{"task": "binary"}')


class Page(HTMLParser):
    """Tags that are opened and closed, and everything that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [name for name, _ in attrs if name in ("src", "href") or name[:2] == "on"]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_without_scripts_and_escapes_names(tmp_path: Path) -> None:
    data = three_kinds(300, 1)
    model = fit(Spec.of("mlp", data, width=8), data, three_kinds(100, 2), RECIPE)
    evaluate(model, three_kinds(100, 3)).save_html(tmp_path / "report.html")
    body = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(body)
    assert page.open == []
    assert page.loads == []
    assert not page.tags & {"script", "img", "link", "iframe", "b"}
    assert {"svg", "circle", "rect", "table"} <= page.tags
    assert "&lt;b&gt;loud&lt;/b&gt;" in body
    assert "nan" not in re.sub(r"<style>.*</style>", "", body, flags=re.DOTALL).lower()


def test_rows_of_another_kind_or_of_one_answer_are_refused(model: Model, train: Table) -> None:
    quiet = Table(train.x_NF[:50], np.zeros(50, np.float32))
    with pytest.raises(ValueError, match="evaluated table has 0 positives in 50 rows"):
        evaluate(model, quiet)
    with pytest.raises(ValueError, match="evaluated table has 4 features, the spec has 6"):
        evaluate(model, Table(train.x_NF[:, :4].copy(), train.y_N))
    with pytest.raises(ValueError, match="miss_cost=-1"):
        evaluate(model, train, miss_cost=-1)
    with pytest.raises(TypeError, match="miss_cost: only with a model"):
        evaluate([0, 1], [0.1, 0.9], miss_cost=2)  # type: ignore[call-overload]
