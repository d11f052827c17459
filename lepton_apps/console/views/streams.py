"""Where every stream stands: state, lag, workers, losses."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from lepton_apps.console.views.base import is_htmx, page, readable
from lepton_apps.streaming import selectors as streaming

# A worker writes its heartbeat every few seconds; after this many it is not believed any more.
SILENT_S: Final = 15.0


@require_GET
@page
def stream_list(request: HttpRequest) -> HttpResponse:
    """GET /streams/; htmx asks again every few seconds and gets the list alone."""
    streams = [described(overview) for overview in streaming.stream_overviews(readable(request))]
    template = "console/parts/streams.html" if is_htmx(request) else "console/streams.html"
    return render(request, template, {"streams": streams})


def described(overview: dict[str, Any]) -> dict[str, Any]:
    """A stream with what an operator asks first: is it running, and if not, what do I do?"""
    workers = [worker | {"silent": is_silent(worker)} for worker in overview["workers"]]
    condition, advice, command = _condition(overview, workers)
    return {
        **overview,
        "workers": workers,
        "condition": condition,
        "advice": advice,
        "command": command,
        "lost": sum(gap["lost"] for gap in overview["gaps"]),
    }


def is_silent(worker: dict[str, Any]) -> bool:
    """Whether a worker's last word is too old to go by."""
    return bool(worker["condition"] != "stopped" and worker["seconds_since_beat"] > SILENT_S)


def _condition(overview: dict[str, Any], workers: list[dict[str, Any]]) -> tuple[str, str, str]:
    """One word, the sentence that explains it, and the command that mends it."""
    name = overview["name"]
    alive = [w for w in workers if w["condition"] != "stopped" and not w["silent"]]
    if overview["halt"]:
        return "halted", overview["halt"]["reason"], f"manage.py resume {name}"
    if overview["kind"] == "scored" and overview["champion"] is None:
        return (
            "waiting",
            "No model is champion, so nothing can be scored. Records wait in Kafka.",
            "manage.py train_starters",
        )
    if not alive:
        return (
            "silent",
            "No worker reads this stream. Records wait in Kafka and none is lost meanwhile.",
            f"manage.py worker {name}",
        )
    if any(worker["condition"] == "running" for worker in alive):
        return "running", "", ""
    return "waiting", next((w["detail"] for w in alive if w["detail"]), ""), ""
