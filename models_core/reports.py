"""What a model is worth on some rows: numbers, curves, and the simple answers to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import msgspec


class Metric(NamedTuple):
    """How a number reads: what it says, and whether more of it is better. None: neither."""

    meaning: str
    more_is_better: bool | None


METRICS: Final[Mapping[str, Metric]] = {
    "pr_auc": Metric(
        "area under precision over recall; the base rate where nothing is known", True
    ),
    "roc_auc": Metric(
        "chance that a positive outranks a negative; 0.5 where nothing is known", True
    ),
    "accuracy": Metric("share of rows answered right", True),
    "precision": Metric("share of the flagged rows that are positive", True),
    "recall": Metric("share of the positive rows that are flagged", True),
    "f1": Metric("harmonic mean of precision and recall", True),
    "precision_at_budget": Metric("precision of the top rows that the alert share allows", True),
    "recall_at_budget": Metric("recall of the top rows that the alert share allows", True),
    "ece": Metric("how far probabilities are from what happened, on average", False),
    "brier": Metric("mean squared error of the probability", False),
    "log_loss": Metric("mean of minus the log probability of the truth", False),
    "base_rate": Metric("share of rows that are positive", None),
    "cost": Metric("cost of the misses and false alarms at the threshold", False),
    "cheapest_cost": Metric("the least cost that any threshold has, chosen on these rows", False),
    "cheapest_threshold": Metric("the threshold with that cost", None),
    "macro_precision": Metric("mean of the classes' precision", True),
    "macro_recall": Metric("mean of the classes' recall", True),
    "macro_f1": Metric("mean of the classes' F1", True),
    "rmse": Metric("root of the mean squared error", False),
    "mae": Metric("mean absolute error", False),
    "r2": Metric("share of the variance that is explained; below 0: worse than the mean", True),
    "bias": Metric("mean of answer minus truth", None),
    "perplexity": Metric("between how many equally likely tokens it is in doubt", False),
    "top_1": Metric("share of tokens that were the likeliest", True),
    "top_5": Metric("share of tokens among the five likeliest", True),
}
# By task: the number that says whether the model was worth its training.
HEADLINES: Final = {
    "binary": "pr_auc",
    "classes": "log_loss",
    "regression": "rmse",
    "next": "log_loss",
    "reconstruction": "rmse",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a line or a cloud, in the order to draw them."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows of like probability: what was said of them, and what was so."""

    said: float
    was: float
    rows: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges, for each group of rows by name."""

    edges: tuple[float, ...]
    counts: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Report:
    """A model measured on rows that it was not trained on. Made by ``evaluate(model, data)``.

    Every number is finite. ``baselines`` are answers that cost nothing (always the base rate, the
    mean, the last value), and what was given beside, on the same rows: a model that does not beat
    them is worth nothing.

    >>> report = Report("regression", "mlp", "", "", 3, {"rmse": 1.0}, {"mean": {"rmse": 2.0}})
    >>> report.beaten_by, Report.from_json(report.to_json()) == report
    ((), True)
    """

    task: str
    architecture: str
    spec_hash: str
    data_hash: str
    rows: int
    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, float] = field(default_factory=dict)  # threshold, alert share, costs
    classes: tuple[str, ...] = ()  # also of a binary question: no, yes
    confusion: tuple[tuple[int, ...], ...] = ()  # a row for each truth, a column for each answer
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    calibration: tuple[CalibrationBin, ...] = ()
    histogram: Histogram | None = None

    @property
    def headline(self) -> str:
        """The name of the metric that says most for this task."""
        return HEADLINES[self.task]

    @property
    def beaten_by(self) -> tuple[str, ...]:
        """The baselines that are no worse by the headline metric."""
        name = self.headline
        sign = 1 if METRICS[name].more_is_better else -1
        own = sign * self.metrics[name]
        return tuple(b for b, told in self.baselines.items() if sign * told[name] >= own)

    def to_json(self) -> bytes:
        """Everything, as one JSON object."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, body: bytes | str) -> Report:
        """Read what ``to_json`` wrote. Raises ``ValueError`` for anything else."""
        try:
            return msgspec.json.decode(body, type=cls)
        except msgspec.MsgspecError as error:
            raise ValueError(f"Not a report: {error}.") from error

    def save_html(self, path: Path | str) -> None:
        """Write one page that needs nothing else: no script, no font, no network."""
        Path(path).write_text(self.to_html(), encoding="utf-8")

    def to_html(self) -> str:
        """The page as text."""
        from models_core.report_page import page_of

        return page_of(self)

    @property
    def verdict(self) -> str:
        """One sentence: does the model beat the simple answers?"""
        name, beaten = self.headline, self.beaten_by
        own = shown(self.metrics[name])
        if not self.baselines:
            return f"{name} is {own}; nothing was compared with it."
        told = ", ".join(f"{b} {shown(self.baselines[b][name])}" for b in beaten or self.baselines)
        does = "does not beat all baselines" if beaten else "beats every baseline"
        return f"The model {does}: {name} is {own}, against {told}."

    def __str__(self) -> str:
        """A table: a metric a row; the model and each baseline a column."""
        columns = {"model": self.metrics, **self.baselines}
        width = max(map(len, self.metrics)) + 2
        widths = {title: max(len(title), 10) + 2 for title in columns}
        head = " " * width + "".join(f"{title:>{widths[title]}}" for title in columns)
        lines = [f"{self.architecture}, {self.task}, {self.rows:,} rows", head]
        for name in self.metrics:
            told = (f"{shown(each.get(name)):>{widths[t]}}" for t, each in columns.items())
            lines.append(f"{name:<{width}}{''.join(told)}")
        return "\n".join([*lines, self.verdict])


def shown(value: float | None) -> str:
    """A number as a person reads it."""
    if value is None:
        return "-"
    if abs(value) < 1e-12:
        return "0"  # what rounding leaves of it
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"
