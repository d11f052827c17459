"""Plots as SVG text: lines, clouds and bars. Colours come from the page's classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from models_core.reports import Curve, Histogram

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 44
TICKS = 5


@dataclass(frozen=True, slots=True)
class Axis:
    """What runs along one side: a name, and the numbers at both ends."""

    name: str
    low: float
    high: float

    @classmethod
    def around(cls, name: str, values: Iterable[float]) -> Axis:
        """From the least to the most of the values, a little wider."""
        given = list(values) or [0.0]
        low, high = min(given), max(given)
        room = (high - low) * 0.04 or max(abs(high) * 0.1, 0.5)
        return cls(name, low - room if low < 0 or low > room else 0.0, high + room)

    def ticks(self) -> list[float]:
        """Round numbers on the axis."""
        size = 10 ** math.floor(math.log10((self.high - self.low) / TICKS))
        fit = next((m for m in (1, 2, 5) if (self.high - self.low) / (size * m) <= TICKS + 1), 10)
        step = size * fit
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def lines(
    title: str, x: Axis, y: Axis, curves: Mapping[str, Curve], *, is_cloud: bool = False
) -> str:
    """Lines through the points of each curve, or the points alone. ``guide`` is drawn pale."""
    drawn = []
    for number, (name, curve) in enumerate(curves.items()):
        kind = "guide" if name == "guide" else f"s{number}"
        points = [(_across(x, a), _down(y, b)) for a, b in zip(curve.x, curve.y, strict=True)]
        if is_cloud and kind != "guide":
            dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.4"/>' for a, b in points)
            drawn.append(f'<g class="dots {kind}">{dots}</g>')
            continue
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        drawn.append(f'<polyline class="line {kind}" points="{path}"/>')
    return _framed(title, x, y, drawn)


def bars(title: str, x_name: str, histogram: Histogram) -> str:
    """Bars side by side, a colour for each group, as shares of the group."""
    shares = {
        name: [count / max(sum(counts), 1) for count in counts]
        for name, counts in histogram.counts.items()
    }
    x = Axis(x_name, histogram.edges[0], histogram.edges[-1])
    y = Axis("share of the group", 0.0, max(map(max, shares.values())) * 1.05 or 1.0)
    drawn = []
    for number, (name, heights) in enumerate(shares.items()):
        boxes = []
        for place, height in enumerate(heights):
            left, right = (_across(x, histogram.edges[n]) for n in (place, place + 1))
            wide = (right - left) / len(shares)
            top = _down(y, height)
            count = histogram.counts[name][place]
            if count:
                boxes.append(
                    f'<rect x="{left + number * wide:.1f}" y="{top:.1f}" '
                    f'width="{max(wide - 0.6, 0.6):.1f}" height="{_down(y, 0) - top:.1f}">'
                    f"<title>{escape(name)}: {count:,} rows</title></rect>"
                )
        drawn.append(f'<g class="bars s{number}">{"".join(boxes)}</g>')
    return _framed(title, x, y, drawn)


def _framed(title: str, x: Axis, y: Axis, drawn: Sequence[str]) -> str:
    grid = []
    for tick in x.ticks():
        a = _across(x, tick)
        grid.append(
            f'<line class="grid" x1="{a:.1f}" x2="{a:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text x="{a:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_told(tick)}</text>'
        )
    for tick in y.ticks():
        b = _down(y, tick)
        grid.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{b:.1f}" y2="{b:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{b + 4:.1f}" text-anchor="end">{_told(tick)}</text>'
        )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    names = (
        f'<text class="name" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(x.name)}</text>'
        f'<text class="name" transform="translate(13 {middle}) rotate(-90)" '
        f'text-anchor="middle">{escape(y.name)}</text>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
        f"{''.join(grid)}{''.join(drawn)}{names}</svg>"
    )


def _across(axis: Axis, value: float) -> float:
    share = (value - axis.low) / (axis.high - axis.low)
    return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)


def _down(axis: Axis, value: float) -> float:
    share = (value - axis.low) / (axis.high - axis.low)
    return HEIGHT - BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)


def _told(tick: float) -> str:
    return (
        f"{tick:g}" if abs(tick) < 10_000 else f"{tick:,.0f}" if abs(tick) < 1e7 else f"{tick:.2g}"
    )
