"""Waiting for something to become true in another process."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_S = 60.0


def until(is_true: Callable[[], object], what: str) -> None:
    """Return when it is; fail the test with ``what`` when it never is."""
    give_up_at = time.monotonic() + LIMIT_S
    while not is_true():
        assert time.monotonic() < give_up_at, f"never happened: {what}"
        time.sleep(0.05)
