"""Every metric of the server, declared once. Each is listed in docs/metrics.md.

Names are ``lepton_<what>_<unit>``, base units, ``_total`` for counters. An entity is never a label.
"""

from __future__ import annotations

import logging

from prometheus_client import Counter, Gauge, Histogram, start_http_server

log = logging.getLogger(__name__)

SHORT_S = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
)

RECORDS = Counter(
    "lepton_records",
    "Records taken from a topic or over REST, by what became of them.",
    ["stream", "result"],  # decided, repeated, rejected, labelled
)
BATCH_SECONDS = Histogram(
    "lepton_batch_duration_seconds",
    "Time of a batch, by step.",
    ["stream", "step"],  # poll, decode, load, extract, score, decide, shadow, explain, save, whole
    buckets=SHORT_S,
)
BATCH_RECORDS = Histogram(
    "lepton_batch_size_records",
    "Records in a batch.",
    ["stream"],
    buckets=(1, 4, 16, 64, 256, 1024, 4096),
)
BATCH_REDONE = Counter(
    "lepton_batches_redone",
    "Batches taken again because another writer was faster, or by record to find a culprit.",
    ["stream", "why"],  # conflict, isolate
)
FEATURE_PSI = Gauge(
    "lepton_feature_drift_psi",
    "Population stability index of the feature that moved furthest, at the last review.",
    ["stream"],
)
SCORE_PSI = Gauge(
    "lepton_score_drift_psi",
    "Population stability index of the scores, at the last review.",
    ["stream"],
)
SHADOW_ROWS = Counter(
    "lepton_shadow_rows",
    "Rows that a challenger decided in shadow.",
    ["stream"],
)
SHADOW_FAILURES = Counter(
    "lepton_shadow_failures",
    "Batches that a challenger could not decide in shadow; the champion's decisions went on.",
    ["stream"],
)
LAG_RECORDS = Gauge(
    "lepton_consumer_lag_records",
    "Records waiting in a partition.",
    ["stream", "partition"],
)
RECORD_AGE_SECONDS = Gauge(
    "lepton_record_age_seconds",
    "Age of the newest record of the last batch when its decision was durable.",
    ["stream"],
)
SOURCE_STALLED = Gauge(
    "lepton_source_stalled",
    "1 while a partition has records but reading it returns none.",
    ["stream", "partition"],
)
RECORDS_LOST = Counter(
    "lepton_records_lost",
    "Records that a broker lost before they were read, by how.",
    ["stream", "kind"],  # retention, recreated, truncated
)
ALERTS_OPENED = Counter("lepton_alerts_opened", "Alerts opened.", ["vertical", "severity"])
ALERTS_FOLDED = Counter("lepton_alerts_folded", "Records folded into an alert.", ["vertical"])
DEAD_LETTERS = Counter("lepton_dead_letters", "Records set aside.", ["stream", "reason"])
HALTED = Gauge("lepton_stream_halted", "1 while a stream waits for `resume`.", ["stream"])
MODEL_INFO = Gauge(
    "lepton_model_version_info",
    "1 for the version this process serves.",
    ["model", "version", "role"],
)
MODEL_CHUNK = Gauge(
    "lepton_model_chunk_rows",
    "Rows that the served model's engine takes at a time on this host.",
    ["model", "role"],
)
MODEL_RELOADS = Counter(
    "lepton_model_reloads", "Model versions loaded, by result.", ["model", "result"]
)
SCORE_THRESHOLD = Gauge(
    "lepton_score_threshold",
    "The score from which on this process acts, by the policy's name.",
    ["stream", "name"],
)
BUDGET_PER_DAY = Gauge(
    "lepton_alert_budget_per_day", "What the alert budget of a stream allows a day.", ["stream"]
)
ACHIEVED_PER_DAY = Gauge(
    "lepton_alerts_achieved_per_day",
    "What came in the last 24 hours, in the unit of the budget; alerts without one.",
    ["stream"],
)
LABELS_APPLIED = Counter("lepton_labels_applied", "Labels that reached the state.", ["stream"])
FEED_EVENTS = Counter("lepton_feed_events_delivered", "Event frames queued to sockets.", [])
FEED_SOCKETS = Gauge("lepton_feed_sockets", "Open sockets of the live feed.", ["vertical"])
FEED_CLOSED = Counter(
    "lepton_feed_sockets_closed",
    "Sockets the server closed, by why.",
    ["why"],  # slow, signed_out, refused, unavailable
)
HTTP_SECONDS = Histogram(
    "lepton_http_request_duration_seconds",
    "Time of an HTTP request, by route and status.",
    ["method", "route", "status"],
    buckets=SHORT_S,
)


def serve_metrics(address: str, port: int) -> int | None:
    """Serve this process's metrics on ``address:port``; port 0 means none. Returns the port."""
    if port == 0:
        return None
    start_http_server(port, addr=address)
    log.info("metrics served", extra={"address": address, "port": port})
    return port
