"""The verticals of this server, in the order of INSTALLED_APPS. Filled at start, fixed after."""

from __future__ import annotations

from lepton_apps.verticals.contract import LabelStream, Stream, Vertical
from lepton_apps.verticals.insight import Declaration

_verticals: dict[str, Vertical] = {}


def register(vertical: object, *, app: str) -> None:
    """Take a vertical in. Refuses what is not one, and a name that is taken."""
    if not isinstance(vertical, Vertical):
        raise TypeError(f"{app}.vertical.VERTICAL is {type(vertical).__name__}, not a Vertical.")
    if vertical.key in _verticals:
        raise ValueError(f"{app}: a vertical named {vertical.key!r} is already registered.")
    taken = {name for other in _verticals.values() for name in _names(other)}
    for name in _names(vertical):
        if not name.startswith(f"{vertical.key}."):
            raise ValueError(f"{app}: stream {name!r} must be named {vertical.key}.<noun>.")
        if name in taken:
            raise ValueError(f"{app}: a stream named {name!r} is already registered.")
    scored = {stream.name for stream in vertical.streams}
    for labels in vertical.label_streams:
        if labels.labels not in scored:
            raise ValueError(
                f"{app}: {labels.name!r} labels {labels.labels!r}, which is no stream."
            )
    _verticals[vertical.key] = vertical


def _names(vertical: Vertical) -> list[str]:
    return [declared.name for declared in vertical.all_streams]


def verticals() -> tuple[Vertical, ...]:
    return tuple(_verticals.values())


def vertical(key: str) -> Vertical:
    if key not in _verticals:
        raise LookupError(f"No vertical named {key!r}. Registered: {', '.join(_verticals)}.")
    return _verticals[key]


def stream(name: str) -> tuple[Vertical, Stream]:
    """A scored stream and its vertical, by name."""
    for owner in _verticals.values():
        for candidate in owner.streams:
            if candidate.name == name:
                return owner, candidate
    names = ", ".join(s.name for v in _verticals.values() for s in v.streams)
    raise LookupError(f"No stream named {name!r}. Registered streams: {names}.")


def label_stream(name: str) -> tuple[Vertical, LabelStream]:
    """A label stream and its vertical, by name."""
    for owner in _verticals.values():
        for candidate in owner.label_streams:
            if candidate.name == name:
                return owner, candidate
    names = ", ".join(s.name for v in _verticals.values() for s in v.label_streams)
    raise LookupError(f"No label stream named {name!r}. Registered label streams: {names}.")


def declaration(vertical_key: str, name: str) -> Declaration:
    """What people may declare to a vertical, by name."""
    for candidate in vertical(vertical_key).declarations:
        if candidate.name == name:
            return candidate
    names = ", ".join(f"{v.key}.{d.name}" for v in _verticals.values() for d in v.declarations)
    raise LookupError(f"Nothing named {vertical_key}.{name} can be declared. There is: {names}.")
