"""The Apache Kafka that some tests need, where this machine has one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import pytest

_named = os.environ.get("LEPTON_TEST_KAFKA_HOME")
KAFKA_HOME: Final = Path(_named) if _named else None

needs_kafka = pytest.mark.skipif(
    KAFKA_HOME is None or shutil.which("java") is None,
    reason="Apache Kafka is absent: set LEPTON_TEST_KAFKA_HOME and put Java on PATH",
)
