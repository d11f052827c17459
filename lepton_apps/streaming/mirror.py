"""What labels have written, kept in a worker's memory and brought up to date at every batch.

Few entities have labels, but every record asks for those of its own. Asking the database for
thousands of rows that are not there cost a tenth of a batch; one query for what changed does not.
"""

from __future__ import annotations

from lepton_apps.common.db import RawConnection
from lepton_apps.streaming.batch import LABEL_SHARD
from lepton_apps.streaming.binary import HotCursor

CHANGED = """
SELECT entity_key, schema, state, label_epoch FROM secondary_state
WHERE stream = %b AND label_epoch > %b ORDER BY label_epoch
"""
# Writers of labels take turns, so epochs become visible in their order and none is passed over.
TURN = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 2))"
STAMP = """
UPDATE secondary_state SET label_epoch = nextval('label_epoch')
WHERE stream = %s AND shard = %s AND entity_key = ANY(%s)
"""


class SecondaryStates(dict[str, dict[int, bytes]]):
    """States by entity and shard, with those of labels behind them."""

    __slots__ = ("_labelled",)

    def __init__(self, labelled: dict[str, dict[int, bytes]]) -> None:
        super().__init__()
        self._labelled = labelled

    def get(self, key: str, default: dict[int, bytes] | None = None) -> dict[int, bytes] | None:  # type: ignore[override]
        found = super().get(key)
        return found if found is not None else self._labelled.get(key, default)


class LabelMirror:
    """The label shard of one stream."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._epoch = 0
        self.states: dict[str, dict[int, bytes]] = {}
        self.schemas: set[str] = set()

    def refresh(self, raw: RawConnection) -> None:
        """Take in what labels have written since the last time."""
        rows = HotCursor(raw).hot(CHANGED, [self._stream, self._epoch]).fetchall()
        for key, schema, state, epoch in rows:
            self.states[key] = {LABEL_SHARD: state}
            self.schemas.add(schema)
            self._epoch = epoch

    def forget(self) -> None:
        """Start again from nothing: states may have been rebuilt meanwhile."""
        self._epoch = 0
        self.states.clear()
        self.schemas.clear()


def take_turn(raw: RawConnection, stream: str) -> None:
    """Wait until no other transaction writes labels of this stream; held until the commit."""
    raw.execute(TURN, [f"label states of {stream}"])


def stamp(raw: RawConnection, stream: str, entity_keys: list[str]) -> None:
    """Mark label states as changed, inside the transaction that changed them."""
    raw.execute(STAMP, [stream, LABEL_SHARD, entity_keys])
