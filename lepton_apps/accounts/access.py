"""Who may do what in which vertical. The only place that answers that question."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from django.contrib.auth.models import AnonymousUser, User

from lepton_apps.accounts.models import Role, VerticalAccess
from lepton_apps.common import db
from lepton_apps.common.errors import NotFoundError, PermissionRefusedError
from lepton_apps.verticals import registry

# Weakest first: a role may do what the ones before it may.
ORDER = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
HELD = f"""
SELECT vertical FROM {VerticalAccess._meta.db_table} WHERE user_id = %s::bigint AND role = ANY(%s)
"""  # noqa: S608 - the name of our own model


def _roles_from(role: Role) -> tuple[Role, ...]:
    return ORDER[ORDER.index(role) :]


def _registered() -> frozenset[str]:
    return frozenset(vertical.key for vertical in registry.verticals())


def verticals_of(user: User | AnonymousUser, role: Role = Role.VIEWER) -> frozenset[str]:
    """The registered verticals where the user has at least ``role``. At most one query."""
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    if user.is_superuser:
        return _registered()
    held = db.rows(HELD, [user.pk, [str(each) for each in _roles_from(role)]])
    return _registered() & frozenset(vertical for (vertical,) in held)


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
    raise PermissionRefusedError(
        f"This needs the role {role.value!r} in {vertical!r}.", vertical=vertical, role=role.value
    )


def verticals_by_user(
    users: Collection[User], role: Role = Role.VIEWER
) -> dict[int, frozenset[str]]:
    """``verticals_of`` for many active users in one query, by user id."""
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
