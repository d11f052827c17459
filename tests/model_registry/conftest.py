"""Real artifacts, trained in a second on noise, for the real stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from lepton_apps.model_registry import services
from lepton_apps.model_registry.cache import sha256_hex
from lepton_apps.model_registry.models import ModelFile, ModelVersion
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream, Trained
from models_core import Calibration, FitRecipe, Spec, Table, fit, pack
from tests.unprotected import unprotected

STREAM = "fintech.transactions"


@cache
def tiny(seed: int, schema_hash: str | None = None) -> Trained:
    """An artifact of some steps on random rows; another seed gives other scores."""
    schema = registry.stream(STREAM)[1].extractor.schema
    random = np.random.default_rng(seed)
    x_NF = random.normal(size=(256, len(schema.names))).astype(np.float32)
    table = Table(x_NF, (x_NF[:, 0] + random.normal(size=256) > 0).astype(np.float32))
    recipe = FitRecipe(steps=5, batch_size=64, device="cpu", seed=seed)
    model = fit(Spec("mlp", len(schema.names), {"width": 8}), table, table, recipe)
    files = pack(
        model,
        Calibration(1.0, 0.0),
        schema_hash=schema_hash or schema.hash,
        feature_names=schema.names,
        thresholds={"review": 0.6, "decline": 0.9},
        metrics={"pr_auc": 0.5},
        baseline={"boosted_trees": {"pr_auc": 0.4}},
    )
    return Trained(files, {"pr_auc": 0.5}, {"boosted_trees": {"pr_auc": 0.4}})


def of_another_schema(version: ModelVersion) -> None:
    """As if the stream's features had changed since the version was trained."""
    with unprotected("model_version"):
        ModelVersion.objects.filter(pk=version.pk).update(schema_hash="feedfacefeedface")


@pytest.fixture
def stream() -> Stream:
    return registry.stream(STREAM)[1]


@pytest.fixture
def trained() -> Trained:
    return tiny(1)


@pytest.fixture
def trained_on_other_features() -> Trained:
    return tiny(1, "feedfacefeedface")


@pytest.fixture
def versions(stream: Stream, transactional_db: None) -> list[ModelVersion]:
    """Versions 1 and 2, without a role."""
    return [services.register_version(stream, tiny(seed), None) for seed in (1, 2)]


@pytest.fixture
def with_wrong_golden_rows() -> Callable[[ModelVersion], None]:
    """Makes a version say of its golden rows what its engine does not compute."""

    def change(version: ModelVersion) -> None:
        file = ModelFile.objects.get(version=version, name="manifest.json")
        manifest = json.loads(bytes(file.content))
        manifest["golden"]["scores"][0] /= 2
        file.content = json.dumps(manifest).encode()
        file.sha256, file.size = sha256_hex(file.content), len(file.content)
        with unprotected("model_file"):
            file.save()

    return change
