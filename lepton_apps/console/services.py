"""Everything the console writes by itself: saved views, and failed sign-ins, which are slowed.

Failures are counted for ten minutes: of one name from one address, of one name from everywhere,
and of one address with every name. Whoever makes them shuts out only browsers that are new: one
in which somebody has signed in is known for that name, and its attempts count by themselves. So
nobody can lock an operator out of a night shift, nor everybody who shares a proxy's address. The
name need not be that of an account: strange names are slowed as well.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.contrib.auth.models import User

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError, NotFoundError, PermissionRefusedError
from lepton_apps.console.models import SavedView, SignInFailure

MAX_FAILURES: Final = 10  # of one name from one address, or in one known browser
MAX_FAILURES_OF_NAME: Final = 100
MAX_FAILURES_OF_ADDRESS: Final = 100
WINDOW: Final = timedelta(minutes=10)
MAX_VIEWS: Final = 30  # of one person; more are no tabs any more
KNOWN_BROWSER: Final = "browser:"  # starts what a known browser counts under, not an address


class SavedViewRefusedError(LeptonError):
    """A view without a name, with too long a one, or one too many."""

    code = "saved_view_refused"


def save_view(owner: User, name: str, query: str, vertical: str = "") -> SavedView:
    """Keep filters under a name; the same name of the same person is overwritten.

    ``query`` is a query string that the list has understood. With a ``vertical`` everybody who
    may see that vertical sees the view.

    Raises:
        SavedViewRefusedError: the name cannot be one, or the person has too many views.
        NotFoundError, PermissionRefusedError: the person may not act in that vertical.
    """
    name = " ".join(name.replace("\0", "").split())
    if not 1 <= len(name) <= 60:
        raise SavedViewRefusedError("A view's name has 1 to 60 characters.", name=name[:80])
    if vertical:
        access.require(owner, vertical, Role.OPERATOR)
    others = SavedView.objects.filter(owner=owner).exclude(name=name).count()
    if others >= MAX_VIEWS:
        raise SavedViewRefusedError(f"You have {others} views already; delete one first.")
    view, _ = SavedView.objects.update_or_create(
        owner=owner,
        name=name,
        defaults={"query": query, "vertical": vertical, "made_at": clock.now()},
    )
    return view


def delete_view(view_id: int, actor: User) -> None:
    """Forget a view: its owner may, and for a shared one an admin of its vertical.

    Raises:
        NotFoundError: there is none that the person can see.
        PermissionRefusedError: it is somebody else's.
    """
    view = SavedView.objects.filter(pk=view_id).first()
    if view is None:
        raise NotFoundError(f"There is no view {view_id}.")
    if view.owner_id != actor.pk:
        if view.vertical not in access.verticals_of(actor):
            raise NotFoundError(f"There is no view {view_id}.")
        if view.vertical not in access.verticals_of(actor, Role.ADMIN):
            raise PermissionRefusedError("Only its owner or an admin may delete a shared view.")
    SavedView.objects.filter(pk=view.pk).delete()


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
