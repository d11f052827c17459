"""Turns readings and the memory of their stations and regions into features.

Three kinds of memory, one of each sort that the host keeps:

* the station (main entity): its newest reading, and a timer that runs out when it falls silent;
* its region (secondary entity): the mean of the running hour, and how often stations were broken;
* the kinds of stations (knowledge): shared by the whole stream, never forgotten.

Everything is a whole number, so sums do not depend on their order. Suffixes: B = rows,
F = features.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import Extraction, FeatureSchema, LabelledRecord, States
from tests.weather.records import Reading

SILENT_AFTER: Final = timedelta(minutes=3)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ONE_MS: Final = timedelta(milliseconds=1)
HOUR_MS: Final = 3_600_000

# (name, reason code); the columns of a row, in this order.
FEATURES: Final = (
    ("celsius", "temperature"),
    ("change", "jump"),  # to the station's newest reading; 0 for its first
    ("from_region", "differs_from_region"),  # to the mean of this hour so far
    ("region_broken", "broken_region"),  # log1p of known broken readings
    ("kind_new", "new_kind"),  # 1 for the first reading of a kind in the whole stream
    ("silent", "silence"),  # 1 for rows made by a tick
)
REASON_TEXTS: Final = {
    "temperature": "The temperature itself is rare.",
    "jump": "The temperature has jumped since the station's last reading.",
    "differs_from_region": "The other stations of the region read something else this hour.",
    "broken_region": "Stations of this region have been broken before.",
    "new_kind": "No station of this kind has been seen before.",
    "silence": "The station has not been heard of for three minutes.",
}


class Station(NamedTuple):
    newest_ms: int = -1  # event time, ms since 1970
    centi: int = 0  # its newest reading, hundredths of a degree


class Region(NamedTuple):
    """One writer's share of a region."""

    hour: int = -1  # the newest one that a reading fell into, hours since 1970
    readings: int = 0  # in that hour
    total: int = 0  # their sum, hundredths of a degree
    broken: int = 0  # readings known to be of broken stations, at any time

    def with_reading(self, hour: int, centi: int) -> Region:
        """A reading of an hour that has passed comes too late to count."""
        if hour < self.hour:
            return self
        if hour > self.hour:
            return Region(hour, 1, centi, self.broken)
        return self._replace(readings=self.readings + 1, total=self.total + centi)


STATION: Final = struct.Struct("<qi")
REGION: Final = struct.Struct("<qqqq")


def merged(shards: Iterable[Region]) -> Region:
    """All writers' shares as one. Commutative: nobody knows which of them wrote first."""
    known = list(shards)
    hour = max((shard.hour for shard in known), default=-1)
    now = [shard for shard in known if shard.hour == hour]
    return Region(
        hour,
        sum(shard.readings for shard in now),
        sum(shard.total for shard in now),
        sum(shard.broken for shard in known),
    )


class ReadingExtractor:
    """Features of readings, one row each, and a row for each station that falls silent."""

    _schema = FeatureSchema(
        version=1,
        names=tuple(name for name, _ in FEATURES),
        reasons=tuple(reason for _, reason in FEATURES),
        parameters={"silent_after_s": SILENT_AFTER.total_seconds()},
    )

    @property
    def schema(self) -> FeatureSchema:
        return self._schema

    def entity_keys(self, record: Reading) -> tuple[str, tuple[str, ...]]:
        return record.station, (record.region,)

    def label_keys(self, record: Reading) -> tuple[str, ...]:
        return (record.region,)

    def extract(
        self, records: Sequence[Reading], shards: Sequence[int], states: States
    ) -> Extraction:
        """One row for each reading, from what arrived before it; then the memory of it."""
        stations: dict[str, Station] = {}
        regions: dict[str, dict[int, Region]] = {}
        written: set[tuple[str, int]] = set()
        x_BF = np.zeros((len(records), len(FEATURES)), np.float32)
        made = Extraction(x_BF, np.arange(len(records), dtype=np.int64))
        for row, (reading, shard) in enumerate(zip(records, shards, strict=True)):
            if reading.station not in stations:
                stations[reading.station] = _station(states, reading.station)
            if reading.region not in regions:
                regions[reading.region] = _region(states, reading.region)
            shares = regions[reading.region]
            kind = sha256(reading.station_kind.encode()).hexdigest()
            kind_new = kind not in states.knowledge and kind not in made.knowledge
            at_ms = (reading.at - EPOCH) // ONE_MS
            centi = round(reading.celsius * 100)

            x_BF[row] = _features(
                stations[reading.station], merged(shares.values()), at_ms, centi, kind_new
            )

            if kind_new:
                made.knowledge[kind] = reading.station_kind.encode()
            shares[shard] = shares.get(shard, Region()).with_reading(at_ms // HOUR_MS, centi)
            written.add((reading.region, shard))
            if at_ms >= stations[reading.station].newest_ms:
                stations[reading.station] = Station(at_ms, centi)
                made.due_at[reading.station] = reading.at + SILENT_AFTER
        made.primary = {key: STATION.pack(*station) for key, station in stations.items()}
        made.secondary = {(key, s): REGION.pack(*regions[key][s]) for key, s in written}
        return made

    def on_tick(self, at: datetime, due: Sequence[str], states: States) -> Extraction:
        """A row for each station that has been silent, once: its next reading sets the timer."""
        x_BF = np.zeros((len(due), len(FEATURES)), np.float32)
        for row, key in enumerate(due):
            x_BF[row, 0] = _station(states, key).centi / 100
            x_BF[row, -1] = 1
        return Extraction(
            x_BF, np.arange(len(due), dtype=np.int64), due_at=dict.fromkeys(due, None)
        )

    def apply_labels(
        self, labelled: Sequence[LabelledRecord], shard: int, states: States
    ) -> Extraction:
        """Count readings of broken stations for their regions; returns no rows."""
        shares: dict[str, Region] = {}
        for label in labelled:
            region = label.record.region
            share = shares.get(region) or _region(states, region).get(shard, Region())
            shares[region] = share._replace(broken=share.broken + label.change)
        return Extraction(
            np.zeros((0, len(FEATURES)), np.float32),
            np.zeros(0, np.int64),
            secondary={(region, shard): REGION.pack(*share) for region, share in shares.items()},
        )


def _features(
    station: Station, region: Region, at_ms: int, centi: int, kind_new: bool
) -> NDArray[np.float32]:
    change = centi - station.centi if station.newest_ms >= 0 else 0
    same_hour = region.readings > 0 and region.hour == at_ms // HOUR_MS
    from_region = centi - region.total / region.readings if same_hour else 0
    broken = np.log1p(max(0, region.broken))
    return np.array([centi / 100, change / 100, from_region / 100, broken, kind_new, 0], np.float32)


def _station(states: States, key: str) -> Station:
    packed = states.primary.get(key)
    return Station(*STATION.unpack(packed)) if packed else Station()


def _region(states: States, key: str) -> dict[int, Region]:
    shards = states.secondary.get(key, {})
    return {shard: Region(*REGION.unpack(packed)) for shard, packed in shards.items()}
