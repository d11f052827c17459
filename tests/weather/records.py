"""What arrives on the topics: readings of stations, and what was later found out about them.

Decoding is validating: whatever is wrong raises ``msgspec.ValidationError`` with the field's path.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

Moment = Annotated[datetime, Meta(tz=True)]


class Reading(msgspec.Struct, frozen=True):
    """One temperature of one station. It has no id: its place in the log is its name."""

    station: Annotated[str, Meta(pattern=r"\A[a-z]{1,16}-[a-z0-9]{1,16}\Z")]  # "<region>-<name>"
    at: Moment
    celsius: Annotated[float, Meta(ge=-100, le=100)]
    station_kind: Annotated[str, Meta(pattern=r"\A[a-z0-9 -]{1,32}\Z")]

    @property
    def region(self) -> str:
        return self.station.partition("-")[0]


class ReadingLabel(msgspec.Struct, frozen=True):
    """What a technician found: whether the station was broken when it read that."""

    record_id: Annotated[str, Meta(min_length=1, max_length=200)]
    broken: bool
    labelled_at: Moment
