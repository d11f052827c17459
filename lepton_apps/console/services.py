"""Everything the console writes by itself: failed sign-ins, so that guessing is slow.

Failures are counted for ten minutes: of one name from one address, of one name from everywhere,
and of one address with every name. Whoever makes them shuts out only browsers that are new: one
in which somebody has signed in is known for that name, and its attempts count by themselves. So
nobody can lock an operator out of a night shift, nor everybody who shares a proxy's address. The
name need not be that of an account: strange names are slowed as well.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from lepton_apps.common import clock
from lepton_apps.console.models import SignInFailure

MAX_FAILURES: Final = 10  # of one name from one address, or in one known browser
MAX_FAILURES_OF_NAME: Final = 100
MAX_FAILURES_OF_ADDRESS: Final = 100
WINDOW: Final = timedelta(minutes=10)
KNOWN_BROWSER: Final = "browser:"  # starts what a known browser counts under, not an address


def note_sign_in_failure(username: str, address: str) -> None:
    """Count a refused attempt, and forget those that no longer count."""
    now = clock.now()
    SignInFailure.objects.filter(at__lt=now - WINDOW).delete()
    SignInFailure.objects.create(username=_name(username), address=address[:64], at=now)


def forget_sign_in_failures(username: str, address: str) -> None:
    """The right password ends the count of its name from there, and no other."""
    SignInFailure.objects.filter(username=_name(username), address=address[:64]).delete()


def sign_in_wait(username: str, address: str) -> timedelta:
    """How long this name from this address must wait; zero: it may try."""
    now = clock.now()
    name, address = _name(username), address[:64]
    wait = _wait(now, MAX_FAILURES, username=name, address=address)
    if not address.startswith(KNOWN_BROWSER):
        wait = max(
            wait,
            _wait(now, MAX_FAILURES_OF_NAME, username=name),
            _wait(now, MAX_FAILURES_OF_ADDRESS, address=address),
        )
    return wait


def _wait(now: datetime, allowed: int, **of: str) -> timedelta:
    """Until fewer than ``allowed`` failures are left within the window."""
    newest = SignInFailure.objects.filter(**of, at__gte=now - WINDOW).order_by("-at")
    moments = list(newest.values_list("at", flat=True)[allowed - 1 : allowed])
    return moments[0] + WINDOW - now if moments else timedelta(0)


def _name(username: str) -> str:
    return username.strip().replace("\0", "").casefold()[:150]
