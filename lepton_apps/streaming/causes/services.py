"""The one way to change what people declared to a vertical."""

from __future__ import annotations

import json
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction

from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.streaming.causes import selectors
from lepton_apps.verticals import registry
from lepton_apps.verticals.insight import DeclarationRefusedError
from lepton_apps.verticals.models import DeclaredDocument

MOST_BYTES: Final = 2_000_000  # of a document as JSON
MOST_WHY: Final = 500  # characters


def declare(
    vertical: str, name: str, body: Any, by: User | None, why: str = ""
) -> selectors.Declared:
    """From now on this document holds; the ones before are kept.

    Raises:
        DeclarationRefusedError: the vertical cannot use it; the sentence names the place.
    """
    checked = registry.declaration(vertical, name).check(body)
    why = why.replace("\0", "").strip()
    if len(why) > MOST_WHY:
        raise DeclarationRefusedError(f"A reason of {len(why)} characters; at most {MOST_WHY}.")
    size = len(json.dumps(checked.body))
    if size > MOST_BYTES:
        raise DeclarationRefusedError(
            f"{size:,} bytes are more than {MOST_BYTES:,}; leave out what is not needed."
        )
    if selectors.body_of(vertical, name) == checked.body:
        return selectors.declared(vertical, name)  # it holds already
    with transaction.atomic():
        DeclaredDocument.objects.create(
            vertical=vertical,
            name=name,
            body=checked.body,
            at=clock.now(),
            by_id=None if by is None else by.pk,
            why=why,
        )
        audit.record(
            by, "declaration.made", f"declaration:{vertical}.{name}", vertical=vertical, why=why
        )
    return selectors.declared(vertical, name)


def declare_simulated(vertical: str) -> list[str]:
    """Declare what is true of the simulated world, where nobody has declared anything."""
    made = []
    for declaration in registry.vertical(vertical).declarations:
        known = selectors.body_of(vertical, declaration.name)
        if declaration.simulated is None or known is not None:
            continue
        declare(vertical, declaration.name, declaration.simulated, None, "The simulated world.")
        made.append(declaration.name)
    return made
