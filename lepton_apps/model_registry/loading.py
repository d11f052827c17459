"""From the files of an artifact to a scorer that may serve a stream, or a refusal that says why."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import ClassVar, Final

from django.conf import settings

from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError
from lepton_apps.model_registry.cache import FileCache, sha256_hex
from lepton_apps.model_registry.models import ModelFile
from lepton_apps.verticals.contract import Stream
from models_core.artifact import ArtifactError, unpack
from models_core.chunking import chunk_of, served
from models_core.engines import EngineError, Scorer

log = logging.getLogger(__name__)

MEASURING_S: Final = 0.3  # wall time of a version's first load on a host


class ModelRefusedError(LeptonError):
    """An artifact that must not serve the stream: damaged, of other features, or computing wrong."""

    code: ClassVar[str] = "model_refused"
    status: ClassVar[int] = 422


def open_scorer(files: Mapping[str, bytes], stream: Stream) -> Scorer:
    """Verify the files, build the engine for this host and hold it against the golden rows.

    How many rows the engine takes at a time is measured when a host sees the version for the first
    time, and kept in the data folder for all its processes.

    Raises:
        ModelRefusedError: as its name says; the message names the file, schema or threshold.
    """
    try:
        artifact = unpack(files)
        check_schema(artifact.schema_hash, stream)
        if artifact.manifest.feature_names != stream.extractor.schema.names:
            raise ModelRefusedError(
                f"The model's feature names are not those of {stream.name}, though the schema "
                "hashes agree. Train it again."
            )
        missing = set(stream.policy.thresholds) - set(artifact.thresholds)
        if missing:
            raise ModelRefusedError(
                f"The model brings no threshold {', '.join(sorted(missing))}, which the policy "
                f"of {stream.name} needs."
            )
        plan, scorer = served(
            artifact,
            settings.LEPTON_DATA_DIR / "engines",
            seconds=MEASURING_S,
            clock=clock.monotonic,
        )
    except (ArtifactError, EngineError) as exc:
        raise ModelRefusedError(str(exc)) from exc
    log.info(
        "engine built",
        extra={
            "stream": stream.name,
            "engine": plan.id,
            "chunk": chunk_of(plan),
            "us_per_record": plan.measured,
        },
    )
    return scorer


def check_schema(schema_hash: str, stream: Stream) -> None:
    """Raise ``ModelRefusedError`` unless the hash is of what the stream's extractor gives today."""
    today = stream.extractor.schema.hash
    if schema_hash != today:
        raise ModelRefusedError(
            f"The model was trained on features of schema {schema_hash}, but {stream.name} "
            f"extracts schema {today}. Train a new version by its recipe.",
            schema=schema_hash,
            expected=today,
        )


def check_servable(version_id: int, stream: Stream) -> None:
    """Raise ``ModelRefusedError`` unless the version, as the database has it, could serve today."""
    open_scorer(load_files(version_id, None), stream)


def load_files(version_id: int, cache: FileCache | None) -> dict[str, bytes]:
    """The files of a version, from the cache or the database, each checked against its hash.

    Raises:
        ModelRefusedError: a file in the database is not what was registered.
    """
    listed = ModelFile.objects.filter(version_id=version_id).values_list("name", "sha256")
    return {name: _content(version_id, name, sha256, cache) for name, sha256 in listed}


def _content(version_id: int, name: str, sha256: str, cache: FileCache | None) -> bytes:
    cached = cache.read(sha256) if cache is not None else None
    if cached is not None:
        return cached
    stored = ModelFile.objects.filter(version_id=version_id, name=name)
    content = bytes(stored.values_list("content", flat=True).get())
    if sha256_hex(content) != sha256:
        raise ModelRefusedError(
            f"{name} in the database is not the file that was registered: its sha256 differs."
        )
    if cache is not None:
        cache.write(sha256, content)
    return content
