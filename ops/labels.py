"""What became known of a window or vector that was judged: was something wrong, or not."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class FaultLabel(msgspec.Struct, frozen=True, gc=False):
    """The truth about one decision, named by its record id."""

    record_id: Annotated[str, Meta(min_length=1, max_length=200)]
    verdict: Literal["fault", "harmless"]
    labelled_at: Annotated[datetime, Meta(tz=True)]
    kind: Annotated[str, Meta(min_length=1, max_length=32)] = "verdict"

    def __post_init__(self) -> None:
        for field, text in (("record_id", self.record_id), ("kind", self.kind)):
            if not text.isprintable():
                raise ValueError(f"holds a control character - at `$.{field}`")
