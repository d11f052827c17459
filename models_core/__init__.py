"""A small deep-learning framework: fit, evaluate and ship a model. Knows no Django and no Kafka.

Names below are loaded when first used, so importing the package costs nothing, and torch is
imported by fitting alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models_core.artifact import Artifact as Artifact
    from models_core.artifact import ArtifactError as ArtifactError
    from models_core.artifact import unpack as unpack
    from models_core.augmentation import augmentation as augmentation
    from models_core.baselines import fit_boosted_trees as fit_boosted_trees
    from models_core.calibration import Calibration as Calibration
    from models_core.calibration import fit_calibration as fit_calibration
    from models_core.data import Data as Data
    from models_core.engines import OnnxEngine as OnnxEngine
    from models_core.engines import Scorer as Scorer
    from models_core.evaluation import evaluate as evaluate
    from models_core.evaluation import threshold_for_budget as threshold_for_budget
    from models_core.federation import LocalSite as LocalSite
    from models_core.federation import federate as federate
    from models_core.federation_http import HttpSite as HttpSite
    from models_core.model import Model as Model
    from models_core.packing import load_module as load_module
    from models_core.packing import pack as pack
    from models_core.pretraining import pretrain as pretrain
    from models_core.privacy import Privacy as Privacy
    from models_core.privacy import PrivacySpent as PrivacySpent
    from models_core.saving import load as load
    from models_core.saving import save as save
    from models_core.spec import Input as Input
    from models_core.spec import Spec as Spec
    from models_core.spec import SpecError as SpecError
    from models_core.table import Table as Table
    from models_core.training import FitRecipe as FitRecipe
    from models_core.training import fit as fit

_HOME = {
    "Artifact": "artifact",
    "ArtifactError": "artifact",
    "Calibration": "calibration",
    "Data": "data",
    "FitRecipe": "training",
    "HttpSite": "federation_http",
    "Input": "spec",
    "LocalSite": "federation",
    "Model": "model",
    "OnnxEngine": "engines",
    "Privacy": "privacy",
    "PrivacySpent": "privacy",
    "Scorer": "engines",
    "Spec": "spec",
    "SpecError": "spec",
    "Table": "table",
    "augmentation": "augmentation",
    "evaluate": "evaluation",
    "federate": "federation",
    "fit": "training",
    "fit_boosted_trees": "baselines",
    "fit_calibration": "calibration",
    "load": "saving",
    "load_module": "packing",
    "pack": "packing",
    "pretrain": "pretraining",
    "save": "saving",
    "threshold_for_budget": "evaluation",
    "unpack": "artifact",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
