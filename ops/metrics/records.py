"""What arrives on ``ops.metrics``: samples of an entity, one metric or a whole vector a record.

A metric whose name ends in ``_total``, ``_count``, ``_sum`` or ``_bucket``, as Prometheus names
them, is a counter: it counts by how much it rose. All others are taken as they are.
"""

from __future__ import annotations

from datetime import datetime
from math import isfinite
from typing import Annotated, Final

import msgspec
from msgspec import Meta

MAX_METRICS: Final = 256  # of one record, and of one entity
LARGEST: Final = 1e30
COUNTERS: Final = ("_total", "_count", "_sum", "_bucket")

Name = Annotated[str, Meta(min_length=1, max_length=120)]


class MetricSample(msgspec.Struct, frozen=True, gc=False):
    """One metric (``metric`` and ``value``), or several (``values``), of one entity at one time.

    Values are finite numbers; ``null`` in ``values`` stands for a gap. Fields we do not know are
    ignored.
    """

    entity: Name
    time: Annotated[datetime, Meta(tz=True)]
    metric: Name | None = None
    value: float | None = None
    values: dict[Name, float | None] = {}

    def __post_init__(self) -> None:
        if (self.metric is None) == (not self.values):
            raise ValueError("Either `metric` and `value` are needed, or `values` - at `$`")
        if (self.metric is None) != (self.value is None):
            raise ValueError("`metric` and `value` belong together - at `$`")
        if len(self.values) > MAX_METRICS:
            raise ValueError(
                f"{len(self.values)} metrics are more than {MAX_METRICS} - at `$.values`"
            )
        if not self.entity.isprintable() or self.entity.isspace():
            raise ValueError("blank, or a control character - at `$.entity`")
        fields = ("values", "values") if self.metric is None else ("metric", "value")
        for name, value in self.samples():
            if not name.isprintable():
                raise ValueError(f"a name with a control character - at `$.{fields[0]}`")
            if value is not None and not (isfinite(value) and abs(value) <= LARGEST):
                raise ValueError(f"{name} is {value}, no finite number - at `$.{fields[1]}`")

    def samples(self) -> list[tuple[str, float | None]]:
        """Names and values, however they came."""
        if self.metric is not None:
            return [(self.metric, self.value)]
        return list(self.values.items())


def is_counter(name: str) -> bool:
    return name.endswith(COUNTERS)
