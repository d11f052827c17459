"""The only module that reads the environment. Every variable is listed in docs/settings.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from lepton_apps.common.env import (
    EnvError,
    env_bool,
    env_choice,
    env_float,
    env_int,
    env_list,
    env_packages,
    env_path,
    env_secret,
    env_str,
    noting,
)

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"

# --- where data lives, and the servers that `make run` started -------------------------------

LEPTON_DATA_DIR = env_path("LEPTON_DATA_DIR", BASE_DIR / ".lepton") or BASE_DIR / ".lepton"


def _runtime() -> dict[str, Any]:
    """What a running `make run` wrote down, so that a command beside it finds its servers."""
    file = LEPTON_DATA_DIR / "runtime.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except ValueError:
        raise EnvError(f"{file} is not JSON; remove it and start `make run` again.") from None
    return facts if isinstance(facts, dict) else {}


RUNTIME: dict[str, Any] = noting(_runtime, {})


def database(url: str) -> dict[str, Any]:
    """Django's database settings of ``postgresql://user:password@host:port/name?option=value``."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise EnvError(f"DATABASE_URL starts with {parts.scheme}://; it must be postgresql://.")
    if not parts.path.strip("/"):
        raise EnvError("DATABASE_URL names no database: postgresql://user:password@host/name.")
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    # A process that is paused inside a transaction must not hold its locks for ever.
    options.setdefault("options", f"-c idle_in_transaction_session_timeout={TRANSACTION_LIMIT_MS}")
    options.setdefault("application_name", "lepton")
    return {
        "ENGINE": "lepton_apps.common.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or 5432),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


TRANSACTION_LIMIT_MS = env_int("TRANSACTION_LIMIT_MS", 5_000, minimum=100)  # milliseconds
DATABASE_URL = env_secret("DATABASE_URL") or RUNTIME.get("DATABASE_URL")
# LISTEN needs a direct connection: where a pooler stands in front, name the server itself here.
LISTEN_DATABASE_URL = env_secret("LISTEN_DATABASE_URL") or DATABASE_URL
DATABASES: dict[str, dict[str, Any]] = noting(
    lambda: {"default": database(DATABASE_URL)} if DATABASE_URL else {}, {}
)

# --- Kafka -----------------------------------------------------------------------------------

KAFKA_BOOTSTRAP_SERVERS = env_list("KAFKA_BOOTSTRAP_SERVERS") or [
    server for server in str(RUNTIME.get("KAFKA_BOOTSTRAP_SERVERS", "")).split(",") if server
]
# The embedded, memory-only broker answers some questions differently; see docs/operations.md.
KAFKA_EMBEDDED = env_bool("KAFKA_EMBEDDED", bool(RUNTIME.get("KAFKA_EMBEDDED", False)))
KAFKA_SECURITY_PROTOCOL = env_choice(
    "KAFKA_SECURITY_PROTOCOL",
    "PLAINTEXT",
    ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
)
KAFKA_SASL_MECHANISM = env_choice(
    "KAFKA_SASL_MECHANISM", "PLAIN", ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
)
KAFKA_SASL_USERNAME = env_str("KAFKA_SASL_USERNAME", "")
KAFKA_SASL_PASSWORD = env_secret("KAFKA_SASL_PASSWORD") or ""
KAFKA_SSL_CAFILE = env_path("KAFKA_SSL_CAFILE")
KAFKA_REPLICATION_FACTOR = env_int("KAFKA_REPLICATION_FACTOR", 1, minimum=1)  # of topics we make
KAFKA_GROUP = env_str("KAFKA_GROUP", "lepton")

# --- workers ---------------------------------------------------------------------------------
# A batch closes when it is full, or when a poll has returned what was there.
WORKER_BATCH_SIZE = env_int("WORKER_BATCH_SIZE", 2_000, minimum=1, maximum=50_000)  # records
WORKER_FETCH_WAIT_MS = env_int("WORKER_FETCH_WAIT_MS", 100 if KAFKA_EMBEDDED else 500, minimum=1)
WORKER_FETCH_BYTES = env_int("WORKER_FETCH_BYTES", 262_144, minimum=4_096)  # each partition
WORKER_SESSION_TIMEOUT_MS = env_int("WORKER_SESSION_TIMEOUT_MS", 10_000, minimum=1_000)
WORKER_HEARTBEAT_S = env_float("WORKER_HEARTBEAT_S", 2.0, minimum=0.1, maximum=60)  # of its row
WORKER_STATE_CACHE = env_int("WORKER_STATE_CACHE", 100_000, minimum=0)  # entities in memory
WORKER_IDLE_TICK_S = env_float("WORKER_IDLE_TICK_S", 30.0, minimum=0.1, maximum=86_400)
WORKER_MODEL_CHECK_S = env_float("WORKER_MODEL_CHECK_S", 1.0, minimum=0.05, maximum=60)
SHADOW_SHARE = env_float("SHADOW_SHARE", 1.0, minimum=0.0, maximum=1.0)
DRIFT_REVIEW_S = env_float("DRIFT_REVIEW_S", 900.0, minimum=0.0, maximum=86_400)
DRIFT_WINDOW_HOURS = env_float("DRIFT_WINDOW_HOURS", 24.0, minimum=21.0, maximum=720.0)
BUDGET_REVIEW_S = env_float("BUDGET_REVIEW_S", 900.0, minimum=1.0, maximum=86_400)
# A stream halts instead of draining a topic into dead letters.
DEAD_LETTER_RATIO = env_float("DEAD_LETTER_RATIO", 0.5, minimum=0.0, maximum=1.0)
DEAD_LETTER_WINDOW = env_int("DEAD_LETTER_WINDOW", 1_000, minimum=10)  # newest records looked at
MAX_RECORD_BYTES = env_int("MAX_RECORD_BYTES", 262_144, minimum=1_024)  # bytes; larger: dead letter

# --- retention: whole days of time-partitioned tables ----------------------------------------

RETENTION_DAYS = {
    "decision": env_int("RETENTION_DECISION_DAYS", 180, minimum=1),
    "feed_event": env_int("RETENTION_FEED_DAYS", 14, minimum=1),
    "dead_letter": env_int("RETENTION_DEAD_LETTER_DAYS", 90, minimum=1),
    "replay_run": env_int("RETENTION_REPLAY_DAYS", 90, minimum=1),
    "score_tally": env_int("RETENTION_SCORE_DAYS", 90, minimum=8),  # budgets look back a week
}

# --- replay ----------------------------------------------------------------------------------

REPLAY_RUNS = env_int("REPLAY_RUNS", 2, minimum=1, maximum=64)  # at once, over all machines
REPLAY_TOPIC_RECORDS = env_int("REPLAY_TOPIC_RECORDS", 5_000_000, minimum=1)  # of one run
REPLAY_STATE_BYTES = env_int("REPLAY_STATE_BYTES", 536_870_912, minimum=1_024)  # packed, in memory

# --- federation ------------------------------------------------------------------------------

FEDERATION_ROUND_S = env_float("FEDERATION_ROUND_S", 600.0, minimum=1.0, maximum=86_400)  # of one

# --- metrics and logs ------------------------------------------------------------------------

# Of pseudonyms: NAME:SECRET,... the oldest first. Tokens change when one is taken out or moved.
PII_KEYS = env_secret("PII_KEYS") or ""
METRICS_ADDRESS = env_str("METRICS_ADDRESS", "127.0.0.1")
METRICS_PORT = env_int("METRICS_PORT", 0, minimum=0, maximum=65_535)  # 0: not served
LOG_LEVEL = env_choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_FORMAT = env_choice("LOG_FORMAT", "json", ("json", "text"))

# --- web -------------------------------------------------------------------------------------

DEBUG = env_bool("DEBUG", False)
# Web and workers on several machines must share it, or sessions and cursors of one are foreign
# to the next. `make run` makes one and keeps it in the data folder.
SECRET_KEY = env_secret("SECRET_KEY") or RUNTIME.get("SECRET_KEY") or ""
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", ("localhost", "127.0.0.1", "[::1]"))
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS")
SECURE_COOKIES = env_bool("SECURE_COOKIES", False)  # true wherever the site is behind TLS
WEB_THREADS = env_int("WEB_THREADS", 4, minimum=1, maximum=64)
DECISION_THREADS = env_int("DECISION_THREADS", 4, minimum=1, maximum=64)
MAX_BODY_BYTES = env_int("MAX_BODY_BYTES", 2_097_152, minimum=1_024)
MAX_RECORDS_PER_REQUEST = env_int("MAX_RECORDS_PER_REQUEST", 500, minimum=1)
FEED_QUEUE_FRAMES = env_int("FEED_QUEUE_FRAMES", 512, minimum=8)  # a fuller socket is closed
FEED_REPLAY_LIMIT = env_int("FEED_REPLAY_LIMIT", 5_000, minimum=1)  # events; older: snapshot
FEED_HEARTBEAT_S = env_float("FEED_HEARTBEAT_S", 15.0, minimum=0.1, maximum=300)
FEED_RECHECK_S = env_float("FEED_RECHECK_S", 2.0, minimum=0.1, maximum=5)  # rights of sockets

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "django_htmx",
    "lepton_apps.verticals",
    "lepton_apps.audit",
    "lepton_apps.accounts",
    "lepton_apps.realtime",
    "lepton_apps.alerts",
    "lepton_apps.model_registry",
    "lepton_apps.streaming",
    "lepton_apps.api",
    "lepton_apps.console",
    "lepton_apps.backup",
    "lepton_apps.doctor",
    # The verticals that ship with it; those of an installation come by the setting below.
    "fintech",
    "ops",
]
LEPTON_VERTICALS = env_packages("LEPTON_VERTICALS", INSTALLED_APPS)
INSTALLED_APPS += LEPTON_VERTICALS

MIDDLEWARE = [
    # First: what the others answer by themselves carries its headers too.
    "lepton_apps.console.middleware.SecurityHeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "lepton_apps.api.middleware.MeasureMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "lepton_apps.urls"
WSGI_APPLICATION = "lepton_apps.wsgi.application"
ASGI_APPLICATION = "lepton_apps.asgi.application"
APPEND_SLASH = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "lepton_apps.console.context.console",
            ]
        },
    }
]

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "lepton_apps.realtime.layer.FeedLayer",
        "CONFIG": {"capacity": FEED_QUEUE_FRAMES},
    }
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
     "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]  # fmt: skip
LOGIN_URL = "console:sign-in"
LOGIN_REDIRECT_URL = "console:alerts"
LOGOUT_REDIRECT_URL = "console:sign-in"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_HTTPONLY = True
# Not Strict: a link to an alert in a chat has to find its reader signed in.
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
# A browser takes a cookie of this name over TLS alone, from this very host, for all paths: no page
# of a sibling domain can put one in its place.
COOKIE_PREFIX = "__Host-" if SECURE_COOKIES else ""
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid"
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}csrftoken"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = LEPTON_DATA_DIR / "static"
STATICFILES_DIRS = [
    (name, path)
    for name, path in (
        ("uplot", BASE_DIR / "node_modules" / "uplot" / "dist"),
    )
    if path.is_dir()
]  # fmt: skip
WHITENOISE_USE_FINDERS = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "lepton_apps.api.authentication.TokenAuthentication",
        "lepton_apps.api.authentication.SignedInAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "lepton_apps.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Lepton",
    "DESCRIPTION": "Score records, decide on them, and work the alerts.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {  # two kinds of roles: of people, and of model versions
        "RoleEnum": ["viewer", "operator", "admin"],
        "ModelRoleEnum": ["champion", "challenger"],
    },
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": "lepton_apps.common.logging.JsonFormatter"},
        "text": {"()": "lepton_apps.common.logging.TextFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # The client reports each refused connection several times over; the loop says it once.
        "kafka": {"level": "CRITICAL"},
        "uvicorn.access": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        "numba": {"level": "WARNING"},
    },
}
