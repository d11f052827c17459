"""A small deep-learning framework: fit, evaluate and ship a model. Knows no Django and no Kafka.

Names below are loaded when first used, so importing the package costs nothing, and torch is
imported by fitting alone.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models_core.architectures.network import Encoder as Encoder
    from models_core.architectures.network import Network as Network
    from models_core.architectures.network import Sizes as Sizes
    from models_core.architectures.registry import architecture as architecture
    from models_core.artifact import Artifact as Artifact
    from models_core.artifact import ArtifactError as ArtifactError
    from models_core.artifact import unpack as unpack
    from models_core.attribution import Attribution as Attribution
    from models_core.augmenting import augmentation as augmentation
    from models_core.baselines import fit_boosted_trees as fit_boosted_trees
    from models_core.building import Engine as Engine
    from models_core.building import build as build
    from models_core.calibration import Calibration as Calibration
    from models_core.calibration import fit_calibration as fit_calibration
    from models_core.causal.causes import Cause as Cause
    from models_core.causal.causes import causes as causes
    from models_core.causal.changes import Changes as Changes
    from models_core.causal.graph import Graph as Graph
    from models_core.compressed import Compressed as Compressed
    from models_core.compressing import compress as compress
    from models_core.data import Data as Data
    from models_core.drift import DriftReference as DriftReference
    from models_core.drift import drift_reference as drift_reference
    from models_core.drift import psi as psi
    from models_core.engines import OnnxEngine as OnnxEngine
    from models_core.engines import Scorer as Scorer
    from models_core.evaluation import evaluate as evaluate
    from models_core.evaluation import threshold_for_budget as threshold_for_budget
    from models_core.explaining import explain as explain
    from models_core.exporting import export as export
    from models_core.federation import LocalSite as LocalSite
    from models_core.federation import federate as federate
    from models_core.federation_http import HttpSite as HttpSite
    from models_core.model import Model as Model
    from models_core.packing import load_module as load_module
    from models_core.packing import pack as pack
    from models_core.pretraining import pretrain as pretrain
    from models_core.privacy import Privacy as Privacy
    from models_core.privacy import PrivacySpent as PrivacySpent
    from models_core.progress_bar import bar as bar
    from models_core.reports import Report as Report
    from models_core.saving import load as load
    from models_core.saving import save as save
    from models_core.sessions import EngineError as EngineError
    from models_core.space import Choice as Choice
    from models_core.space import Range as Range
    from models_core.space import TuneError as TuneError
    from models_core.spec import Input as Input
    from models_core.spec import Spec as Spec
    from models_core.spec import SpecError as SpecError
    from models_core.table import Table as Table
    from models_core.text import Vocabulary as Vocabulary
    from models_core.trackers import JsonLines as JsonLines
    from models_core.trackers import Mlflow as Mlflow
    from models_core.trackers import TensorBoard as TensorBoard
    from models_core.trackers import WandB as WandB
    from models_core.tracking import RunFacts as RunFacts
    from models_core.tracking import StopFit as StopFit
    from models_core.tracking import Tracker as Tracker
    from models_core.tracking import TrackerError as TrackerError
    from models_core.training import FitRecipe as FitRecipe
    from models_core.training import fit as fit
    from models_core.tuned import Tuned as Tuned
    from models_core.tuning import tune as tune
    from models_core.windowing import split_windows as split_windows
    from models_core.windowing import windows as windows

# ONNX Runtime reports how it is used to its maker, unless it is told otherwise before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_HOME = {
    "Artifact": "artifact",
    "ArtifactError": "artifact",
    "Attribution": "attribution",
    "Calibration": "calibration",
    "Cause": "causal.causes",
    "Changes": "causal.changes",
    "Choice": "space",
    "Compressed": "compressed",
    "Data": "data",
    "Encoder": "architectures.network",
    "DriftReference": "drift",
    "Engine": "building",
    "EngineError": "sessions",
    "FitRecipe": "training",
    "Graph": "causal.graph",
    "HttpSite": "federation_http",
    "Input": "spec",
    "JsonLines": "trackers",
    "LocalSite": "federation",
    "Mlflow": "trackers",
    "Model": "model",
    "Network": "architectures.network",
    "OnnxEngine": "engines",
    "Privacy": "privacy",
    "PrivacySpent": "privacy",
    "Range": "space",
    "Report": "reports",
    "RunFacts": "tracking",
    "Scorer": "engines",
    "Sizes": "architectures.network",
    "Spec": "spec",
    "SpecError": "spec",
    "StopFit": "tracking",
    "Table": "table",
    "TensorBoard": "trackers",
    "Tracker": "tracking",
    "TrackerError": "tracking",
    "TuneError": "space",
    "Tuned": "tuned",
    "Vocabulary": "text",
    "WandB": "trackers",
    "architecture": "architectures.registry",
    "augmentation": "augmenting",
    "bar": "progress_bar",
    "build": "building",
    "causes": "causal.causes",
    "compress": "compressing",
    "drift_reference": "drift",
    "evaluate": "evaluation",
    "explain": "explaining",
    "export": "exporting",
    "federate": "federation",
    "fit": "training",
    "fit_boosted_trees": "baselines",
    "fit_calibration": "calibration",
    "load": "saving",
    "load_module": "packing",
    "pack": "packing",
    "pretrain": "pretraining",
    "save": "saving",
    "psi": "drift",
    "split_windows": "windowing",
    "threshold_for_budget": "evaluation",
    "tune": "tuning",
    "unpack": "artifact",
    "windows": "windowing",
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
