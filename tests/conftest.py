"""People, topics and models that tests share. The servers are started by ``tests.servers``."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection

from lepton_apps.accounts.models import Role, VerticalAccess
from lepton_apps.model_registry.models import ModelVersion
from tests.champions import PAYMENTS, install, payments_model

# Files of few tests that take long. They go first, or the run would end with one process at work.
LONGEST = (
    "tests/chaos/",
    "tests/streaming/test_brokers.py",
    "tests/docs/test_first_vertical.py",
    "tests/models_core/test_tuning.py",
    "tests/ops/test_on_the_server.py",
    "tests/permissions/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; tests of one file stay as they are."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


# Tables that Django does not manage, and so does not empty between tests.
SPINE_TABLES = (
    "decision", "record_key", "entity_state", "secondary_state", "dead_letter", "feed_event",
)  # fmt: skip


@pytest.fixture(autouse=True)
def empty_spine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test that has a database starts with empty tables of the spine."""
    if request.node.get_closest_marker("django_db") is None:
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(SPINE_TABLES)}")


@pytest.fixture
def person(transactional_db: None) -> Callable[..., User]:
    """Makes people: ``person("ann", fintech=Role.OPERATOR)``."""

    def make(username: str, *, superuser: bool = False, **roles: Role) -> User:
        user = User.objects.create_user(username, password="correct horse battery")
        user.is_superuser = superuser
        user.save()
        for vertical, role in roles.items():
            VerticalAccess.objects.create(user=user, vertical=vertical, role=role)
        return user

    return make


@pytest.fixture
def operator(person: Callable[..., User]) -> User:
    return person("olga", fintech=Role.OPERATOR)


@pytest.fixture
def viewer(person: Callable[..., User]) -> User:
    return person("vera", fintech=Role.VIEWER)


@pytest.fixture
def other_operator(person: Callable[..., User]) -> User:
    """An operator of the other vertical, to whom fintech does not exist."""
    return person("walt", weather=Role.OPERATOR)


@pytest.fixture
def admin(person: Callable[..., User]) -> User:
    return person("ada", superuser=True)


@pytest.fixture
def stranger(person: Callable[..., User]) -> User:
    return person("stan")


@pytest.fixture
def consumer_group(settings: object) -> str:
    """A consumer group of this test's own, so that no dead member of another one is waited for."""
    group = f"test-{uuid.uuid4().hex[:8]}"
    settings.KAFKA_GROUP = group  # type: ignore[attr-defined]
    return group


@pytest.fixture
def champion(transactional_db: None) -> ModelVersion:
    """The payments model of the tests, as champion."""
    return install(PAYMENTS, payments_model())
