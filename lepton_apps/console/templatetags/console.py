"""How scores, times and bytes read on a page."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def percent(score: float | None) -> str:
    """A score in [0, 1] as ``97.3 %``; feed.js writes the same. Never rounds up to certainty."""
    if not isinstance(score, float | int):
        return ""
    tenths = round(score * 1000)
    if tenths == 1000 and score < 1:
        tenths = 999
    return f"{tenths / 10:.1f} %"


@register.filter
def score(value: float | None) -> str:
    """A threshold, as sharp as it has to be in the tail: ``83.2 %``, ``99.987 %``."""
    if not isinstance(value, float | int):
        return ""
    room = min(value, 1 - value)  # to the nearer end
    digits = 1 if room >= 0.01 or room <= 0 else min(8, 1 - math.floor(math.log10(room * 100)))
    return f"{value * 100:.{digits}f} %"


@register.filter
def compact(value: float | None) -> str:
    """A count that may be a rate: ``1,250``, ``39.8``, ``40``."""
    if not isinstance(value, float | int):
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


@register.filter
def plain(value: float) -> str:
    """A number as an input takes it, without separators."""
    return f"{value:.15g}"


@register.filter
def when(at: datetime | str | None) -> SafeString | str:
    """A ``<time>`` in UTC; times.js says the local time when it is pointed at."""
    return _time(at, "")


@register.filter
def age(at: datetime | str | None) -> SafeString | str:
    """A ``<time>`` that times.js turns into an age. Without scripts it reads as ``when``."""
    return _time(at, " data-age")


def _time(at: datetime | str | None, attribute: str) -> SafeString | str:
    if not at:
        return "-"
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    moment = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}"{}>{} UTC</time>',
        moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        attribute,
        moment.strftime("%Y-%m-%d %H:%M:%S"),
    )


@register.filter
def seconds(value: float | None) -> str:
    """A duration, coarse on purpose: ``2 s``, ``3 min``, ``5 h``."""
    if value is None:
        return "-"
    if value < 90:
        return f"{value:.0f} s"
    if value < 5400:
        return f"{value / 60:.0f} min"
    if value < 172_800:
        return f"{value / 3600:.0f} h"
    return f"{value / 86_400:.0f} days"


@register.filter
def thousands(count: int | None) -> str:
    """A whole number with separators: ``12,345``."""
    return f"{count:,}" if isinstance(count, int) else "-"


@register.filter
def unlocalized(value: float) -> str:
    """A number as SVG reads it."""
    return f"{value:g}"
