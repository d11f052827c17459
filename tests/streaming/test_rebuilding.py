"""States made anew equal those that the worker left."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lepton_apps.alerts.models import Label
from lepton_apps.alerts.services import GivenLabel, record_labels
from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.labels import apply_labels
from lepton_apps.streaming.loading import StateSchemaError
from lepton_apps.streaming.models import EntityState, SecondaryState, WorkerHeartbeat
from lepton_apps.streaming.rebuilding import StreamInUseError, rebuild_states
from tests.champions import PAYMENTS, payment
from tests.streaming.sources import log
from tests.streaming.test_worker import STREAM, drain, make_worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]


def states() -> dict[tuple[str, int | None], bytes]:
    found: dict[tuple[str, int | None], bytes] = {
        (row.entity_key, None): bytes(row.state) for row in EntityState.objects.all()
    }
    return found | {
        (row.entity_key, row.shard): bytes(row.state) for row in SecondaryState.objects.all()
    }


def test_states_made_anew_equal_those_the_worker_left() -> None:
    drain(make_worker(log([payment(n) for n in range(50)]), batch_size=7))
    at = datetime(2026, 3, 2, tzinfo=UTC)
    record_labels(
        [GivenLabel(STREAM, "p3", True, "chargeback", at)], source=Label.Source.REST, by=None
    )
    apply_labels(raw_connection(), PAYMENTS)
    before = states()
    EntityState.objects.update(schema="of an older one")

    with pytest.raises(StateSchemaError, match="rebuild_states fintech"):
        drain(make_worker(log([payment(n) for n in range(60)])))
    with pytest.raises(StreamInUseError, match="Stop them first"):
        rebuild_states(raw_connection(), PAYMENTS, lambda done, total: None)
    WorkerHeartbeat.objects.update(condition="stopped")
    assert rebuild_states(raw_connection(), PAYMENTS, lambda done, total: None) == 50

    assert states() == before
    assert len(before) > 10
