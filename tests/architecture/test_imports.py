"""Who may import whom. The rules themselves are in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

from tests.architecture.sources import PRODUCT, ROOT, files, imported, imported_at_once, name

KAFKA = {"lepton_apps/streaming/kafka.py"}


def test_the_import_rules_of_pyproject_hold() -> None:
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_modules_import_each_other_in_a_circle() -> None:
    """As far as they are imported at once; what a function imports later is a choice."""
    modules = {module_of(path): path for path in files(*PRODUCT)}
    refuse_circles(
        {
            module: {each for each in imported_at_once(path) if each in modules and each != module}
            for module, path in modules.items()
        }
    )


def test_no_apps_import_each_other_in_a_circle() -> None:
    """However late: an app is everything under ``lepton_apps/<app>``, or a package beside it."""
    graph = grimp.build_graph(*PRODUCT, cache_dir=None)
    apps = {*graph.find_children("lepton_apps"), "models_core", "fintech", "ops"}
    for app in apps & {module for module in graph.modules if graph.find_children(module)}:
        graph.squash_module(app)
    refuse_circles(
        {app: graph.find_modules_directly_imported_by(app) & apps - {app} for app in apps}
    )


def module_of(path: Path) -> str:
    return name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def refuse_circles(imports: Mapping[str, Collection[str]]) -> None:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as exc:
        raise AssertionError(" -> ".join(exc.args[1])) from None


def test_one_module_knows_the_kafka_client() -> None:
    found = {
        name(path)
        for path in files(*PRODUCT)
        if any(module.split(".")[0] == "kafka" for module in imported(path))
    }
    assert found == KAFKA


def test_the_host_finds_verticals_through_the_registry_alone() -> None:
    for path in files("lepton_apps", "models_core"):
        firsts = {module.split(".")[0] for module in imported(path)}
        assert not firsts & {"fintech", "ops", "tests", "benchmarks"}, name(path)
