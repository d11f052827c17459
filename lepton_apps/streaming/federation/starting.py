"""An update as a process of its own: the web process stays quick, and without torch."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Final

import msgspec
from django.conf import settings
from django.contrib.auth.models import User

from lepton_apps.accounts import access
from lepton_apps.common.errors import LeptonError, UnavailableError
from lepton_apps.streaming.federation import limits, services
from lepton_apps.streaming.federation.errors import OF_A_SITE
from lepton_apps.verticals.contract import Stream

log = logging.getLogger(__name__)

MODULE: Final = "lepton_apps.streaming.federation"
REFUSED: Final = 3  # exit status; standard output then has a ``Refusal``


class Errand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the process is told, on its standard input: no secret is an argument."""

    stream: str
    user_id: int
    token: str  # the beginning of the token, as the audit has it
    body: bytes


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why the process trained nothing."""

    code: str
    detail: str
    data: dict[str, str | int | float | None]


def update(stream: Stream, user: User, body: bytes) -> bytes:
    """The masked update of this site, which may take minutes; what is surely refused, at once.

    Raises:
        LeptonError: see ``training.answer``.
        UnavailableError: the process could not be started, died, or took too long.
    """
    asked = limits.asked_of(body)
    consent = limits.require_allowed(stream)
    limits.require_within(asked.round, consent, stream)
    limits.require_modest(asked.weights, consent)
    services.site_name(services.waiting(stream, asked.round, user), asked.keys)
    token = access.token_of(user)
    errand = Errand(stream.name, user.pk, token.prefix if token else "", body)
    return _run(asked.round.name, msgspec.msgpack.encode(errand))


def _run(name: str, errand: bytes) -> bytes:
    limit_s = settings.FEDERATION_ROUND_S
    try:
        done = subprocess.run(  # noqa: S603 - our own module, without arguments
            [sys.executable, "-m", MODULE],
            cwd=settings.BASE_DIR,
            input=errand,
            stdout=subprocess.PIPE,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"{name} took longer than the {limit_s:g} s of FEDERATION_ROUND_S. Take fewer steps."
        ) from None
    except OSError as exc:
        raise UnavailableError(f"The process of {name} could not be started: {exc}.") from exc
    if done.returncode == REFUSED:
        raise _error_of(done.stdout)
    if done.returncode:
        log.error("federation: a round died", extra={"round": name, "status": done.returncode})
        raise UnavailableError(
            f"The process of {name} ended with {done.returncode}; this site's log says why."
        )
    return done.stdout


def _error_of(said: bytes) -> LeptonError:
    refusal = msgspec.msgpack.decode(said, type=Refusal)
    kinds = {kind.code: kind for kind in OF_A_SITE}
    return kinds.get(refusal.code, UnavailableError)(refusal.detail, **refusal.data)
