"""What a federation was, as data. Cheap to import."""

from __future__ import annotations

import msgspec


class Federated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a federated model came about, as its manifest says it."""

    rounds: int  # that were averaged
    sites: tuple[str, ...]  # that were there at the end, by name
    lost: tuple[str, ...] = ()  # that left on the way
