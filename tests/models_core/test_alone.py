"""models_core stands alone: without the server's libraries, and under the names that it gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from pkgutil import iter_modules

import models_core

ROOT = Path(__file__).parents[2]
WITHOUT_THE_SERVER = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"django", "kafka", "psycopg", "channels", "lepton_apps"}:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Refuse())
for name in ("django", "kafka", "psycopg", "lepton_apps"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} was imported all the same")

import numpy as np
import models_core as mc

x_NF = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
data = mc.Data(x_NF, (x_NF[:, 0] > 0).astype(int))
model = mc.fit(mc.Spec.of("mlp", data, width=8), data, recipe=mc.FitRecipe(steps=20, batch_size=64))
mc.save(model, "saved")
same = (mc.load("saved").predict(x_NF) == model.predict(x_NF)).all()
for name in mc.__all__:
    getattr(mc, name)
print("same" if same else "another")
"""


def test_a_model_is_trained_and_saved_where_the_server_cannot_be_imported(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_SERVER],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "same\n", done.stderr


def test_no_public_name_is_that_of_a_module_too() -> None:
    """Importing a module sets it on the package, over a function that has the same name."""
    modules = {module.name for module in iter_modules(models_core.__path__)}
    assert set(models_core.__all__) & modules == set()
