"""Keyset paging, newest first: a cursor is the id of the last row that was read.

Rows that arrive meanwhile have larger ids, so a reader neither skips nor sees a row twice.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import Final

from lepton_apps.alerts.errors import CursorRefusedError

MAX_LIMIT: Final = 200
LARGEST_ID: Final = 2**63 - 1
BODY = re.compile(rb"before:([1-9][0-9]{0,18})")


def cursor_before(row_id: int) -> str:
    """The cursor that continues with the rows older than this one."""
    return urlsafe_b64encode(b"before:%d" % row_id).decode().rstrip("=")


def row_id_of(cursor: str) -> int:
    """The id in a cursor. Forging one gains nothing: rights are checked for every page anew.

    Raises:
        CursorRefusedError: the text is not a cursor of ours.
    """
    try:
        body = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    except (UnicodeEncodeError, Base64Error):
        body = b""
    match = BODY.fullmatch(body)
    if match is None or int(match[1]) > LARGEST_ID:
        raise CursorRefusedError(
            f"{cursor[:80]!r} is no cursor of this list; take it from `next` of the page before.",
            cursor=cursor[:80],
        )
    return int(match[1])
