"""The one way to write the audit record."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser

from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock

SERVER = "lepton"
CAME_BY: Final = "_came_by"  # on a user who came by a token: what tells that token from others


def record(
    actor: AbstractBaseUser | None,
    action: str,
    target: str,
    *,
    vertical: str = "",
    why: str = "",
    **data: Any,
) -> AuditEntry:
    """Write down an act; call it inside the transaction that does the thing. None: the server."""
    if by_token := getattr(actor, CAME_BY, ""):
        data["by_token"] = by_token
    return AuditEntry.objects.create(
        at=clock.now(),
        actor_id=None if actor is None else actor.pk,
        actor_name=SERVER if actor is None else actor.get_username(),
        action=action,
        target=target,
        vertical=vertical,
        why=why,
        data=data,
    )
