from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

import models_core as mc
from models_core import FitRecipe, Scorer, Table, unpack
from models_core.architectures import architecture_names
from models_core.architectures.registry import class_of
from models_core.artifact import Manifest
from models_core.augmenting import augmentations
from models_core.engines import CHUNK
from models_core.scoring import WATCHES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "models_core.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
ROW = re.compile(r"^\| (`[^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
# Tests and users register their own, which are on no page of ours.
BUILT_IN = [n for n in architecture_names() if class_of(n).__module__.startswith("models_core.")]
TRAINING = (DOCS / "training.md").read_text()


def test_the_five_statements_of_the_docs_make_an_artifact_that_serves(
    train: Table, validation: Table, test_table: Table
) -> None:
    (block,) = (code for code in BLOCK.findall(PAGE) if "mc.pack(" in code)
    code = block.replace("max_seconds=30", "max_seconds=30, steps=100")
    assert len(ast.parse(code).body) == 5
    names = list("abcdef")
    space = {"train": train, "validation": validation, "test": test_table}
    space |= {"names": names, "schema_hash": "0123456789abcdef"}  # type: ignore[dict-item]
    exec("import models_core as mc\n" + code, space)  # noqa: S102  # the page is ours
    Scorer.from_artifact(unpack(space["files"])).check_golden()  # type: ignore[arg-type]


def test_the_page_begins_with_what_the_tutorial_runs() -> None:
    def five(page: str) -> str:
        return str(BLOCK.findall(page)[0]).partition("\n\n")[2]

    assert five(PAGE) == five((DOCS / "tutorial.md").read_text())
    assert len(ast.parse(five(PAGE)).body) == 5


def test_the_examples_of_engines_and_smaller_models_run(
    train: Table, validation: Table, test_table: Table, tmp_path: Path
) -> None:
    model = mc.fit(mc.Spec("mlp", 6, {"width": 16}), train, validation, mc.FitRecipe(steps=4))
    data = {
        name: mc.Data(table.x_NF, table.y_N.astype(int))
        for name, table in (("train", train), ("validation", validation), ("test", test_table))
    }
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    wanted = [code for code in examples if "mc.build(" in code]
    assert len(wanted) == 2
    for code in wanted:
        space = {"mc": mc, "model": model, "folder": tmp_path, **data}
        exec(code, space)  # noqa: S102  # the page is ours
        assert space["engine"].logits(data["test"]).shape == (len(test_table),)  # type: ignore[attr-defined]


def test_the_docs_name_every_architecture_and_manifest_field() -> None:
    for name in (*BUILT_IN, *Manifest.__struct_fields__):
        assert f"`{name}`" in PAGE, name
    assert f"| **{CHUNK}** |" in PAGE


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_docs_have_every_parameter_of_an_architecture_with_its_default(name: str) -> None:
    given = next(cell for names, _, cell in ROW.findall(PAGE) if f"`{name}`" in names)
    if given.startswith("as "):
        given = next(cell for names, _, cell in ROW.findall(PAGE) if names == given[3:])
    on_page = {word: float(value) for word, value in re.findall(r"`(\w+)` ([\d.]+)", given)}
    taken = inspect.signature(class_of(name)).parameters.values()
    assert on_page == {
        each.name: each.default
        for each in taken
        if each.kind is each.KEYWORD_ONLY and isinstance(each.default, int | float)
        if each.name != "outputs"
    }


def test_every_example_of_the_explanation_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explanation.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    space: dict[str, object] = {}
    for block in blocks:
        exec(block, space)  # noqa: S102  # the page is ours


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
