"""What the console shows of this vertical beside its alerts and streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection

NEWEST_KINDS = """
SELECT convert_from(body, 'UTF8') AS kind, learned_at FROM knowledge
WHERE stream = 'weather.readings' ORDER BY learned_at DESC, id LIMIT 20
"""


def station_kinds() -> Mapping[str, Any]:
    """The newest kinds of stations, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(NEWEST_KINDS)
        return {"kinds": [{"name": name, "since": since} for name, since in cursor.fetchall()]}
