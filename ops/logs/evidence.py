"""What an alert about log lines keeps for people: the lines, what was expected, and the rhythm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import AlertText, Loud
from ops.logs.extractor import CODES, EPOCH, Template, Window, template_of
from ops.logs.states import WINDOW

MOST_LINES: Final = 12
MOST_COUNTS: Final = 8
EXPECTED: Final = 3  # templates that the model names for a place
UNLIKELY: Final = 2.0  # nats: an event that came with less than 14 % is worth a look
MISSING: Final = Template("(a template that is no longer known)", 0)


def gather(rows: Sequence[Loud], knowledge: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """JSON for each row. ``knowledge`` holds the stream's templates."""
    by_code: dict[int, str] = {}
    for id_ in knowledge:
        by_code.setdefault(1 + int(id_, 16) % CODES, id_)
    templates = _Templates(knowledge, by_code)
    return [_evidence(row, templates) for row in rows]


class _Templates:
    def __init__(self, knowledge: Mapping[str, bytes], by_code: Mapping[int, str]) -> None:
        self._knowledge = knowledge
        self._by_code = by_code

    def of_event(self, event: int) -> Template:
        body = self._knowledge.get(f"{event:016x}")
        return MISSING if body is None else template_of(body)

    def text_of_code(self, code: int) -> str | None:
        """The template behind the model's code; None: one that training did not know."""
        id_ = self._by_code.get(code)
        return None if id_ is None else template_of(self._knowledge[id_]).text


def _evidence(row: Loud, templates: _Templates) -> dict[str, Any]:
    window: Window = row.evidence
    fresh = window.events[window.judged :]
    common = {
        "entity": row.entity_key,
        "until": _moment(window.newest),
        "usual_gap_s": round(window.gap / 1000, 3),
    }
    if window.silent_ms:
        last = [_line(window, place, templates) for place in sorted(window.lines)[-3:]]
        return {
            "kind": "silence",
            **common,
            "silent_s": round(window.silent_ms / 1000),
            "lines": last,
        }
    counts = Counter(templates.of_event(event).text for event in fresh).most_common(MOST_COUNTS)
    return {
        "kind": "window",
        **common,
        "since": _moment(window.waiting),
        "num_lines": len(fresh),
        "lines": _unlikely_lines(window, row.detail_D, templates),
        "counts": [{"template": text, "count": count} for text, count in counts],
    }


def _unlikely_lines(
    window: Window, detail_D: NDArray[np.float32], templates: _Templates
) -> list[dict[str, Any]]:
    """The fresh lines that were expected least, in order of time, with what was expected.

    One of each template before a second of any, so that a flood of one does not hide another.
    """
    surprise_W = detail_D[:WINDOW]
    code_WT = detail_D[WINDOW : WINDOW * (1 + EXPECTED)].reshape(WINDOW, EXPECTED)
    likely_WT = detail_D[WINDOW * (1 + EXPECTED) :].reshape(WINDOW, EXPECTED)
    places = range(window.judged, len(window.events))
    repeats = Counter[int]()
    ranked: list[tuple[int, int]] = []
    for place in sorted(places, key=lambda place: -surprise_W[place]):
        event = window.events[place]
        ranked.append((repeats[event], place))
        repeats[event] += 1
    ranked.sort(key=lambda found: found[0])
    worst = [place for _, place in ranked[:MOST_LINES]]
    shown = {place for place in worst if surprise_W[place] >= UNLIKELY} or set(worst[:1])
    found = []
    for place in sorted(shown):
        line = _line(window, place, templates)
        line["probability"] = round(float(np.exp(-surprise_W[place])), 5)
        line["expected"] = [
            {"template": text, "probability": round(float(likely), 3)}
            for code, likely in zip(code_WT[place], likely_WT[place], strict=True)
            if (text := templates.text_of_code(int(code))) and likely >= 0.01
        ]
        found.append(line)
    return found


def _line(window: Window, place: int, templates: _Templates) -> dict[str, Any]:
    event = window.events[place]
    template = templates.of_event(event)
    text = window.lines.get(place)
    return {
        "place": place,
        "template_id": f"{event:016x}",
        "template": template.text,
        "loudness": template.loudness,
        "text": None if text is None else _readable(text),
    }


def _readable(text: bytes) -> str:
    """Text that is safe to store and to show: no control characters, no broken Unicode."""
    decoded = text.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in decoded)


def _moment(ms: int) -> str:
    at = EPOCH + timedelta(milliseconds=ms)
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(evidence: Mapping[str, Any]) -> AlertText:
    """One line and some facts about an alert of ``ops.logs``."""
    entity = str(evidence.get("entity", ""))
    if not evidence:
        return AlertText("Unusual log lines", ())
    if evidence["kind"] == "silence":
        silent = timedelta(seconds=evidence["silent_s"])
        return AlertText(
            f"{entity} has been silent for {silent}",
            (
                ("Entity", entity),
                ("Last line", shown(evidence["until"])),
                ("Usual time between lines", f"{evidence['usual_gap_s']:g} s"),
            ),
        )
    worst = min(evidence["lines"], key=lambda line: line["probability"], default=None)
    said = (worst["text"] or worst["template"]) if worst else "unusual lines"
    return AlertText(
        f"{entity}: {said}",
        (
            ("Entity", entity),
            ("Lines", str(evidence["num_lines"])),
            ("Since", shown(evidence["since"])),
            ("Until", shown(evidence["until"])),
        ),
    )


def shown(moment: str) -> str:
    """A moment of evidence as people read it."""
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%S} UTC"
