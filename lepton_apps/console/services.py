"""Everything the console writes by itself: failed sign-ins, so that guessing is slow.

Ten failures of one name from one address within ten minutes close that pair until the oldest is
ten minutes old. The name is no part of an account, so that strange names are slowed as well, and
another address is not shut out: nobody can lock an operator out of a night shift.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from lepton_apps.common import clock
from lepton_apps.console.models import SignInFailure

MAX_FAILURES: Final = 10
WINDOW: Final = timedelta(minutes=10)


def note_sign_in_failure(username: str, address: str) -> None:
    """Count a refused attempt, and forget those that no longer count."""
    now = clock.now()
    SignInFailure.objects.filter(at__lt=now - WINDOW).delete()
    SignInFailure.objects.create(username=_name(username), address=address[:64], at=now)


def forget_sign_in_failures(username: str, address: str) -> None:
    """The right password ends the count."""
    SignInFailure.objects.filter(username=_name(username), address=address[:64]).delete()


def sign_in_wait(username: str, address: str) -> timedelta:
    """How long this name from this address must wait; zero: it may try."""
    now = clock.now()
    moments = list(
        SignInFailure.objects.filter(
            username=_name(username), address=address[:64], at__gte=now - WINDOW
        )
        .order_by("-at")
        .values_list("at", flat=True)[:MAX_FAILURES]
    )
    if len(moments) < MAX_FAILURES:
        return timedelta(0)
    return moments[-1] + WINDOW - now


def _name(username: str) -> str:
    return username.strip().replace("\0", "").casefold()[:150]
