"""Bytes of a record in a JSON answer: text where they are text, base64 where they are not."""

from __future__ import annotations

from base64 import b64encode


def payload_fields(payload: bytes | memoryview | None) -> dict[str, str | None]:
    """``{"payload", "payload_encoding"}``; text is exact, so numbers keep all their digits."""
    if payload is None:
        return {"payload": None, "payload_encoding": None}
    body = bytes(payload)
    try:
        return {"payload": body.decode("utf-8"), "payload_encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"payload": b64encode(body).decode("ascii"), "payload_encoding": "base64"}
