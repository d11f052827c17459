"""A report as one HTML page: no script, nothing loaded, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from models_core.drawing import Axis, bars, lines
from models_core.reports import METRICS, Curve, Report, shown

CLASSES_DRAWN = 30  # of a confusion matrix; more do not fit a screen
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1a1d21; --pale: #5b6470; --edge: #d9dee4;
  --soft: #f4f6f8; --s0: #1f6feb; --s1: #c2410c; --good: #137333; --bad: #b3261e; --hit: 31 111 235; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --ink: #e8eaed; --pale: #a3acb8;
  --edge: #343a42; --soft: #1c2025; --s0: #79b0ff; --s1: #ff9d6b; --good: #7fd494; --bad: #ff9b93;
  --hit: 121 176 255; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem; background: var(--ground);
  color: var(--ink); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h3 { font-size: .95rem; margin: 0 0 .25rem; }
p { margin: .25rem 0; max-width: 48rem; } .pale, figcaption { color: var(--pale); }
code { font-size: .85em; overflow-wrap: anywhere; }
.verdict { border-left: 4px solid var(--good); background: var(--soft); padding: .6rem .8rem;
  margin: 1rem 0; } .verdict.bad { border-color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--edge); text-align: right;
  white-space: nowrap; }
th:first-child, td.text { text-align: left; } thead th { color: var(--pale); font-weight: 600; }
tbody th { font-weight: 500; } td.text { color: var(--pale); font-size: .85rem; min-width: 16rem;
  white-space: normal; }
td.best { font-weight: 700; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr));
  gap: 1.25rem; } figure { margin: 0; border: 1px solid var(--edge); border-radius: 6px;
  padding: .75rem; } figcaption { font-size: .85rem; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--pale); font-size: 11px; }
svg .name { fill: var(--ink); font-size: 12px; } .grid { stroke: var(--edge); stroke-width: 1; }
.line { fill: none; stroke-width: 2; } .line.s0 { stroke: var(--s0); } .line.s1 { stroke: var(--s1); }
.line.guide { stroke: var(--pale); stroke-width: 1.2; stroke-dasharray: 4 4; }
.dots.s0, .bars.s0 { fill: var(--s0); } .bars.s1 { fill: var(--s1); } .dots { opacity: .7; }
.dots.s1 { fill: var(--s1); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 0; }
.key.s0 { background: var(--s0); } .key.s1 { background: var(--s1); margin-left: 1em; }
.hit { background: rgb(var(--hit) / .22); font-weight: 700; }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
"""
CURVES = {  # title, x, y, what it says
    "pr": (
        "Precision over recall",
        "recall",
        "precision",
        "Further up and right is better. Dashed: what a guess has, the base rate.",
    ),
    "roc": (
        "ROC",
        "share of the negatives flagged",
        "share of the positives flagged",
        "Further up and left is better. Dashed: a guess.",
    ),
    "gains": (
        "What looking finds",
        "share of the rows looked at",
        "share of the positives found",
        "Rows are looked at from the highest score down. Dashed: in any order.",
    ),
    "cost": (
        "Cost of each threshold",
        "threshold",
        "cost",
        "Misses and false alarms at the costs given. Dashed: the threshold of this report.",
    ),
    "answers": (
        "Answers and truth",
        "truth",
        "answer",
        "A sample of the rows. Dashed: where both agree.",
    ),
    "loss_by_place": (
        "Loss by place",
        "place in the row",
        "log loss",
        "How hard the next token is, by how many came before it.",
    ),
}


def page_of(report: Report) -> str:
    """The whole page, from ``<!doctype html>`` on."""
    title = f"{report.architecture}: {report.task} on {report.rows:,} rows"
    bad = " bad" if report.beaten_by else ""
    hashes = "".join(
        f" {name} <code>{escape(value[:16])}</code>"
        for name, value in (("Spec", report.spec_hash), ("Data", report.data_hash))
        if value
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p class="pale">{hashes.strip()}</p>'
        f'<p class="verdict{bad}">{escape(report.verdict)}</p>'
        f"{_metrics(report)}{_settings(report)}"
        f'<h2>Plots</h2><div class="plots">{"".join(_plots(report)) or _nothing()}</div>'
        f"{_confusion(report)}{_classes(report)}</main></body></html>\n"
    )


def _nothing() -> str:
    return '<p class="pale">There is nothing to draw for this task.</p>'


def _metrics(report: Report) -> str:
    columns = {"model": report.metrics, **report.baselines}
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in columns)
    body = []
    for name in report.metrics:
        metric = METRICS.get(name)
        best = None
        if metric is not None and metric.more_is_better is not None:
            told = [column[name] for column in columns.values() if name in column]
            best = max(told) if metric.more_is_better else min(told)
        cells = "".join(
            f"<td{_class_if(name in each and each[name] == best)}>{shown(each.get(name))}</td>"
            for each in columns.values()
        )
        meaning = escape(metric.meaning) if metric else ""
        body.append(
            f'<tr><th scope="row">{escape(name)}</th>{cells}<td class="text">{meaning}</td></tr>'
        )
    return (
        '<h2>Metrics</h2><div class="wide" tabindex="0"><table><thead><tr><th scope="col">Metric'
        f'</th>{head}<th scope="col"></th></tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def _class_if(is_best: bool) -> str:
    return ' class="best"' if is_best else ""


def _settings(report: Report) -> str:
    if not report.settings:
        return ""
    told = ", ".join(f"{escape(n)} {shown(value)}" for n, value in report.settings.items())
    return f'<p class="pale">Taken at {told}. Bold: the best of the line.</p>'


def _plots(report: Report) -> Iterator[str]:
    for name, curve in report.curves.items():
        title, x_name, y_name, says = CURVES[name]
        x, y = Axis(x_name, 0.0, 1.0), Axis(y_name, 0.0, 1.0)
        guide = Curve((0.0, 1.0), (0.0, 1.0))
        if name == "pr":
            rate = report.metrics["base_rate"]
            guide = Curve((0.0, 1.0), (rate, rate))
        elif name == "cost":
            y = Axis.around(y_name, [0.0, *curve.y])
            at = report.settings["threshold"]
            guide = Curve((at, at), (y.low, y.high))
        elif name == "loss_by_place":
            x, y = Axis.around(x_name, curve.x), Axis.around(y_name, [0.0, *curve.y])
            flat = report.baselines["frequencies"]["log_loss"]
            y = Axis.around(y_name, [0.0, flat, *curve.y])
            guide = Curve((x.low, x.high), (flat, flat))
            says += " Dashed: by the tokens' frequencies alone."
        elif name == "answers":
            both = Axis.around(x_name, [*curve.x, *curve.y])
            x, y = both, Axis(y_name, both.low, both.high)
            guide = Curve((both.low, both.high), (both.low, both.high))
        drawn = lines(title, x, y, {name: curve, "guide": guide}, is_cloud=name == "answers")
        yield _figure(title, drawn, says)
    if report.calibration:
        yield _calibration(report)
    if report.histogram is not None:
        yield _histogram(report)


def _calibration(report: Report) -> str:
    told = Curve(
        tuple(each.said for each in report.calibration),
        tuple(each.was for each in report.calibration),
    )
    high = 1.0
    if report.task == "binary":  # at a rare answer everything happens near 0
        high = min(1.0, max(0.01, *told.x, *told.y) * 1.05)
    title, guide = "Calibration", Curve((0.0, high), (0.0, high))
    x, y = Axis("probability said", 0.0, high), Axis("share that was so", 0.0, high)
    curves = {"bins": told, "guide": guide}
    says = f"Each point is some {report.calibration[0].rows:,} rows. Dashed: what is said is so."
    return _figure(title, lines(title, x, y, curves, is_cloud=True), says)


def _histogram(report: Report) -> str:
    assert report.histogram is not None
    names = list(report.histogram.counts)
    titles = {"regression": "Residuals", "reconstruction": "Errors of rows"}
    title = titles.get(report.task, "Scores")
    x_name = {"regression": "answer minus truth", "reconstruction": "RMSE of a row"}.get(
        report.task, "probability said"
    )
    key = "".join(f'<span class="key s{n}"></span>{escape(name)}' for n, name in enumerate(names))
    return _figure(title, bars(title, x_name, report.histogram), key)


def _figure(title: str, drawn: str, says: str) -> str:
    said = says if says.startswith("<span") else escape(says)
    return f"<figure><h3>{escape(title)}</h3>{drawn}<figcaption>{said}</figcaption></figure>"


def _confusion(report: Report) -> str:
    if not report.confusion or len(report.confusion) > CLASSES_DRAWN:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in report.classes)
    body = []
    for truth, (name, counts) in enumerate(zip(report.classes, report.confusion, strict=True)):
        cells = "".join(
            f"<td{' class=hit' if truth == answer else ''}>{count:,}</td>"
            for answer, count in enumerate(counts)
        )
        body.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        '<h2>Confusion</h2><p class="pale">A line for each truth, a column for each answer.</p>'
        f'<div class="wide" tabindex="0"><table><thead><tr><th scope="col">Truth</th>{head}</tr>'
        f"</thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _classes(report: Report) -> str:
    if not report.per_class:
        return ""
    names = list(next(iter(report.per_class.values())))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{shown(told[each])}</td>" for each in names)
        + "</tr>"
        for name, told in report.per_class.items()
    )
    return (
        '<h2>Classes</h2><div class="wide" tabindex="0"><table><thead><tr><th scope="col">Class'
        f"</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
