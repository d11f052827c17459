"""Errors that a person or a client may see: a stable code, an HTTP status, a sentence and data."""

from __future__ import annotations

from typing import Any, ClassVar


class LeptonError(Exception):
    """Base of errors that others can cause. ``data`` goes into the JSON answer beside the code."""

    code: ClassVar[str] = "request_refused"
    status: ClassVar[int] = 400

    def __init__(self, detail: str, **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.data = data


class NotFoundError(LeptonError):
    """Nothing of that name that the asker may see."""

    code = "not_found"
    status = 404


class PermissionRefusedError(LeptonError):
    """The asker may see it but not do that."""

    code = "permission_refused"
    status = 403


class FilterRefusedError(LeptonError):
    """A filter of a list has a value it cannot have."""

    code = "filter_refused"
    status = 400


class RecordRefusedError(LeptonError):
    """A record that no retry can help. ``path`` names the field where it is known."""

    code = "record_refused"
    status = 400

    def __init__(self, detail: str, *, reason: str = "invalid_record", path: str = "$") -> None:
        super().__init__(detail, path=path, reason=reason)
        self.reason = reason
        self.path = path


class UnavailableError(LeptonError):
    """The server cannot do it now; trying again later may help."""

    code = "unavailable"
    status = 503


class TooLittleHistoryError(LeptonError):
    """The server has decided, or knows the truth of, too little to learn from."""

    code = "too_little_history"
    status = 409
