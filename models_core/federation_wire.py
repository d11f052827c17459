"""What a coordinator sends to a site: msgpack of a fixed shape, with safetensors inside.

Read by every server of a site, whatever its HTTP is. Nothing that comes in is executed.
"""

from __future__ import annotations

import json
from typing import Final, TypeVar

import msgspec

from models_core.federation import MAX_BYTES, FederationError, Round

JOIN, UPDATE = "/join", "/update"  # after the address of a site
MEDIA_TYPE: Final = "application/msgpack"
JOIN_BYTES: Final = 2**20  # of a body, at most; of an update as many as of an answer
Message = TypeVar("Message")
LIMITS: Final = {JOIN: JOIN_BYTES, UPDATE: MAX_BYTES}


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request to update."""

    round: Round
    keys: dict[str, bytes]
    weights: bytes  # safetensors


def join_body(round_: Round) -> bytes:
    return msgspec.msgpack.encode(round_)


def update_body(round_: Round, keys: dict[str, bytes], weights: bytes) -> bytes:
    return msgspec.msgpack.encode(Asked(round_, keys, weights))


def joining(body: bytes) -> Round:
    """The round of a body. Raises ``FederationError`` for anything else."""
    return _sound(_decoded(body, Round))


def updating(body: bytes) -> Asked:
    """What a body asks. Raises ``FederationError`` for anything else."""
    asked = _decoded(body, Asked)
    _sound(asked.round)
    return asked


def reason_of(answer: bytes) -> str:
    """Why a site refused: the sentence of a JSON error, or the text as it came."""
    text = answer.decode("utf-8", "replace").strip()
    try:
        said = json.loads(text)
    except ValueError:
        return text
    return str(said.get("detail", text)) if isinstance(said, dict) else text


def _decoded(body: bytes, kind: type[Message]) -> Message:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FederationError(
            f"The body is no {kind.__name__.lower()} of msgpack: {error}."
        ) from error


def _sound(round_: Round) -> Round:
    round_.require_sound()
    return round_
