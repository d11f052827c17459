"""What the console shows of this vertical beside its alerts and streams. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from django.db import connection

from ops.logs.extractor import template_of
from ops.metrics.evidence import short
from ops.metrics.states import unpack

SHOWN_TEMPLATES: Final = 40
SHOWN_ENTITIES: Final = 12
SHOWN_METRICS: Final = 14
LOUDNESS: Final = ("", "warns", "says error")

TEMPLATES: Final = """
SELECT t.id, k.body, sum(t.count) AS seen, min(t.first_at), max(t.last_at),
    count(*) OVER () AS known
FROM knowledge_tally AS t JOIN knowledge AS k ON k.stream = t.stream AND k.id = t.id
WHERE t.stream = 'ops.logs'
GROUP BY t.id, k.body ORDER BY seen DESC, t.id LIMIT %s
"""
NEWEST: Final = """
SELECT k.id, k.body, k.learned_at FROM knowledge AS k
WHERE k.stream = 'ops.logs' ORDER BY k.learned_at DESC, k.id LIMIT 10
"""
ENTITIES: Final = """
SELECT entity_key, state FROM entity_state WHERE stream = 'ops.metrics'
ORDER BY entity_key LIMIT %s
"""


def templates() -> Mapping[str, Any]:
    """The templates met most often, and the newest ones, in two queries."""
    with connection.cursor() as cursor:
        cursor.execute(TEMPLATES, [SHOWN_TEMPLATES])
        rows = cursor.fetchall()
        cursor.execute(NEWEST)
        newest = cursor.fetchall()
    return {
        "known": rows[0][5] if rows else 0,
        "templates": [
            {**template, "count": seen, "first": first, "last": last}
            for id_, body, seen, first, last, _ in rows
            if (template := _template(id_, body))
        ],
        "newest": [
            {**template, "since": at}
            for id_, body, at in newest
            if (template := _template(id_, body))
        ],
    }


def _template(id_: str, body: Any) -> dict[str, Any]:
    try:
        template = template_of(bytes(body))
    except msgspec.DecodeError:  # kept by another version of the extractor
        return {}
    return {"id": id_, "text": template.text, "loudness": LOUDNESS[template.loudness]}


def entities() -> Mapping[str, Any]:
    """The metrics of the first entities: newest and usual values, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(ENTITIES, [SHOWN_ENTITIES])
        rows = cursor.fetchall()
    shown = []
    for key, state in rows:
        try:
            shown.append({"key": key, "metrics": _metrics(bytes(state))})
        except (msgspec.DecodeError, ValueError):  # packed by another version of the extractor
            continue
    return {"entities": shown}


def _metrics(state: bytes) -> list[dict[str, str]]:
    entity = unpack(state)
    found = []
    for name, place in list(entity.place.items())[:SHOWN_METRICS]:
        row = entity.rows[place]
        newest = float(row["kept"][-1])
        found.append(
            {
                "name": name,
                "newest": "-" if newest != newest else short(newest),
                "usual": short(float(row["mean"])),
                "spread": short(float(row["variance"]) ** 0.5),
            }
        )
    return found
