"""Web and workers score without torch: half a gigabyte a process, seconds a start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCORE_FROM_FILES = """
import sys
from pathlib import Path
import models_core, models_core.engines, models_core.artifact, models_core.calibration
import models_core.architectures, models_core.evaluation, models_core.training, models_core.packing
import numpy as np
folder = Path(sys.argv[1])
files = {path.name: path.read_bytes() for path in folder.iterdir()}
scorer = models_core.Scorer.from_artifact(models_core.unpack(files))
scorer.check_golden()
scorer.score(np.zeros((3, scorer.engine.num_features), np.float32))
scorer.contributions(np.zeros((3, scorer.engine.num_features), np.float32), [[0], [1]])
foreign = sorted({"torch", "sklearn", "django", "kafka"} & set(sys.modules))
assert not foreign, foreign
print("ok")
"""


def test_scoring_an_artifact_imports_neither_torch_nor_django(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)
    done = subprocess.run(
        [sys.executable, "-c", SCORE_FROM_FILES, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr


def test_importing_the_package_imports_no_library_at_all() -> None:
    code = "import models_core, sys; print(sorted({'numpy', 'torch', 'onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
