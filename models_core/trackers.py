"""Trackers that come with it: a file of JSON lines, TensorBoard, Weights & Biases, MLflow.

The last three need packages of their own, imported when a run starts; see requirements-extras.txt.
"""

from __future__ import annotations

import json
import math
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models_core.tracking import RunFacts, TrackerError

if TYPE_CHECKING:
    from models_core.model import Look, Model
    from models_core.reports import Report

LOSS, SCORE = "train/loss", "validation/score"


class JsonLines:
    """One file, a line for each event: ``start``, ``look``, ``end``. Needs no package."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._name = ""

    def start(self, run: RunFacts) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._name = run.name
        self._write("start", run.to_dict())

    def look(self, look: Look) -> None:
        loss = look.loss if math.isfinite(look.loss) else None  # a private fit tells none
        self._write("look", {"step": look.step, "loss": loss, "score": look.score})

    def end(self, model: Model | None, report: Report | None) -> None:
        said: dict[str, Any] = {"outcome": "failed" if model is None else "done"}
        if model is not None:
            said["seconds"] = model.seconds
        if report is not None:
            said["metrics"] = dict(report.metrics)
        self._write("end", said)

    def _write(self, event: str, said: dict[str, Any]) -> None:
        line = json.dumps({"event": event, "run": self._name, **said}, separators=(",", ":"))
        with self._path.open("a", encoding="utf-8") as file:  # whole lines, also of several runs
            file.write(line + "\n")


class TensorBoard:
    """Scalars of each run in a folder of its own: ``tensorboard --logdir <folder>``."""

    def __init__(self, folder: Path | str) -> None:
        _need("tensorboard", "tensorboard==2.21.0")
        self._folder = Path(folder)
        self._writer: Any = None
        self._step = 0

    def start(self, run: RunFacts) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter
        self._writer = writer(log_dir=str(_unused(self._folder, run.name)))
        body = "\n".join(f"    {name}: {value}" for name, value in run.parameters().items())
        self._writer.add_text("run", body)

    def look(self, look: Look) -> None:
        self._step = look.step
        self._writer.add_scalar(LOSS, look.loss, look.step)
        self._writer.add_scalar(SCORE, look.score, look.step)
        self._writer.flush()

    def end(self, model: Model | None, report: Report | None) -> None:
        if report is not None:
            for name, value in report.metrics.items():
                self._writer.add_scalar(f"metrics/{name}", value, self._step)
        self._writer.close()


class WandB:
    """Weights & Biases.

    Args:
        project: its name there.
        folder: for the local files; offline runs are sent later by ``wandb sync``.
        mode: ``auto``: online where a key is known to the package, else offline.
    """

    def __init__(
        self,
        project: str,
        folder: Path | str = ".",
        mode: Literal["auto", "online", "offline"] = "auto",
    ) -> None:
        if mode not in ("auto", "online", "offline"):
            raise TrackerError(f"mode={mode!r} is not auto, online or offline.")
        _need("wandb", "wandb==0.31.0")
        self._project, self._folder, self._mode = project, Path(folder), mode
        self._run: Any = None

    def start(self, run: RunFacts) -> None:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        mode = self._mode
        if mode == "auto":
            mode = "online" if wandb.login(prompt=False, verify=False) else "offline"
        # Neither the console nor the machine is its business: a run is its numbers.
        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True
        )
        self._run = wandb.init(
            project=self._project,
            name=run.name,
            dir=str(self._folder),
            mode=mode,
            config=run.parameters(),
            settings=quiet,
            reinit="create_new",
        )

    def look(self, look: Look) -> None:
        self._run.log({LOSS: look.loss, SCORE: look.score}, step=look.step)

    def end(self, model: Model | None, report: Report | None) -> None:
        if report is not None:
            self._run.summary.update(dict(report.metrics))
        self._run.finish(exit_code=1 if model is None else 0)


class Mlflow:
    """MLflow.

    Args:
        where: a tracking server's URL, or a folder, where a SQLite file and the reports go.
        experiment: its name there; made when it is not there yet.
    """

    def __init__(self, where: Path | str, experiment: str = "lepton") -> None:
        _need("mlflow", "mlflow-skinny==3.17.2")
        self._where, self._experiment = str(where), experiment
        self._client: Any = None
        self._run = ""

    def start(self, run: RunFacts) -> None:
        from mlflow import MlflowClient

        files: str | None = None
        where = self._where
        if "://" not in where:
            folder = Path(where).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            where, files = f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()
        self._client = MlflowClient(tracking_uri=where)
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = (
            found.experiment_id
            if found is not None
            else self._client.create_experiment(self._experiment, artifact_location=files)
        )
        self._run = self._client.create_run(experiment, run_name=run.name).info.run_id
        for name, value in run.parameters().items():
            self._client.log_param(self._run, name, value)

    def look(self, look: Look) -> None:
        for name, value in ((LOSS, look.loss), (SCORE, look.score)):
            self._client.log_metric(self._run, name, value, step=look.step)

    def end(self, model: Model | None, report: Report | None) -> None:
        if report is not None:
            for name, value in report.metrics.items():
                self._client.log_metric(self._run, name, value)
            self._client.log_text(self._run, report.to_html(), "report.html")
        self._client.set_terminated(self._run, "FAILED" if model is None else "FINISHED")


def _need(module: str, package: str) -> None:
    """Say it before a long fit begins, not after."""
    if find_spec(module) is None:
        raise TrackerError(f"{module} is not installed here: pip install {package}")


def _unused(folder: Path, name: str) -> Path:
    """A folder for the run that no other run has."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip(".") or "run"
    place, number = folder / plain, 1
    while place.exists():
        number += 1
        place = folder / f"{plain}-{number}"
    return place
