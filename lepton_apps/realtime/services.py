"""Beginning the feed anew, where its numbers have come to mean other events."""

from __future__ import annotations

from collections.abc import Collection

from lepton_apps.audit import services as audit
from lepton_apps.common.db import RawConnection, raw_connection, transaction

NEW_EPOCH = """
UPDATE feed_counter SET epoch = gen_random_uuid()
WHERE vertical = ANY(%s) OR %s::text[] IS NULL
RETURNING vertical, epoch
"""


def begin_epochs(verticals: Collection[str]) -> list[str]:
    """Give the feeds of these verticals new epochs; returns those that have told events before.

    Clients that come with a cursor of the epoch before are told ``snapshot_required``; so are open
    sockets, at the listener's next look at the counters.
    """
    raw = raw_connection()
    with transaction(raw):
        return new_epochs(raw, verticals)


def new_epochs(raw: RawConnection, verticals: Collection[str] | None = None) -> list[str]:
    """The same inside the caller's transaction on this thread's connection; None: every feed."""
    names = None if verticals is None else list(verticals)
    begun = sorted(raw.execute(NEW_EPOCH, [names, names]).fetchall())
    for vertical, epoch in begun:
        audit.record(
            None, "feed.epoch_begun", f"feed:{vertical}", vertical=vertical, epoch=str(epoch)
        )
    return [vertical for vertical, _ in begun]
