"""What pages, REST and commands read of the spine. A fixed number of queries each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count

from lepton_apps.alerts.models import Alert
from lepton_apps.alerts.summary import moment, reason_text
from lepton_apps.common import clock
from lepton_apps.common.errors import NotFoundError
from lepton_apps.model_registry.models import Role, RoleChange
from lepton_apps.streaming.models import (
    DeadLetter,
    Decision,
    OffsetGap,
    RecordKey,
    StreamHalt,
    StreamOffset,
    WorkerHeartbeat,
)
from lepton_apps.verticals import registry

SILENT_AFTER = timedelta(minutes=5)  # a worker without a beat for so long is not listed any more
GAPS_SHOWN = 20
GAPS_SHOWN_FOR = timedelta(days=7)  # then only the table has them


def decisions(keys: Iterable[UUID]) -> list[Decision]:
    """The decisions of these keys that retention has not dropped."""
    places = list(RecordKey.objects.filter(key__in=list(keys)))
    if not places:
        return []
    return list(
        Decision.objects.filter(
            # Entity and time are what the table is indexed and partitioned by.
            entity_key__in={place.entity_key for place in places},
            decided_at__in={place.decided_at for place in places},
            id__in=[place.key for place in places],
        )
    )


def decision_of(decision_id: UUID, decided_at: datetime) -> Decision | None:
    """One decision, by its id and the time that finds its partition."""
    place = RecordKey.objects.filter(key=decision_id).first()
    if place is None:
        return None
    return Decision.objects.filter(
        entity_key=place.entity_key, decided_at=decided_at, id=decision_id
    ).first()


def recent_decisions(stream: str, entity_key: str, limit: int = 10) -> list[Decision]:
    """The newest decisions on one entity, newest first, without payloads and features."""
    of_entity = Decision.objects.filter(entity_key=entity_key, stream=stream)
    return list(of_entity.defer("payload", "features").order_by("-decided_at")[:limit])


def features_before(
    stream: str, entity_key: str, at: datetime, limit: int
) -> list[tuple[int, bytes]]:
    """Model version and packed features of an entity's newest decisions before a moment."""
    rows = Decision.objects.filter(entity_key=entity_key, stream=stream, decided_at__lt=at)
    newest = rows.order_by("-decided_at").values_list("model_version", "features")[:limit]
    return [(number, bytes(features)) for number, features in newest]


def decision_by_id(decision_id: UUID) -> Decision | None:
    """One decision by its id alone, None when there is none or retention has dropped it."""
    place = RecordKey.objects.filter(key=decision_id).first()
    return None if place is None else decision_of(decision_id, place.decided_at)


def reasons_of(vertical: str, decision: Decision) -> list[dict[str, Any]]:
    """Why an earlier decision was loud, from the alert that it opened.

    An alert keeps the reasons of its first record only; those of records that joined are not kept.
    """
    alert = Alert.objects.filter(pk=decision.alert_id).first() if decision.alert_id else None
    if alert is None or alert.decision_id != decision.id:
        return []
    return [
        {
            "reason": item["reason"],
            "text": reason_text(vertical, item["reason"]),
            "contribution": item["contribution"],
        }
        for item in alert.explanation
    ]


def dead_letters(
    verticals: Collection[str],
    stream: str | None = None,
    status: str | None = "new",
    before_id: int | None = None,
    limit: int = 50,
    reason: str | None = None,
) -> list[DeadLetter]:
    """Dead letters of these verticals, newest first; ``before_id`` pages on."""
    names = [name for name in _streams_of(verticals) if stream in (None, name)]
    letters = DeadLetter.objects.filter(stream__in=names)
    if status:
        letters = letters.filter(status=status)
    if reason:
        letters = letters.filter(reason=reason)
    if before_id is not None:
        letters = letters.filter(id__lt=before_id)
    return list(letters.order_by("-id")[:limit])


def dead_letter_reasons(stream: str, status: str) -> dict[str, int]:
    """How many dead letters of a stream have each reason, the most frequent first."""
    letters = DeadLetter.objects.filter(stream=stream, status=status)
    counted = letters.values_list("reason").annotate(count=Count("id")).order_by("-count", "reason")
    return dict(counted)


def dead_letter(verticals: Collection[str], dead_letter_id: int) -> DeadLetter:
    """One dead letter that the asker may see."""
    letter = DeadLetter.objects.filter(id=dead_letter_id, stream__in=_streams_of(verticals)).first()
    if letter is None:
        raise NotFoundError(f"There is no dead letter {dead_letter_id}.", id=dead_letter_id)
    return letter


def _streams_of(verticals: Collection[str]) -> list[str]:
    return [
        stream.name
        for vertical in registry.verticals()
        if vertical.key in verticals
        for stream in vertical.all_streams
    ]


def stream_overviews(verticals: Collection[str]) -> list[dict[str, Any]]:
    """Each stream as operators look at it: lag, workers, model, losses, dead letters, halt."""
    names = _streams_of(verticals)
    now = clock.now()
    workers = _grouped(
        WorkerHeartbeat.objects.filter(stream__in=names, beat_at__gte=now - SILENT_AFTER)
        .exclude(condition="stopped")
        .order_by("started_at")
    )
    offsets = _grouped(StreamOffset.objects.filter(stream__in=names).order_by("-updated_at"))
    recent = OffsetGap.objects.filter(stream__in=names, noticed_at__gte=now - GAPS_SHOWN_FOR)
    gaps = _grouped(recent.order_by("-id")[:GAPS_SHOWN])
    halts = _grouped(StreamHalt.objects.filter(stream__in=names, resumed_at=None))
    letters = {
        row["stream"]: row["count"]
        for row in DeadLetter.objects.filter(stream__in=names, status="new")
        .values("stream")
        .annotate(count=Count("id"))
    }
    champions = _champions()
    overviews = []
    for vertical in registry.verticals():
        if vertical.key not in verticals:
            continue
        for stream in vertical.all_streams:
            model = getattr(stream, "model_name", None)
            overviews.append(
                {
                    "name": stream.name,
                    "vertical": vertical.key,
                    "kind": "labels" if model is None else "scored",
                    "topic": stream.topic,
                    "champion": champions.get(model) if model else None,
                    **_progress(offsets.get(stream.name, ()), workers.get(stream.name, ()), now),
                    "dead_letters_new": letters.get(stream.name, 0),
                    "gaps": [_gap(gap) for gap in gaps.get(stream.name, ())],
                    "halt": next(
                        (
                            {"reason": halt.reason, "at": moment(halt.at)}
                            for halt in halts.get(stream.name, ())
                        ),
                        None,
                    ),
                }
            )
    return overviews


def _grouped(rows: Iterable[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(row.stream, []).append(row)
    return groups


def _champions() -> dict[str, Mapping[str, Any]]:
    changes = (
        RoleChange.objects.filter(role=Role.CHAMPION)
        .order_by("model_name", "-sequence")
        .distinct("model_name")
        .select_related("version")
    )
    return {
        change.model_name: {"model": change.model_name, "version": change.version.number}
        for change in changes
        if change.version is not None
    }


def _progress(
    offsets: Collection[StreamOffset], workers: Collection[WorkerHeartbeat], now: datetime
) -> dict[str, Any]:
    """Partitions of the newest incarnation of the topic, and who reads them."""
    newest = next(iter(offsets)).topic_id if offsets else None
    partitions = [
        {
            "partition": row.partition,
            "next_offset": row.next_offset,
            "high_water": row.high_water,
            "lag": max(0, row.high_water - row.next_offset),
            "watermark": moment(row.watermark) if row.watermark else None,
        }
        for row in sorted(offsets, key=lambda row: row.partition)
        if row.topic_id == newest
    ]
    return {
        "partitions": partitions,
        "lag": sum(int(row["lag"] or 0) for row in partitions) if partitions else None,
        "records_per_s": round(sum(worker.rates.get("records_per_s", 0) for worker in workers), 1),
        "workers": [
            {
                "worker_id": str(worker.worker_id),
                "host": worker.host,
                "pid": worker.pid,
                "condition": worker.condition,
                "detail": worker.detail,
                "assignment": worker.assignment,
                "beat_at": moment(worker.beat_at),
                "seconds_since_beat": round((now - worker.beat_at).total_seconds(), 1),
            }
            for worker in workers
        ],
    }


def _gap(gap: OffsetGap) -> dict[str, Any]:
    return {
        "partition": gap.partition,
        "kind": gap.kind,
        "lost": gap.lost,
        "noticed_at": moment(gap.noticed_at),
    }


def has_decisions(vertical: str) -> bool:
    """Whether anything of this vertical was ever decided and is still kept."""
    names = [stream.name for stream in registry.vertical(vertical).streams]
    return Decision.objects.filter(stream__in=names).exists()
