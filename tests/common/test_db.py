from __future__ import annotations

import psycopg
import pytest
from django.db import close_old_connections, connection

from lepton_apps.common import clock, db

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_request_gets_a_new_connection_when_the_server_ended_the_old_one() -> None:
    before = db.raw_connection().info.backend_pid
    assert connection.is_usable()
    with psycopg.connect(
        db.raw_connection().info.dsn, password=db.raw_connection().info.password, autocommit=True
    ) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [before])
    clock.sleep(0.05)
    assert not connection.is_usable()

    close_old_connections()  # what Django does at the start of a request

    assert db.rows("SELECT 1", []) == [(1,)]
    assert db.raw_connection().info.backend_pid != before
