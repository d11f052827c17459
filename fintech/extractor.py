"""Turns payments and the memory of their customers and terminals into feature vectors.

What the features mean is in ``features.py``, how the memory is packed in ``states.py``, the
compiled loop in ``kernel.py``. numba is imported and the kernels are loaded at the first call,
not when this module is imported: most processes that know this vertical never extract. That
takes half a second, or ten on a machine that has not compiled them yet; ``extract`` of an empty
batch gets it over with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import ModuleType
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fintech.currencies import EXPONENTS
from fintech.features import MOVING, NAMES, REASONS
from fintech.records import COUNTRIES, Transaction
from fintech.states import (
    CUSTOMER,
    DAY_MS,
    Dtype,
    merged_terminal_dtype,
    risk_dtype,
    terminal_dtype,
)
from lepton_apps.verticals.contract import (
    Extraction,
    FeatureSchema,
    LabelledRecord,
    States,
)

RECORD: Final[Dtype] = np.dtype(
    [
        ("at", "<i8"),  # ms since 1970
        ("amount", "<f8"),
        ("customer", "<i4"),  # row numbers of this batch
        ("terminal", "<i4"),
        ("shard", "<i4"),
        ("device_hash", "<u4"),
        ("terminal_hash", "<u4"),
        ("card_hash", "<u4"),
        ("country", "<u2"),
        ("currency", "<u2"),
        ("channel", "<i4"),
    ],
    align=True,
)

CHANNELS: Final[dict[str, int]] = {
    "online": 1,
    "contactless": 2,
    "atm": 3,
    "transfer": 4,
}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ONE_MS: Final = timedelta(milliseconds=1)
NO_SHARDS: Final[Mapping[int, bytes]] = {}

# Both are written into states: sorted, so that they never change while the sets do not.
COUNTRY_CODES: Final = {country: n for n, country in enumerate(sorted(COUNTRIES), start=1)}
CURRENCY_CODES: Final = {
    code: (ord(code[0]) - 64) << 10 | (ord(code[1]) - 64) << 5 | ord(code[2]) - 64
    for code in EXPONENTS
}


def _kernels() -> ModuleType:
    return import_module("fintech.kernel")


def stable_hash(text: str | None) -> int:
    """32 bits that are the same in every process; 0 stands for no text."""
    return crc32(text.encode()) or 1 if text else 0


class TransactionExtractor:
    """Features over 1, 7 and 30 days of a payment's customer and terminal.

    The customer is the main entity; the terminal's payments (``t:``), and the known frauds of
    terminal (``r:t:``) and customer (``r:c:``) are secondary.

    Args:
        label_delay_days: chargebacks are waited for this many days before a day's fraud share
            counts, 1 to 60. It shapes features and states, so it is part of the schema.
    """

    def __init__(self, label_delay_days: int = 7) -> None:
        if not 1 <= label_delay_days <= 60:
            raise ValueError(f"label_delay_days={label_delay_days} is not within 1 to 60.")
        self.label_delay_days = label_delay_days
        self._schema = FeatureSchema(
            1, NAMES, REASONS, {"label_delay_days": label_delay_days}, moving=MOVING
        )
        self._terminal = terminal_dtype(label_delay_days)
        self._merged_terminal = merged_terminal_dtype(label_delay_days)
        self._risk = risk_dtype(label_delay_days)

    @property
    def schema(self) -> FeatureSchema:
        return self._schema

    def entity_keys(self, record: Transaction) -> tuple[str, tuple[str, ...]]:
        """The customer, and the terminal. The known frauds of both are ``label_keys``."""
        return record.customer, (f"t:{record.terminal}",)

    def label_keys(self, record: Transaction) -> tuple[str, ...]:
        """The known frauds of the record's terminal and customer."""
        return f"r:t:{record.terminal}", f"r:c:{record.customer}"

    def extract(
        self, records: Sequence[Transaction], shards: Sequence[int], states: States
    ) -> Extraction:
        """One row for each record, from what arrived before it; then the memory of it.

        Raises:
            ValueError: a state has not the size that this extractor packs.
        """
        # Entities are numbered in order of first sight. setdefault evaluates len() first.
        row_of_c: dict[str, int] = {}
        row_of_t: dict[str, int] = {}
        row_of_s: dict[tuple[str, int], int] = {}
        r_B = np.empty(len(records), RECORD)
        r_B["at"] = [(r.occurred_at - EPOCH) // ONE_MS for r in records]
        r_B["amount"] = [float(r.amount) for r in records]
        r_B["customer"] = [row_of_c.setdefault(r.customer, len(row_of_c)) for r in records]
        r_B["terminal"] = [row_of_t.setdefault(r.terminal, len(row_of_t)) for r in records]
        r_B["shard"] = [
            row_of_s.setdefault((r.terminal, shard), len(row_of_s))
            for r, shard in zip(records, shards, strict=True)
        ]
        r_B["device_hash"] = [stable_hash(r.device) for r in records]
        r_B["terminal_hash"] = [stable_hash(r.terminal) for r in records]
        r_B["card_hash"] = [stable_hash(r.card) for r in records]
        r_B["country"] = [COUNTRY_CODES[r.country] if r.country else 0 for r in records]
        r_B["currency"] = [CURRENCY_CODES[r.currency] for r in records]
        r_B["channel"] = [CHANNELS.get(r.channel, 0) for r in records]

        empty = bytes(CUSTOMER.itemsize)
        c_C = _unpack([states.primary.get(customer, empty) for customer in row_of_c], CUSTOMER)
        t_T, s_S = self._terminals(row_of_t, row_of_s, states)
        risk_T = self._risks([f"r:t:{terminal}" for terminal in row_of_t], states)
        risk_C = self._risks([f"r:c:{customer}" for customer in row_of_c], states)
        x_BF = np.zeros((len(records), len(NAMES)), np.float32)
        _kernels().extract(r_B, c_C, t_T, s_S, risk_T, risk_C, self.label_delay_days, x_BF)
        return Extraction(
            x_BF=x_BF,
            source_B=np.arange(len(records), dtype=np.int64),
            primary=dict(zip(row_of_c, _pack(c_C), strict=True)),
            secondary={
                (f"t:{terminal}", shard): packed
                for (terminal, shard), packed in zip(row_of_s, _pack(s_S), strict=True)
            },
        )

    def on_tick(self, at: datetime, due: Sequence[str], states: States) -> Extraction:
        """Payments need no timers: returns no rows and changes nothing."""
        return self._nothing()

    def apply_labels(
        self, labelled: Sequence[LabelledRecord], shard: int, states: States
    ) -> Extraction:
        """Count frauds that became known, or no longer, for their terminals and customers.

        A fraud is put on the day max(record time, ``at`` - delay), so that windows that end a
        delay ago see it from max(record time + delay, ``at``) on. Taking one back must name the
        same ``at``.
        """
        changed: dict[tuple[str, int], NDArray[Any]] = {}
        size = self._risk["frauds"].shape[0]
        for label in labelled:
            from_ms = max(
                (label.record.occurred_at - EPOCH) // ONE_MS,
                (label.at - EPOCH) // ONE_MS - self.label_delay_days * DAY_MS,
            )
            day = from_ms // DAY_MS
            for key in self.label_keys(label.record):
                row = changed.get((key, shard))
                if row is None:
                    packed = states.secondary.get(key, NO_SHARDS).get(shard)
                    row = _unpack([packed or bytes(self._risk.itemsize)], self._risk)
                    changed[key, shard] = row
                newest = int(row["newest_day"][0])
                frauds = row["frauds"][0]
                if day > newest:
                    _kernels().advance(frauds, newest, day)
                    row["newest_day"] = newest = day
                if day > newest - size:
                    frauds[day % size] += label.change
        extraction = self._nothing()
        extraction.secondary = {key: row.tobytes() for key, row in changed.items()}
        return extraction

    def _terminals(
        self,
        row_of_t: Mapping[str, int],
        row_of_s: Mapping[tuple[str, int], int],
        states: States,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """All shards of each terminal merged, and the shards that this batch writes."""
        packed: list[bytes] = []
        owners: list[int] = []
        for terminal, row in row_of_t.items():
            for shard in states.secondary.get(f"t:{terminal}", NO_SHARDS).values():
                packed.append(shard)
                owners.append(row)
        t_T = np.zeros(len(row_of_t), self._merged_terminal)
        _kernels().merge_terminals(_unpack(packed, self._terminal), np.array(owners, np.int64), t_T)
        empty = bytes(self._terminal.itemsize)
        own = [
            states.secondary.get(f"t:{terminal}", NO_SHARDS).get(shard, empty)
            for terminal, shard in row_of_s
        ]
        return t_T, _unpack(own, self._terminal)

    def _risks(self, keys: Sequence[str], states: States) -> NDArray[Any]:
        """All shards of each key merged; few keys have any."""
        packed: list[bytes] = []
        owners: list[int] = []
        for row, key in enumerate(keys):
            for shard in states.secondary.get(key, NO_SHARDS).values():
                packed.append(shard)
                owners.append(row)
        risk_E = np.zeros(len(keys), self._risk)
        if packed:
            _kernels().merge_risks(_unpack(packed, self._risk), np.array(owners, np.int64), risk_E)
        return risk_E

    def _nothing(self) -> Extraction:
        return Extraction(np.empty((0, len(NAMES)), np.float32), np.empty(0, np.int64))


def _unpack(states: Sequence[bytes], dtype: Dtype) -> NDArray[Any]:
    joined = b"".join(states)
    if len(joined) != len(states) * dtype.itemsize:
        sizes = sorted({len(state) for state in states})
        raise ValueError(f"States of {sizes} bytes where {dtype.itemsize} are expected.")
    return np.frombuffer(bytearray(joined), dtype)


def _pack(rows: NDArray[Any]) -> list[bytes]:
    size = rows.dtype.itemsize
    joined = rows.tobytes()
    return [joined[start : start + size] for start in range(0, len(joined), size)]
