"""Payloads that every part of the host is tried out with."""

from __future__ import annotations

from typing import Final

LOGS: Final[tuple[bytes, ...]] = (
    b'{"time": "2024-05-01T09:30:00.250Z", "level": "INFO", "service": "checkout",'
    b' "host": "node-2", "trace": "4f2a", "session": "checkout@node-2",'
    b' "message": "order 4fd1 confirmed in 12 ms"}',
    # Other names of the fields; an offset; a field that we do not know.
    b'{"@timestamp": "2024-05-01T13:02:11+02:00", "severity": "ERROR", "service": "payments",'
    b' "session": "payments@node-3", "msg": "upstream 10.0.0.7 failed after 3 tries",'
    b' "kubernetes": {"pod": "payments-7d9"}}',
    # The least that is needed, long ago; colours and quotes inside.
    b'{"timestamp": "2008-11-09T20:35:30Z", "session": "blk_4394112519745907149",'
    b' "log": "\\u001b[31mreceiving\\u001b[0m block=\\"blk 1\\" src=/10.250.18.114:43996"}',
)

METRICS: Final[tuple[bytes, ...]] = (
    b'{"entity": "checkout@node-2", "time": "2024-05-01T09:30:00Z",'
    b' "values": {"cpu_percent": 31.5, "memory_mb": 812, "requests_total": 120934}}',
    b'{"entity": "checkout@node-2", "time": "2024-05-01T09:31:00+00:00",'
    b' "values": {"cpu_percent": 33.25, "memory_mb": null, "requests_total": 121410},'
    b' "unit": "mixed"}',
    b'{"entity": "inventory@node-4", "time": "2024-05-01T09:31:20Z", "metric": "gc_ms",'
    b' "value": 12.75}',
)

LABELS: Final[tuple[bytes, ...]] = (
    b'{"record_id": "7f0b7c52-5f0c-4d0c-9c39-6a3b8d1c2e4f:0:17", "verdict": "fault",'
    b' "labelled_at": "2024-05-02T10:00:00Z"}',
    b'{"record_id": "7f0b7c52-5f0c-4d0c-9c39-6a3b8d1c2e4f:0:18", "verdict": "harmless",'
    b' "kind": "post-mortem", "labelled_at": "2024-05-03T08:15:00+02:00"}',
)
