"""How the extractor's memory of customers and terminals is packed into bytes.

Everything is an exact integer, so sums do not depend on the order of additions and shards can be
merged by adding. An amount enters as ``q = round(64 * log1p(amount in hundredths of its unit))``.

Counts live in rings of buckets. A bucket is addressed by (time // grain) modulo the ring's length;
the newest bucket follows from ``last_at``. All-zero bytes are the memory of an entity never seen.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

DAY_MS: Final = 86_400_000
MINUTE_MS: Final = 60_000
SHORT_MS: Final = 7_200_000  # the grain of the one-day window: 2 hours

SHORT_BUCKETS: Final = 13  # one day back, and the bucket that time is in
DAY_BUCKETS: Final = 31  # thirty days back, and today
LABEL_SLACK_DAYS: Final = 7  # how far back in event time a record still finds its label windows

LOG_SCALE: Final = 64
LOG_CENTRE: Final = 512  # squares are kept about e**8 hundredths (about 30 units): small numbers

Dtype = np.dtype[Any]


def terminal_buckets(label_delay_days: int) -> int:
    """Days of payment counts a terminal keeps: its label windows end ``label_delay_days`` ago."""
    return DAY_BUCKETS + label_delay_days


def risk_buckets(label_delay_days: int) -> int:
    """Days of fraud counts that are kept."""
    return DAY_BUCKETS + label_delay_days + LABEL_SLACK_DAYS


# Fields go from wide to narrow so that numbers lie aligned; 592 bytes.
CUSTOMER: Final[Dtype] = np.dtype(
    [
        ("last_at", "<i8"),  # newest event time, ms since 1970
        ("first_at", "<i8"),  # oldest event time, ms since 1970
        ("day_log_sum", "<u4", (DAY_BUCKETS,)),  # sum of q
        ("day_log_sq", "<u4", (DAY_BUCKETS,)),  # sum of (q - LOG_CENTRE) ** 2
        ("short_log_sum", "<u4", (SHORT_BUCKETS,)),
        ("devices", "<u4", (8,)),  # hashes, the last used first; 0 is empty
        ("devices_since", "<u4", (8,)),  # first use, minutes since 1970
        ("terminals", "<u4", (8,)),
        ("cards", "<u4", (4,)),
        ("day_count", "<u2", (DAY_BUCKETS,)),
        ("day_unusual", "<u2", (DAY_BUCKETS,)),
        ("short_count", "<u2", (SHORT_BUCKETS,)),
        ("countries", "<u2", (4,)),  # codes of fintech.extractor, the last used first
        ("currency", "<u2"),  # of the first payment
        ("padding", "<u2", (2,)),
    ]
)


def terminal_dtype(label_delay_days: int) -> Dtype:
    """One shard of a terminal; 552 bytes for a delay of 7 days."""
    return np.dtype(
        [
            ("last_at", "<i8"),
            ("day_log_sum", "<i8", (DAY_BUCKETS,)),
            ("day_count", "<u4", (terminal_buckets(label_delay_days),)),
            ("short_count", "<u4", (SHORT_BUCKETS,)),
            ("day_unusual", "<u2", (DAY_BUCKETS,)),
            ("short_unusual", "<u2", (SHORT_BUCKETS,)),
        ],
        align=True,
    )


def merged_terminal_dtype(label_delay_days: int) -> Dtype:
    """All shards of a terminal together: the same rings, wide enough for any sum."""
    return np.dtype(
        [
            ("last_at", "<i8"),
            ("day_log_sum", "<i8", (DAY_BUCKETS,)),
            ("day_count", "<i8", (terminal_buckets(label_delay_days),)),
            ("short_count", "<i8", (SHORT_BUCKETS,)),
            ("day_unusual", "<i8", (DAY_BUCKETS,)),
            ("short_unusual", "<i8", (SHORT_BUCKETS,)),
        ]
    )


def risk_dtype(label_delay_days: int) -> Dtype:
    """Known frauds of a terminal or customer, by the day from which they count.

    Signed, because one writer may take back what another one counted.
    """
    return np.dtype(
        [("newest_day", "<i8"), ("frauds", "<i4", (risk_buckets(label_delay_days),))],
        align=True,
    )
