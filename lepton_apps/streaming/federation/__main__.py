"""``python -m lepton_apps.streaming.federation``: one update, asked for by a web process.

Standard input has an ``Errand``, standard output gets the masked update or a ``Refusal``.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import django
import msgspec

NICE: Final = 10  # decisions of this machine go first


def main() -> int:
    """The exit status."""
    os.nice(NICE)
    django.setup()
    # Here and not above: Django's models need its set-up.
    from django.contrib.auth.models import User

    from lepton_apps.audit.services import CAME_BY
    from lepton_apps.common.errors import LeptonError
    from lepton_apps.streaming.federation import limits, selectors, training
    from lepton_apps.streaming.federation.starting import REFUSED, Errand, Refusal

    errand = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Errand)
    user = User.objects.get(pk=errand.user_id)
    vars(user)[CAME_BY] = errand.token
    try:
        asked = limits.asked_of(errand.body)
        update = training.answer(selectors.stream_named(errand.stream), user, asked)
    except LeptonError as exc:
        refusal = Refusal(exc.code, exc.detail, exc.data)
        sys.stdout.buffer.write(msgspec.msgpack.encode(refusal))
        return REFUSED
    sys.stdout.buffer.write(update)
    return 0


if __name__ == "__main__":
    sys.exit(main())
