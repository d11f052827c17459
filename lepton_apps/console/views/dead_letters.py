"""Records that could not be taken: look at them, mend and redrive them, or let them go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.common.errors import (
    LeptonError,
    NotFoundError,
    PermissionRefusedError,
    UnavailableError,
)
from lepton_apps.console import reading
from lepton_apps.console.views.base import operable, page, readable, row_id, user_of
from lepton_apps.streaming import redriving, services
from lepton_apps.streaming import selectors as streaming
from lepton_apps.streaming.models import DeadLetter
from lepton_apps.verticals import registry

PAGE_ROWS: Final = 50
AT_ONCE: Final = 200  # letters that one click settles, so that it answers within seconds
HEX_BYTES: Final = 4_096


@require_GET
@page
def letter_list(request: HttpRequest, stream: str) -> HttpResponse:
    """GET /streams/{name}/dead-letters/?status=new|redriven|discarded&reason=&before="""
    vertical = _vertical_of(request, stream)
    status = request.GET.get("status", DeadLetter.Status.NEW)
    if status not in DeadLetter.Status.values:
        raise NotFoundError(f"Dead letters are never {status!r}.")
    before_id = row_id(request.GET.get("before", ""))
    reason = request.GET.get("reason", "").replace("\0", "")[:64]
    found = streaming.dead_letters(
        [vertical], stream, status, before_id=before_id, limit=PAGE_ROWS, reason=reason
    )
    reasons = streaming.dead_letter_reasons(stream, status)
    context = {
        "stream": stream,
        "letters": found,
        "reason": reason,
        "reasons": [(name, count, name == reason) for name, count in reasons.items()],
        "matching": reasons.get(reason, 0) if reason else sum(reasons.values()),
        "at_once": AT_ONCE,
        "may_act": vertical in operable(request) and status == DeadLetter.Status.NEW,
        "status": status,
        "statuses": DeadLetter.Status.values,
        "older_id": found[-1].id if len(found) == PAGE_ROWS else None,
        "first_page": before_id is None,
    }
    return render(request, "console/dead_letters.html", context)


@require_POST
@page
def settle_many(request: HttpRequest, stream: str) -> HttpResponse:
    """POST .../settle/ act=redrive|discard, reason=: the newest ``AT_ONCE`` new ones that fit."""
    vertical = _vertical_of(request, stream)
    access.require(user_of(request), vertical, Role.OPERATOR)
    reason = request.POST.get("reason", "").replace("\0", "")[:64]
    act = {"redrive": redriving.redrive_all, "discard": redriving.discard_all}.get(
        request.POST.get("act", "")
    )
    back = reverse("console:dead-letters", args=[stream])
    if act is None:
        messages.error(request, "Say what to do with them: redrive or discard.")
        return redirect(back)
    letters = streaming.dead_letters([vertical], stream, limit=AT_ONCE, reason=reason)
    try:
        done = act(letters, user_of(request))
    except UnavailableError as error:
        messages.error(request, error.detail)
        return redirect(back)
    left = streaming.dead_letter_reasons(stream, DeadLetter.Status.NEW)
    waiting = left.get(reason, 0) if reason else sum(left.values())
    word = "redriven" if act is redriving.redrive_all else "discarded"
    messages.success(request, f"{done} {word}; {waiting} still wait.")
    return redirect(f"{back}?{urlencode({'reason': reason})}" if reason and waiting else back)


@require_GET
@page
def letter_page(request: HttpRequest, stream: str, letter_id: int) -> HttpResponse:
    """GET /streams/{name}/dead-letters/{id}/"""
    vertical = _vertical_of(request, stream)
    return _show(request, _letter(vertical, stream, letter_id))


@require_POST
@page
def redrive(request: HttpRequest, stream: str, letter_id: int) -> HttpResponse:
    """POST .../redrive/ payload=, left out when it is to go again as it was."""
    user = user_of(request)
    text = request.POST.get("payload")

    def act(letter: DeadLetter) -> None:
        mended = None if text is None else text.replace("\r\n", "\n").encode()
        if mended == bytes(letter.payload or b""):
            mended = None  # nothing was edited, and the audit must not say so
        services.redrive(letter_id, user, mended)

    return _act(request, stream, letter_id, act, "redriven")


@require_POST
@page
def discard(request: HttpRequest, stream: str, letter_id: int) -> HttpResponse:
    """POST .../discard/"""
    user = user_of(request)

    def act(letter: DeadLetter) -> None:
        services.discard(letter_id, user)

    return _act(request, stream, letter_id, act, "discarded")


def _act(
    request: HttpRequest,
    stream: str,
    letter_id: int,
    act: Callable[[DeadLetter], None],
    done: str,
) -> HttpResponse:
    vertical = _vertical_of(request, stream)
    access.require(user_of(request), vertical, Role.OPERATOR)
    letter = _letter(vertical, stream, letter_id)
    try:
        act(letter)
    except (NotFoundError, PermissionRefusedError):
        raise
    except LeptonError as error:
        return _show(request, letter, error.detail, error.status)
    messages.success(request, f"Dead letter {letter_id} was {done}.")
    return redirect("console:dead-letters", stream)


def _show(
    request: HttpRequest, letter: DeadLetter, error: str = "", status: int = 200
) -> HttpResponse:
    raw = bytes(letter.payload or b"")
    text, is_text = _as_text(raw)
    context = {
        "letter": letter,
        "stream": letter.stream,
        "error": error,
        "is_text": is_text,
        # What was typed survives a refusal.
        "text": request.POST.get("payload", text),
        "pretty": reading.pretty(raw),
        "hex": _hex(raw[:HEX_BYTES]),
        "hidden_bytes": max(0, len(raw) - HEX_BYTES),
        "size": len(raw),
        "key": bytes(letter.key or b"").decode("utf-8", errors="backslashreplace"),
        "may_act": _vertical_of(request, letter.stream) in operable(request),
        "waiting": letter.status == DeadLetter.Status.NEW,
    }
    return render(request, "console/dead_letter.html", context, status=status)


def _as_text(raw: bytes) -> tuple[str, bool]:
    """The payload as text that an editor gives back unchanged, and whether it is that."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return "", False
    # A form sends every line end as CRLF and cannot send NUL.
    return text, "\r" not in text and "\0" not in text


def _hex(raw: bytes) -> str:
    """Sixteen bytes a line: place, hexadecimal, and the characters among them."""
    lines = []
    for start in range(0, len(raw), 16):
        part = raw[start : start + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:06x}  {part.hex(' '):<47}  {shown}")
    return "\n".join(lines)


def _vertical_of(request: HttpRequest, stream: str) -> str:
    """The stream's vertical, if the user may see it."""
    for vertical in registry.verticals():
        names = {declared.name for declared in vertical.all_streams}
        if stream in names and vertical.key in readable(request):
            return vertical.key
    raise NotFoundError(f"There is no stream {stream!r}.")


def _letter(vertical: str, stream: str, letter_id: int) -> DeadLetter:
    letter = streaming.dead_letter([vertical], letter_id)
    if letter.stream != stream:
        raise NotFoundError(f"There is no dead letter {letter_id} of {stream!r}.")
    return letter
