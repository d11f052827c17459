from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

from models_core import FitRecipe, Scorer, Table, unpack
from models_core.architectures import architecture_names
from models_core.artifact import Manifest
from models_core.augmentation import augmentations
from models_core.engines import CHUNK
from models_core.scoring import WATCHES

TRAINING = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
PAGE = (Path(__file__).parents[2] / "docs" / "models_core.md").read_text()


def test_the_five_statements_of_the_docs_make_an_artifact_that_serves(
    train: Table, validation: Table, test_table: Table
) -> None:
    block = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    code = block[1].replace("max_seconds=30", "max_seconds=30, steps=100")
    assert len(ast.parse(code).body) == 5
    names = list("abcdef")
    space = {"train": train, "validation": validation, "test": test_table}
    space |= {"names": names, "schema_hash": "0123456789abcdef"}  # type: ignore[dict-item]
    exec("import models_core as mc\n" + code, space)  # noqa: S102  # the page is ours
    Scorer.from_artifact(unpack(space["files"])).check_golden()  # type: ignore[arg-type]


def test_the_docs_name_every_architecture_and_manifest_field() -> None:
    for name in (*architecture_names(), *Manifest.__struct_fields__):
        assert f"`{name}`" in PAGE, name
    assert f"| **{CHUNK}** |" in PAGE


def test_the_page_on_training_names_every_field_of_a_recipe_with_its_default() -> None:
    for field in fields(FitRecipe):
        row = re.search(rf"^\| `{field.name}` \| ([^|]+) \|", TRAINING, re.MULTILINE)
        assert row is not None, field.name
        if isinstance(field.default, str) and field.default:
            assert row[1] == f"`{field.default}`", field.name
        elif isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert float(row[1]) == field.default, field.name


def test_the_page_on_training_names_every_augmentation_and_for_what_it_is() -> None:
    named = dict(re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", TRAINING, re.MULTILINE))
    words = {"table": "tables", "image": "images", "numbers": "floats"}
    for name, found in augmentations().items():
        if not name.endswith("_in_test"):
            assert named[name] == ", ".join(words.get(kind, kind) for kind in found.takes), name
    assert "mixup" in named


def test_the_page_on_training_names_every_metric_that_may_be_watched() -> None:
    for metric in {name for offered in WATCHES.values() for name in offered}:
        assert f"`{metric}`" in TRAINING, metric
