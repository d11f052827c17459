from __future__ import annotations

import ast
import re
from pathlib import Path

import models_core as mc
from models_core import Scorer, Table, unpack
from models_core.architectures import architecture_names
from models_core.artifact import Manifest
from models_core.engines import CHUNK

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
    for name in (*architecture_names(), *Manifest.__struct_fields__):
        assert f"`{name}`" in PAGE, name
    assert f"| **{CHUNK}** |" in PAGE
