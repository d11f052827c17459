"""What deploy/ holds, read once: containers of Lepton wherever they are declared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lepton_apps.settings import INSTALLED_APPS
from lepton_apps.verticals import registry
from tests.docs.pages import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
IMAGE = "lepton"
MANAGE = re.compile(r"manage\.py ([a-z_]+)")


@dataclass(frozen=True)
class Container:
    """One container of ours: where it is declared, what it runs, what it is told."""

    where: str
    words: tuple[str, ...]  # of the command, after the image's entrypoint
    environment: Mapping[str, str]

    @property
    def commands(self) -> list[str]:
        """The commands of manage.py that it runs."""
        text = " ".join(self.words)
        return MANAGE.findall(text) or [self.words[0]]


@cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


@cache
def kubernetes() -> list[tuple[str, dict[str, Any]]]:
    """Every document of every file that the kustomization lists, and the file's name."""
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
    return [
        (name, document)
        for name in listed["resources"]
        for document in yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))
    ]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod templates, by kind and name of what makes the pods."""
    for _, document in kubernetes():
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            yield f"{document['kind']} {document['metadata']['name']}", spec["template"]["spec"]


def containers_of(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def config_map() -> dict[str, str]:
    (data,) = [document["data"] for _, document in kubernetes() if document["kind"] == "ConfigMap"]
    return dict(data)


def containers() -> list[Container]:
    """All containers that run the image of the Dockerfile."""
    found = [
        Container(f"compose {name}", _words(service["command"]), service.get("environment", {}))
        for name, service in compose()["services"].items()
        if service["image"].startswith(f"{IMAGE}:")
    ]
    for owner, pod in pods():
        for container in containers_of(pod):
            assert container["image"] == IMAGE, owner
            told = {each["name"]: each["value"] for each in container["env"]}
            found.append(Container(owner, _words(container["args"]), config_map() | told))
    return found


def _words(command: Sequence[str] | str) -> tuple[str, ...]:
    return (command,) if isinstance(command, str) else tuple(command)


def streams() -> set[str]:
    """The streams of the verticals that ship."""
    return {
        stream.name
        for vertical in registry.verticals()
        if vertical.key in INSTALLED_APPS
        for stream in vertical.all_streams
    }


def assignments(path: Path) -> dict[str, str]:
    """``NAME=value`` of an environment file, or of a unit's ``Environment=`` lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".service":
        lines = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
        return dict(word.split("=", 1) for line in lines for word in line.split())
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z_]+=", line))
