from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User

from lepton_apps.accounts import access, services
from lepton_apps.accounts.models import Role, VerticalAccess
from lepton_apps.common.errors import NotFoundError, PermissionRefusedError
from lepton_apps.verticals import registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann")


@pytest.mark.parametrize("held", list(Role))
def test_a_role_may_do_what_the_weaker_ones_may(ann: User, held: Role) -> None:
    services.grant(None, ann, "fintech", held)
    order = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]

    for asked in order:
        if order.index(asked) <= order.index(held):
            access.require(ann, "fintech", asked)
            assert access.verticals_of(ann, asked) == {"fintech"}
        else:
            with pytest.raises(PermissionRefusedError, match=asked.value):
                access.require(ann, "fintech", asked)
            assert access.verticals_of(ann, asked) == frozenset()


def test_a_stranger_to_a_vertical_does_not_learn_that_it_exists(ann: User) -> None:
    for vertical in ("fintech", "no-such-thing"):
        with pytest.raises(NotFoundError) as caught:
            access.require(ann, vertical, Role.VIEWER)
        assert caught.value.detail == f"No vertical named {vertical!r}."


def test_nobody_inactive_or_unknown_may_do_anything(ann: User) -> None:
    ann.is_superuser = True
    ann.is_active = False
    ann.save()
    assert access.verticals_of(ann) == frozenset()
    assert access.verticals_of(AnonymousUser()) == frozenset()
    assert access.verticals_by_user([ann]) == {}


def test_a_superuser_may_do_everything_everywhere(ann: User) -> None:
    ann.is_superuser = True
    assert access.verticals_of(ann, Role.ADMIN) == {v.key for v in registry.verticals()}


def test_a_role_in_a_vertical_that_is_gone_opens_nothing(ann: User) -> None:
    VerticalAccess.objects.create(user=ann, vertical="removed", role=Role.ADMIN)
    assert access.verticals_of(ann) == frozenset()
    assert access.verticals_by_user([ann]) == {ann.pk: frozenset()}
