"""What another version or threshold would have done: ask for it, watch it, read how it compares."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError, PermissionRefusedError
from lepton_apps.console import comparing
from lepton_apps.console.views.base import (
    is_htmx,
    operable,
    page,
    readable,
    row_id,
    scored_stream,
    user_of,
)
from lepton_apps.model_registry import selectors as models
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.streaming.replay import selectors, services, starting
from lepton_apps.streaming.replay.question import (
    BY,
    Question,
    parse_moment,
    parse_offsets,
    refused,
)
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream

PAGE_ROWS: Final = 30
SINCE: Final = "24h"  # what the form begins with


@require_GET
@page
def replay_list(request: HttpRequest) -> HttpResponse:
    """GET /replay/?stream=&before=: the form for a stream, and the runs, newest first."""
    return _show_list(request, request.GET.get("stream", ""))


@require_POST
@page
def start(request: HttpRequest) -> HttpResponse:
    """POST /replay/start/ stream=&since=&until=&by=&from_offset=&from_time=&version=&limit=&threshold-...="""
    name = request.POST.get("stream", "")
    scored_stream(request, name, Role.OPERATOR)
    try:
        run = starting.start(_question(request, name), user_of(request))
    except PermissionRefusedError:
        raise
    except LeptonError as error:
        return _show_list(request, name, error.detail, 400 if error.status == 404 else error.status)
    return redirect("console:replay", run.pk)


@require_GET
@page
def replay_page(request: HttpRequest, run_id: int) -> HttpResponse:
    """GET /replay/{id}/; htmx asks again while it runs and gets the run alone."""
    run = selectors.run(readable(request), run_id)
    context = {
        "run": selectors.summary(run),
        "active": selectors.state_of(run) in run.ACTIVE,
        "cancelling": run.cancel_asked_at is not None,
        "asked": comparing.asked(run.question),
        "result": comparing.described(run.result, run.stream.partition(".")[0])
        if run.result
        else None,
        "may_act": run.stream.partition(".")[0] in operable(request),
    }
    template = "console/parts/replay.html" if is_htmx(request) else "console/replay.html"
    return render(request, template, context)


@require_POST
@page
def cancel(request: HttpRequest, run_id: int) -> HttpResponse:
    """POST /replay/{id}/cancel/"""
    run = selectors.run(readable(request), run_id)
    access.require(user_of(request), run.stream.partition(".")[0], Role.OPERATOR)
    try:
        services.cancel(run, user_of(request))
    except services.ReplayOverError as error:
        messages.error(request, error.detail)
    return redirect("console:replay", run_id)


def _question(request: HttpRequest, stream: str) -> Question:
    """The form as a question; whatever is not even of its kind is refused by name."""
    given = {name: str(value).strip() for name, value in request.POST.items()}
    typed = {name: value for name, value in given.items() if value}
    body: dict[str, Any] = {"stream": stream}
    for name in ("version", "limit"):
        if name in typed:
            body[name] = _number(name, typed[name])
    if "from_offset" in typed:
        body |= parse_offsets(typed["from_offset"].replace(",", " ").split())
    reads_topic = "from_offset" in typed or "from_time" in typed
    for name in ("from_time",) if reads_topic else ("since", "until"):
        if name in typed:
            body[name] = parse_moment(name, typed[name])
    if not reads_topic and typed.get("by") in BY:
        body["by"] = typed["by"]
    body["thresholds"] = {
        name.removeprefix("threshold-"): _score(name.removeprefix("threshold-"), value)
        for name, value in typed.items()
        if name.startswith("threshold-")
    }
    return msgspec.convert(body, Question)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise refused(name, f"{text[:20]!r} is no {name}; write a whole number.")
    return int(text)


def _score(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise refused(
            "thresholds", f"{text[:20]!r} is no threshold {name}; write a score such as 0.8."
        ) from None


def _show_list(request: HttpRequest, name: str, error: str = "", status: int = 200) -> HttpResponse:
    mine = operable(request)
    streams = [s for v in registry.verticals() if v.key in mine for s in v.streams]
    chosen = next((s for s in streams if s.name == name), streams[0] if streams else None)
    before_id = row_id(request.GET.get("before", ""))
    champion = models.champion(chosen.model_name) if chosen else None
    runs = selectors.runs(readable(request), before_id=before_id, limit=PAGE_ROWS)
    context = {
        "streams": streams,
        "chosen": chosen,
        "versions": _versions(chosen, champion) if chosen else [],
        "thresholds": _thresholds(request, chosen, champion) if chosen else [],
        "typed": request.POST or {"since": SINCE},
        "by": BY,
        "error": error,
        "runs": [
            {**selectors.summary(run), "asked": comparing.asked(run.question)} for run in runs
        ],
        "older_id": runs[-1].pk if len(runs) == PAGE_ROWS else None,
        "first_page": before_id is None,
    }
    return render(request, "console/replays.html", context, status=status)


def _versions(stream: Stream, champion: ModelVersion | None) -> list[dict[str, Any]]:
    """Those that can score today's features, newest first."""
    return [
        {"number": version.number, "champion": champion == version}
        for version in models.versions(stream.model_name)
        if version.schema_hash == stream.extractor.schema.hash
    ]


def _thresholds(
    request: HttpRequest, stream: Stream, champion: ModelVersion | None
) -> list[dict[str, Any]]:
    own = models.thresholds_at(champion, clock.now()) if champion else {}
    return [
        {
            "name": name,
            "own": f"{own[name]:.4g}" if name in own else "",
            "typed": request.POST.get(f"threshold-{name}", ""),
        }
        for name in stream.policy.thresholds
    ]
