"""deploy/ as linters and schema validators see it. None of them starts a container."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.deploy.manifests import DEPLOY, KUBERNETES, kubernetes
from tests.docs.pages import ROOT

BIN = Path(sys.executable).parent


def run(*command: str | Path) -> str:
    """Everything that it says; an exit status other than 0 fails the test with that."""
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_dockerfile_has_no_finding_of_hadolint() -> None:
    assert run(BIN / "hadolint", DEPLOY / "Dockerfile") == ""


def test_the_compose_file_is_what_the_compose_specification_allows() -> None:
    run(
        BIN / "check-jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        DEPLOY / "compose.yaml",
    )


@pytest.mark.parametrize(
    "document",
    [document for _, document in kubernetes()],
    ids=[f"{document['kind']}-{document['metadata']['name']}" for _, document in kubernetes()],
)
def test_every_manifest_is_what_the_schemas_of_kubernetes_allow(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, "1.33", strict=True)


def test_a_wrong_manifest_is_noticed() -> None:
    _, document = kubernetes()[0]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**document, "sepc": {}}, "1.33", strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
def test_kustomize_puts_the_manifests_together() -> None:
    built = run("kubectl", "kustomize", KUBERNETES)
    assert built.count("\nkind: ") == len(kubernetes())
    assert "image: lepton\n" not in built


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH")
def test_the_alert_rules_are_what_prometheus_reads() -> None:
    assert "SUCCESS" in run("promtool", "check", "rules", DEPLOY / "prometheus" / "rules.yaml")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_units_are_what_systemd_reads(tmp_path: Path) -> None:
    for unit in (DEPLOY / "systemd").glob("*.service"):
        here = unit.read_text(encoding="utf-8").replace(
            "/opt/lepton/.venv/bin/python", sys.executable
        )
        (tmp_path / unit.name).write_text(here, encoding="utf-8")
    assert run("systemd-analyze", "verify", *sorted(tmp_path.glob("*.service"))) == ""


def test_the_scripts_have_no_finding_of_shellcheck() -> None:
    assert run(BIN / "shellcheck", DEPLOY / "secrets.sh", ROOT / ".ci" / "run") == ""
