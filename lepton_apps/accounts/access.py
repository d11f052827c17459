"""Who may do what in which vertical. The only place that answers that question.

It answers for what a request came with: a user who came by a token with a scope carries that scope
(``by_token``), and may do no more than it allows, wherever further down the question is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import AnonymousUser, User

from lepton_apps.accounts.models import ApiToken, Purpose, Role, VerticalAccess
from lepton_apps.audit.services import CAME_BY
from lepton_apps.common import db
from lepton_apps.common.errors import NotFoundError, PermissionRefusedError
from lepton_apps.verticals import registry

# Weakest first: a role may do what the ones before it may.
ORDER = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
HELD = f"""
SELECT vertical FROM {VerticalAccess._meta.db_table} WHERE user_id = %s::bigint AND role = ANY(%s)
"""  # noqa: S608 - the name of our own model
ROLES = f"SELECT vertical, role FROM {VerticalAccess._meta.db_table} WHERE user_id = %s::bigint"  # noqa: S608 - as above
CAME_WITH: Final = "_came_with"  # that a request came with, on the user whom it belongs to


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token may use of its account's rights. It takes away and never adds."""

    verticals: frozenset[str] | None = None  # None: all that the account has
    role: Role | None = None  # the strongest that may be used; None: whatever the account has
    purpose: Purpose = Purpose.ANYTHING  # of any other, no right in a vertical is left

    def capped(self, roles: dict[str, Role]) -> dict[str, Role]:
        """What is left of the account's roles by vertical."""
        if self.purpose != Purpose.ANYTHING:
            return {}
        return {
            vertical: role if self.role is None else min(role, self.role, key=ORDER.index)
            for vertical, role in roles.items()
            if self.verticals is None or vertical in self.verticals
        }

    def narrowed(self, held: frozenset[str], role: Role) -> frozenset[str]:
        """What is left of the verticals where the account has at least ``role``."""
        if self.purpose != Purpose.ANYTHING:
            return frozenset()
        if self.role is not None and ORDER.index(role) > ORDER.index(self.role):
            return frozenset()
        return held if self.verticals is None else held & self.verticals


UNLIMITED: Final = Scope()


def scope_of_token(token: ApiToken) -> Scope:
    return Scope(
        None if token.verticals is None else frozenset(token.verticals),
        Role(token.role) if token.role else None,
        Purpose(token.purpose),
    )


def by_token(user: User, token: ApiToken) -> User:
    """The same user, who from now on may do no more than the token allows."""
    vars(user)[CAME_WITH] = token
    vars(user)[CAME_BY] = token.prefix
    return user


def token_of(user: User | AnonymousUser) -> ApiToken | None:
    """The token that the user's request came with; sessions and commands have none."""
    token: ApiToken | None = getattr(user, CAME_WITH, None)
    return token


def scope_of(user: User | AnonymousUser) -> Scope:
    token = token_of(user)
    return UNLIMITED if token is None else scope_of_token(token)


def _roles_from(role: Role) -> tuple[Role, ...]:
    return ORDER[ORDER.index(role) :]


def _registered() -> frozenset[str]:
    return frozenset(vertical.key for vertical in registry.verticals())


def verticals_of(user: User | AnonymousUser, role: Role = Role.VIEWER) -> frozenset[str]:
    """The registered verticals where the user has at least ``role``. At most one query."""
    return scope_of(user).narrowed(_held(user, role), role)


def _held(user: User | AnonymousUser, role: Role) -> frozenset[str]:
    """``verticals_of`` the account, whatever the request came with."""
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    if user.is_superuser:
        return _registered()
    rows = db.rows(HELD, [user.pk, [str(each) for each in _roles_from(role)]])
    return _registered() & frozenset(vertical for (vertical,) in rows)


def roles_of(user: User | AnonymousUser) -> dict[str, Role]:
    """The strongest role in each registered vertical where the user has one. At most one query."""
    if not user.is_authenticated or not user.is_active:
        return {}
    if user.is_superuser:
        roles = dict.fromkeys(_registered(), Role.ADMIN)
    else:
        rows = db.rows(ROLES, [user.pk])
        roles = {vertical: Role(role) for vertical, role in rows if vertical in _registered()}
    return scope_of(user).capped(roles)


def require(user: User | AnonymousUser, vertical: str, role: Role = Role.VIEWER) -> None:
    """Return when the user has at least ``role`` in ``vertical``.

    Raises:
        NotFoundError: the user has no role there; a stranger must not learn that it exists.
        PermissionRefusedError: the user has a role there, but a weaker one.
    """
    if vertical in verticals_of(user, role):
        return
    if vertical not in verticals_of(user):
        raise NotFoundError(f"No vertical named {vertical!r}.", vertical=vertical)
    limit = scope_of(user).role
    by_token = f"; this token goes no further than {limit.value!r}" if limit else ""
    raise PermissionRefusedError(
        f"This needs the role {role.value!r} in {vertical!r}{by_token}.",
        vertical=vertical,
        role=role.value,
    )


def require_federation(user: User | AnonymousUser, vertical: str) -> None:
    """Return when the user came by a token for federation in ``vertical``, and is its admin.

    It takes away and never adds, as every scope: what such a token opens, an admin answers for.

    Raises:
        NotFoundError: a stranger, or a token for the federation of another vertical.
        PermissionRefusedError: somebody of the vertical, with another credential.
    """
    scope = scope_of(user)
    if scope.purpose == Purpose.FEDERATION:
        if vertical in (scope.verticals or ()) and vertical in _held(user, Role.ADMIN):
            return
    elif vertical in verticals_of(user):
        raise PermissionRefusedError(
            f"This needs a token that was made for federation in {vertical!r}: "
            f"manage.py create_token USERNAME NAME --federation --vertical {vertical}.",
            vertical=vertical,
        )
    raise NotFoundError(f"No vertical named {vertical!r}.", vertical=vertical)


def verticals_by_user(
    users: Collection[User], role: Role = Role.VIEWER
) -> dict[int, frozenset[str]]:
    """``verticals_of`` for many active users in one query, by user id; without scopes."""
    registered = _registered()
    held: dict[int, set[str]] = {user.pk: set() for user in users if user.is_active}
    rows: Iterable[tuple[int, str]] = VerticalAccess.objects.filter(
        user_id__in=list(held), role__in=_roles_from(role)
    ).values_list("user_id", "vertical")
    for user_id, vertical in rows:
        held[user_id].add(vertical)
    for user in users:
        if user.is_active and user.is_superuser:
            held[user.pk] = set(registered)
    return {user_id: registered & verticals for user_id, verticals in held.items()}


# --- over accounts: a superuser everywhere, an admin within the verticals of that role -----------


def is_superuser(user: User | AnonymousUser) -> bool:
    """May do everything everywhere. A token with any limit is never that."""
    return user.is_active and user.is_superuser and scope_of(user) == UNLIMITED


def require_superuser(user: User) -> None:
    if not is_superuser(user):
        raise PermissionRefusedError("This needs a superuser.")


def administered(user: User) -> frozenset[str]:
    """The verticals whose people and audit the user sees. Raises PermissionRefusedError: none."""
    verticals = verticals_of(user, Role.ADMIN)
    if not verticals and not is_superuser(user):
        raise PermissionRefusedError("This needs the role 'admin' in a vertical.")
    return verticals


def knows(actor: User, person: User) -> bool:
    """Whether the actor may see this account: a superuser all, an admin the own verticals'."""
    if is_superuser(actor):
        return True
    return bool(_verticals_with_role(person) & verticals_of(actor, Role.ADMIN))


def has_charge_of(actor: User, person: User) -> bool:
    """Whether the actor may reset the person's password, or disable and enable the account.

    An admin may where nothing is to be gained: whoever signs in as the person reaches no vertical
    that the admin does not administer anyway. A role in a vertical that is not installed counts.
    """
    if is_superuser(actor):
        return True
    held = _verticals_with_role(person)
    return bool(held) and not person.is_superuser and held <= verticals_of(actor, Role.ADMIN)


def require_charge_of(actor: User, person: User) -> None:
    """Raises NotFoundError where the actor may not see the account, else PermissionRefusedError."""
    if has_charge_of(actor, person):
        return
    name = person.get_username()
    if not knows(actor, person):
        raise NotFoundError(f"No account named {name!r}.", username=name)
    raise PermissionRefusedError(
        f"{name!r} has rights beyond the verticals that you administer; a superuser can do this.",
        username=name,
    )


def _verticals_with_role(person: User) -> frozenset[str]:
    rows = VerticalAccess.objects.filter(user_id=person.pk).values_list("vertical", flat=True)
    return frozenset(rows)
