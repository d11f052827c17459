"""A pytest plugin, loaded before the settings: the servers that the whole run uses.

Where DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS are set, those servers are used; else a real
PostgreSQL and a real broker of our own are started and go with the run.
"""

from __future__ import annotations

import atexit
import os
import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path

from lepton_apps.embedded.testing import temporary_broker, temporary_postgres

_servers = ExitStack()
atexit.register(_servers.close)

if not os.environ.get("DATABASE_URL"):
    os.environ["DATABASE_URL"] = _servers.enter_context(temporary_postgres()).url
if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
    broker = _servers.enter_context(temporary_broker())
    os.environ["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
    os.environ["KAFKA_EMBEDDED"] = "true"
os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(32))
os.environ.setdefault(
    "LEPTON_DATA_DIR", _servers.enter_context(tempfile.TemporaryDirectory(prefix="lepton-data-"))
)
(Path(os.environ["LEPTON_DATA_DIR"]) / "static").mkdir(exist_ok=True)
# Quick in tests: nothing here changes what is done, only how long it waits.
os.environ.setdefault("WORKER_SESSION_TIMEOUT_MS", "6000")
os.environ.setdefault("WORKER_MODEL_CHECK_S", "0.05")
os.environ.setdefault("LOG_LEVEL", "WARNING")
