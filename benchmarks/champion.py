"""The champion of a run: the vertical's starter model, trained once and kept beside."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.servers import ROOT, BenchmarkError, Servers, note


def install_champion(servers: Servers, stream_name: str, cache: Path | None) -> str:
    """Make the starter champion, from the cache when it was trained by this very code.

    Returns the model and version. Django must be set up.
    """
    from lepton_apps.model_registry import selectors, services
    from lepton_apps.model_registry.models import ModelFile, Role
    from lepton_apps.verticals import registry
    from lepton_apps.verticals.contract import Trained

    _, stream = registry.stream(stream_name)
    folder = (cache or Path(tempfile.gettempdir()) / "lepton-benchmark-models") / _code_hash(
        stream_name.partition(".")[0], stream.extractor.schema.hash
    )
    files = _kept(folder)
    if files:
        version = services.register_version(stream, Trained(files, {}, {}), None)
        services.promote(version, Role.CHAMPION, None, "Benchmark.", expected=None)
        return str(version)
    note("training the starter model")
    servers.manage("train_starters", stream_name)
    champion = selectors.champion(stream.model_name)
    if champion is None:
        raise BenchmarkError(f"train_starters left {stream_name} without a champion.")
    rows = ModelFile.objects.filter(version=champion).values_list("name", "content")
    _keep(folder, {name: bytes(content) for name, content in rows})
    return str(champion)


def install_challenger(stream_name: str) -> str:
    """A second version of the champion's own files, in shadow: a model as large as the champion."""
    from lepton_apps.model_registry import selectors, services
    from lepton_apps.model_registry.models import ModelFile, Role
    from lepton_apps.verticals import registry
    from lepton_apps.verticals.contract import Trained

    _, stream = registry.stream(stream_name)
    rows = ModelFile.objects.filter(version=selectors.champion(stream.model_name))
    files = {name: bytes(content) for name, content in rows.values_list("name", "content")}
    version = services.register_version(stream, Trained(files, {}, {}), None)
    services.promote(version, Role.CHALLENGER, None, "Benchmark.", expected=None)
    return str(version)


def _code_hash(vertical: str, schema_hash: str) -> str:
    """Names the code that trains: the vertical and the framework, source for source."""
    digest = hashlib.sha256(schema_hash.encode())
    for package in (ROOT / vertical, ROOT / "models_core"):
        for file in sorted(package.rglob("*.py")):
            digest.update(file.read_bytes())
    return f"{vertical}-{digest.hexdigest()[:16]}"


def _kept(folder: Path) -> dict[str, bytes]:
    index = folder / "index.json"
    if not index.is_file():
        return {}
    return {name: (folder / name).read_bytes() for name in json.loads(index.read_text())}


def _keep(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    # Last, so that a run cut short leaves nothing that looks whole.
    (folder / "index.json").write_text(json.dumps(sorted(files)))
