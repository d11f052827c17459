"""Champions are promoted and rolled back under load: nothing is lost, doubled or unexplained.

The short form runs in ``make test``, the long one (20 changes) by ``make chaos``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django.plugin import DjangoDbBlocker

from lepton_apps.model_registry.services import register_version
from tests.champions import PAYMENTS, payments_model
from tests.chaos.auditor import audit
from tests.chaos.stage import Stage, stage
from tests.chaos.swaps import (
    audit_replay,
    audit_versions,
    database_of,
    promote_and_roll_back,
    under_load,
)

SWAPS = [
    pytest.param(6, id="6 times"),
    pytest.param(20, id="20 times", marks=pytest.mark.chaos_long),
]


@pytest.fixture
def ground(django_db_blocker: DjangoDbBlocker) -> Iterator[Stage]:
    """A stage on whose database this process works, too."""
    with stage() as running, django_db_blocker.unblock(), database_of(running):
        yield running


@pytest.mark.timeout(600)
@pytest.mark.parametrize("swaps", SWAPS)
def test_champions_that_change_under_load_lose_and_double_nothing(
    ground: Stage, swaps: int
) -> None:
    others = [register_version(PAYMENTS, payments_model(seed), None) for seed in (2, 3)]
    ground.worker()
    with under_load(ground, rate=300):
        promote_and_roll_back(ground, swaps, others)
    audit(ground)
    audit_versions(ground)
    audit_replay(ground)
