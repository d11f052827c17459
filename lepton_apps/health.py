"""Whether this web process lives, and whether it may get traffic."""

from __future__ import annotations

from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

_is_migrated = False  # once true it stays true while this process runs


def healthz(request: HttpRequest) -> JsonResponse:
    """The process is alive. The server itself answers this before Django (asgi.py)."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database answers, is migrated, and the feed listens; else 503 and what is not."""
    feed = request.META.get("lepton.feed")
    checks = {"database": True, "migrations": False, "listener": bool(feed and feed.is_listening)}
    try:
        checks["migrations"] = _database_is_migrated()
    except DatabaseError:
        checks["database"] = False
    is_ready = all(checks.values())
    status = "ok" if is_ready else "not_ready"
    answer = JsonResponse({"status": status, "checks": checks}, status=200 if is_ready else 503)
    answer["Cache-Control"] = "no-store"
    # Not ready yet is what a probe asks about, not an error: Django would log it as one.
    answer._has_been_logged = True  # type: ignore[attr-defined]
    return answer


def _database_is_migrated() -> bool:
    """Raises django.db.Error where the database does not answer."""
    global _is_migrated
    if _is_migrated:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return True
    executor = MigrationExecutor(connection)
    _is_migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _is_migrated
