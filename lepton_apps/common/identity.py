"""How records are known for ever: one key made from the stream and the record's own id."""

from __future__ import annotations

import uuid
from hashlib import blake2b


def decision_digest(stream: str, record_id: str) -> bytes:
    """The 16 bytes of ``decision_key``."""
    return blake2b(f"{stream}\0{record_id}".encode(), digest_size=16).digest()


def decision_key(stream: str, record_id: str) -> uuid.UUID:
    """The key of the decision on a record, the same in every process and for ever.

    The NUL between the parts keeps ("a", "bc") and ("ab", "c") apart: neither may hold one.
    """
    return uuid.UUID(bytes=decision_digest(stream, record_id))
