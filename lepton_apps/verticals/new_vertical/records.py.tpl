"""What arrives on the topic. Decoding is validating: a refusal names the field."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta


class Measurement(msgspec.Struct, frozen=True):
    """One value of one device. Its id is unique for ever: the same id again is a repeat."""

    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,64}\Z")]
    at: Annotated[datetime, Meta(tz=True)]
    device: Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9-]{0,63}\Z")]
    value: Annotated[float, Meta(ge=-1e6, le=1e6)]
