"""Everything that has a page is on it: settings, metrics, the contract, commands, error codes."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

from django.core.management import get_commands
from prometheus_client import Counter, Gauge, Histogram

import lepton_apps
from lepton_apps.common import commands, metrics
from lepton_apps.common.errors import LeptonError
from lepton_apps.realtime.closing import CloseCode
from lepton_apps.verticals import contract, insight
from tests.docs.pages import ROOT, rows, section, text

SETTINGS = "docs/settings.md"
READERS = ("lepton_apps/settings.py", "lepton_apps/embedded/__main__.py")
METRIC = re.compile(r"(lepton_[a-z_]+)(?:\{([a-z,]*)\})?")
UNITS = {"lepton_apps.asgi", "lepton_apps.wsgi", "lepton_apps.embedded.__main__"}  # start things


def asked_variables() -> dict[str, ast.Call]:
    """Every call of a reader of the environment, by the variable's name."""
    found: dict[str, ast.Call] = {}
    for file in READERS:
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id.startswith("env_")
                and isinstance(node.args[0], ast.Constant)
            ):
                found.setdefault(str(node.args[0].value), node)
    return found


def test_every_setting_is_on_its_page_and_no_other() -> None:
    assert set(rows(SETTINGS)) == set(asked_variables())


def test_defaults_on_the_page_are_those_of_the_code() -> None:
    for name, call in asked_variables().items():
        default = call.args[1] if len(call.args) > 1 else None
        if isinstance(default, ast.Constant) and default.value not in ("", None):
            value = default.value
            expected = str(value).lower() if isinstance(value, bool) else str(value)
            assert rows(SETTINGS)[name].startswith(f"`{expected}`"), name


def test_secrets_are_marked() -> None:
    secrets = {
        name
        for name, call in asked_variables().items()
        if isinstance(call.func, ast.Name) and call.func.id == "env_secret"
    }
    marked = set(re.findall(r"^\| `(\w+)` \|[^|]*\| \*secret\*", text(SETTINGS), re.MULTILINE))
    assert marked == secrets


def declared_metrics() -> dict[str, set[str]]:
    """Names as Prometheus sees them, with their labels."""
    return {
        f"{metric._name}_total" if isinstance(metric, Counter) else metric._name: set(
            metric._labelnames
        )
        for metric in vars(metrics).values()
        if isinstance(metric, Counter | Gauge | Histogram)
    }


def test_every_metric_is_on_its_page_with_its_labels() -> None:
    listed = {}
    for cell in rows("docs/metrics.md"):
        if (match := METRIC.fullmatch(cell)) is not None:
            listed[match[1]] = set((match[2] or "").split(",")) - {""}
    assert listed == declared_metrics()


def test_every_metric_that_the_docs_name_exists() -> None:
    named = set(re.findall(r"lepton_[a-z]+_[a-z_]+", text("docs/metrics.md")))
    named |= set(re.findall(r"lepton_[a-z]+_[a-z_]+", text("docs/operations.md")))
    assert {name for name in named if not name.startswith("lepton_apps")} <= set(declared_metrics())


def contract_classes() -> dict[str, type[Any]]:
    return {
        name: value
        for module in (contract, insight)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }


def members(cls: type[Any]) -> set[str]:
    """Fields of a dataclass, and public methods and properties."""
    own = {
        name for name, value in vars(cls).items() if callable(value) or isinstance(value, property)
    }
    named = {field.name for field in fields(cls)} if is_dataclass(cls) else set()
    return {name for name in named | own if not name.startswith("_")}


def test_every_part_of_the_contract_is_explained() -> None:
    for name, cls in contract_classes().items():
        body = section("docs/verticals.md", name)
        assert body, f"docs/verticals.md has no section on {name}."
        wanted = (
            {member.name for member in contract.Severity} if name == "Severity" else members(cls)
        )
        told = set(re.findall(r"`(\w+)`", body))
        assert wanted <= told, f"{name}: {sorted(wanted - told)}"


def test_every_field_that_is_explained_is_in_the_contract() -> None:
    for name, cls in contract_classes().items():
        if is_dataclass(cls):
            listed = re.findall(r"^\| `(\w+)` \|", section("docs/verticals.md", name), re.MULTILINE)
            assert set(listed) == members(cls), name


def test_every_command_is_on_the_page_of_operators() -> None:
    ours = {name for name, app in get_commands().items() if str(app).startswith("lepton_apps.")}
    listed = {
        cell.split()[1] for cell in rows("docs/operations.md") if cell.startswith("manage.py")
    }
    assert listed == ours


def error_codes() -> set[str]:
    for module in walk_packages(lepton_apps.__path__, "lepton_apps."):
        if module.name not in UNITS and ".migrations" not in module.name:
            import_module(module.name)

    def below(cls: type[LeptonError]) -> set[type[LeptonError]]:
        return {cls}.union(*(below(each) for each in cls.__subclasses__()))

    return {cls.code for cls in below(LeptonError) if cls.__module__.startswith("lepton_apps.")}


def test_every_error_code_has_its_line() -> None:
    assert error_codes() <= set(rows("docs/troubleshooting.md"))


def test_every_code_of_an_http_status_has_its_line() -> None:
    from lepton_apps.api.errors import CODE_OF_STATUS

    assert set(CODE_OF_STATUS.values()) <= set(rows("docs/troubleshooting.md"))


def test_every_error_code_says_what_to_do() -> None:
    table = re.findall(
        r"^\| `([\w.]+)` \|[^|\n]+\|([^|\n]*)\|$", text("docs/troubleshooting.md"), re.M
    )
    assert len(table) > 40
    assert [code for code, do in table if len(do.strip()) < 5] == []


def test_every_close_code_has_its_line() -> None:
    body = section("docs/troubleshooting.md", "Sockets")
    assert {int(code) for code in re.findall(r"^\| (\d{4}) \|", body, re.M)} == set(CloseCode)


def test_every_exit_status_of_a_command_has_its_line() -> None:
    body = section("docs/troubleshooting.md", "Commands")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", body, re.M)} == {
        0, commands.REFUSED, commands.WRONG_ARGUMENTS, commands.UNAVAILABLE, commands.INTERRUPTED,
    }  # fmt: skip


def test_every_reason_of_a_refused_record_has_its_line() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "lepton_apps").rglob("*.py")
    )
    reasons = set(re.findall(r"\breason=\"([a-z_0-9]+)\"", source)) | {"processing_failed"}
    listed = re.findall(
        r"^\| `(\w+)` \|",
        section("docs/troubleshooting.md", "Reasons of refused records and dead letters"),
        re.MULTILINE,
    )
    assert set(listed) == reasons


def test_every_system_check_has_its_line() -> None:
    files = (ROOT / "lepton_apps").rglob("checks.py")
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    ids = set(re.findall(r"lepton\.[EW]\d{3}", source))
    assert ids == {code for code in rows("docs/troubleshooting.md") if code.startswith("lepton.")}
