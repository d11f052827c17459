from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.realtime.conftest import database_url, session_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db(transaction=True)
def test_the_server_says_where_it_answers_and_closes_sockets_for_a_restart(operator: User) -> None:
    session = session_of(operator)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "web", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DATABASE_URL": database_url(), "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Lepton answers at http://127.0.0.1:")
        address = line.split()[-1]
        with connect(
            f"{address.replace('http', 'ws')}/ws/alerts/?vertical=fintech",
            additional_headers={"Cookie": f"sessionid={session}"},
            origin=Origin(address),
        ) as feed:
            assert "feed.hello" in str(feed.recv(timeout=10))
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as caught:
                feed.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(CommandError, match=r"--port 70000 is not between 0 and 65535\."):
        call_command("web", "--port", "70000")
    with pytest.raises(CommandError, match=r"--metrics-port -1 is not between 0 and 65535\."):
        call_command("web", "--metrics-port", "-1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"--port {port}: Address already in use\."):
            call_command("web", "--port", str(port))
