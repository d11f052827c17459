"""Who has charge of whose account, and that nobody can lock out the last who administers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from lepton_apps.accounts import access, selectors, services
from lepton_apps.accounts.errors import LastAdminError, OwnAccountError, UsernameRefusedError
from lepton_apps.accounts.models import Role, VerticalAccess
from lepton_apps.accounts.sessions import open_sessions
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common.errors import NotFoundError, PermissionRefusedError
from tests.realtime.conftest import session_of

pytestmark = pytest.mark.django_db(transaction=True)
Person = Callable[..., User]


@pytest.fixture
def boss(person: Person) -> User:
    """An admin of fintech and of nothing else."""
    return person("bea", fintech=Role.ADMIN)


def test_an_admin_gives_roles_in_the_own_vertical_alone(boss: User, stranger: User) -> None:
    services.grant(boss, stranger, "fintech", Role.OPERATOR)
    with pytest.raises(NotFoundError):
        services.grant(boss, stranger, "weather", Role.VIEWER)
    with pytest.raises(PermissionRefusedError):
        services.set_superuser(boss, boss, True)
    assert access.roles_of(stranger) == {"fintech": Role.OPERATOR}


def test_whoever_is_no_admin_gives_nothing(operator: User, stranger: User) -> None:
    with pytest.raises(PermissionRefusedError):
        services.grant(operator, operator, "fintech", Role.ADMIN)
    with pytest.raises(NotFoundError):
        services.grant(stranger, stranger, "fintech", Role.VIEWER)
    with pytest.raises(PermissionRefusedError):
        services.withdraw(operator, operator, "fintech")


def test_an_admin_makes_accounts_for_the_own_vertical(boss: User) -> None:
    user, _ = services.create_operator(boss, "new", {"fintech": Role.VIEWER})
    assert access.roles_of(user) == {"fintech": Role.VIEWER}
    for roles, is_superuser in (({}, False), ({"fintech": Role.VIEWER}, True)):
        with pytest.raises(PermissionRefusedError):
            services.create_operator(boss, "newer", roles, is_superuser=is_superuser)
    with pytest.raises(NotFoundError):
        services.create_operator(boss, "newer", {"weather": Role.VIEWER})
    assert not User.objects.filter(username="newer").exists()


def test_an_admin_gains_nothing_by_a_reset(boss: User, person: Person, operator: User) -> None:
    both = person("both", fintech=Role.VIEWER, weather=Role.OPERATOR)
    elsewhere = person("else", weather=Role.VIEWER)
    root = person("root", superuser=True, fintech=Role.VIEWER)
    gone = person("gone", fintech=Role.VIEWER)
    VerticalAccess.objects.create(user=gone, vertical="uninstalled", role=Role.ADMIN)

    assert services.replace_password(boss, operator)
    for other in (both, root, gone):
        with pytest.raises(PermissionRefusedError, match="a superuser can do this"):
            services.replace_password(boss, other)
    with pytest.raises(NotFoundError):
        services.set_active(boss, elsewhere, False)


def test_an_admin_sees_who_has_a_role_in_the_own_verticals(
    boss: User, person: Person, other_operator: User, stranger: User
) -> None:
    person("both", fintech=Role.VIEWER, weather=Role.OPERATOR)
    seen = {each.user.username: dict(each.roles) for each in selectors.people(boss)}
    assert seen == {"bea": {"fintech": Role.ADMIN}, "both": {"fintech": Role.VIEWER}}
    with pytest.raises(NotFoundError):
        selectors.person(boss, "walt")
    with pytest.raises(NotFoundError):
        selectors.person(boss, "bea\x00tle")
    with pytest.raises(PermissionRefusedError):
        selectors.people(other_operator)


def test_the_people_are_read_in_a_fixed_number_of_queries(
    admin: User, person: Person, django_assert_max_num_queries: Callable[..., object]
) -> None:
    for number in range(12):
        person(f"p{number}", fintech=Role.VIEWER, weather=Role.ADMIN)
    with django_assert_max_num_queries(3):  # type: ignore[attr-defined]
        assert len(selectors.people(admin)) == 13


def test_the_last_admin_of_a_vertical_stays(boss: User, person: Person) -> None:
    other = person("otto", fintech=Role.ADMIN)
    services.set_active(boss, other, False)
    for lose in (
        lambda: services.withdraw(boss, boss, "fintech"),
        lambda: services.grant(boss, boss, "fintech", Role.OPERATOR),
    ):
        with pytest.raises(LastAdminError, match="Nobody would be left to administer fintech"):
            lose()
    assert access.roles_of(boss) == {"fintech": Role.ADMIN}
    services.set_active(boss, other, True)
    services.withdraw(boss, boss, "fintech")
    assert access.roles_of(boss) == {}


def test_the_last_superuser_stays(admin: User, person: Person) -> None:
    second = person("sue", superuser=True)
    services.set_superuser(second, admin, False)
    with pytest.raises(LastAdminError, match="superusers"):
        services.set_superuser(second, second, False)
    with pytest.raises(OwnAccountError):
        services.set_active(second, second, False)
    with pytest.raises(OwnAccountError):
        services.replace_password(second, second)
    # Whoever has the shell can mend it, too.
    services.set_superuser(None, second, False)
    assert not User.objects.filter(is_superuser=True).exists()


def test_a_disabled_account_has_no_sessions_when_it_is_enabled_again(
    admin: User, operator: User, viewer: User
) -> None:
    session_of(operator), session_of(viewer)
    services.set_active(admin, operator, False)
    services.set_active(admin, operator, True)
    assert open_sessions(operator) == []
    assert len(open_sessions(viewer)) == 1
    assert [(e.action, e.target) for e in AuditEntry.objects.order_by("pk")] == [
        ("account.disabled", "user:olga"),
        ("account.enabled", "user:olga"),
    ]


def test_sessions_end_one_by_one_or_all_but_one(operator: User, viewer: User) -> None:
    kept, lost, _ = (session_of(operator) for _ in range(3))
    handle = next(each.handle for each in open_sessions(operator) if each.key == lost)
    with pytest.raises(NotFoundError):
        services.end_sessions(viewer, operator)
    assert services.end_sessions(operator, operator, handle=handle, keep_key=kept) == 1
    assert services.end_sessions(operator, operator, keep_key=kept) == 1
    assert [each.key for each in open_sessions(operator)] == [kept]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 151, "a\x00b"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(UsernameRefusedError):
        services.create_operator(None, name, {})
    assert not User.objects.exists()
