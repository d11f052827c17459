"""deploy/ names what there is: settings, commands, streams, ports, metrics. And it gives little away."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import yaml
from django.core.management import get_commands

from tests.deploy.manifests import (
    DEPLOY,
    KUBERNETES,
    assignments,
    compose,
    config_map,
    containers,
    containers_of,
    kubernetes,
    pods,
    streams,
)
from tests.docs.pages import ROOT, rows
from tests.docs.test_reference import SETTINGS, declared_metrics

OF_OTHERS = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "NUMBA_CACHE_DIR"}
OF_COMPOSE = {"LEPTON_PORT", "TORCH_INDEX"}  # read by compose itself; deploy/README.md has them
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
WEB_PORT, METRICS_PORT = 8000, 9100


def known(name: str) -> bool:
    """Whether it is a setting, or the file of a secret one."""
    settings = rows(SETTINGS)
    return name in settings or (name.endswith("_FILE") and name.removesuffix("_FILE") in settings)


def test_every_variable_is_a_setting() -> None:
    told = {name for container in containers() for name in container.environment}
    told |= set(config_map())
    for unit in (*UNITS, DEPLOY / "systemd" / "lepton.env.example"):
        told |= set(assignments(unit))
    block = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE.split("AS lepton")[1], re.MULTILINE)
    told |= set(re.findall(r"\b([A-Z_]+)=", " ".join(block)))
    assert len(told) > 12
    assert {name for name in told - OF_OTHERS if not known(name)} == set()


def test_what_compose_asks_the_shell_for_is_a_setting_or_explained() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text("utf-8")))
    page = (DEPLOY / "README.md").read_text("utf-8")
    assert {name for name in asked if not known(name)} == OF_COMPOSE
    assert all(f"`{name}`" in page for name in OF_COMPOSE)


def test_every_command_exists() -> None:
    run = {command for container in containers() for command in container.commands}
    for unit in UNITS:
        run |= set(re.findall(r"^ExecStart=.*manage\.py (\w+)", unit.read_text("utf-8"), re.M))
    assert {"web", "worker", "migrate", "setup", "train_starters"} <= run
    assert run - set(get_commands()) == set()


def test_every_stream_has_a_worker_everywhere() -> None:
    for place in ("compose", "Deployment"):
        workers = {
            container.words[1]
            for container in containers()
            if container.where.startswith(place) and container.words[0] == "worker"
        }
        assert workers == streams(), place
    worker_unit = (DEPLOY / "systemd" / "lepton-worker@.service").read_text("utf-8")
    assert set(re.findall(r"lepton-worker@([\w.]+\w)", worker_unit)) == streams()


def test_every_process_is_scraped() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text("utf-8"))
    targets = {
        target
        for job in scraped["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    }
    services = {
        name
        for name, service in compose()["services"].items()
        if name == "web" or name.startswith("worker-")
    }
    assert targets == {f"{name}:{METRICS_PORT}" for name in services}


def test_ports_match() -> None:
    assert f"EXPOSE {WEB_PORT} {METRICS_PORT}" in DOCKERFILE
    assert f"127.0.0.1:{WEB_PORT}/healthz" in DOCKERFILE
    assert compose()["services"]["web"]["ports"][0].endswith(f":{WEB_PORT}")
    for container in containers():
        if container.words[0] == "web":
            assert container.words[-1] == str(WEB_PORT), container.where
        if container.words[0] in {"web", "worker"}:
            assert container.environment["METRICS_PORT"] == str(METRICS_PORT), container.where
    for owner, pod in pods():
        for container in pod["containers"]:
            named = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
            assert named.items() <= {"http": WEB_PORT, "metrics": METRICS_PORT}.items(), owner
    (policy,) = [document for _, document in kubernetes() if document["kind"] == "NetworkPolicy"]
    let_in = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert let_in == {WEB_PORT, METRICS_PORT}


def test_probes_ask_by_a_name_that_is_answered() -> None:
    assert "localhost" in config_map()["ALLOWED_HOSTS"].split(",")
    for owner, pod in pods():
        if owner.startswith("Deployment"):
            for container in pod["containers"]:
                assert "livenessProbe" in container, owner
        if owner == "Deployment web":
            (web,) = pod["containers"]
            assert web["readinessProbe"]["httpGet"]["path"] == "/readyz"
            assert web["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_pods_may_do_little() -> None:
    for owner, pod in pods():
        assert pod["automountServiceAccountToken"] is False, owner
        assert pod["securityContext"]["runAsNonRoot"] is True, owner
        for container in containers_of(pod):
            limits = container["securityContext"]
            assert limits["readOnlyRootFilesystem"] is True, owner
            assert limits["allowPrivilegeEscalation"] is False, owner
            assert limits["capabilities"] == {"drop": ["ALL"]}, owner
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), owner
            assert "memory" in container["resources"]["limits"], owner


def test_containers_of_compose_may_do_little() -> None:
    for name, service in compose()["services"].items():
        if service["image"].startswith("lepton:"):
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"


def test_no_secret_has_a_value_in_the_repository() -> None:
    example = yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text("utf-8"))
    assert set(example["stringData"].values()) == {""}
    mounted = {
        each["value"].rpartition("/")[2]
        for _, pod in pods()
        for container in containers_of(pod)
        for each in container["env"]
    }
    assert mounted == set(example["stringData"])
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|DATABASE_URL", name):
                assert name.endswith("_FILE"), name
                assert value.startswith("/run/secrets/"), name


def test_images_have_versions() -> None:
    images = [service["image"] for service in compose()["services"].values()]
    images += re.findall(r"_IMAGE=(\S+)", DOCKERFILE)
    for image in images:
        assert re.search(r":v?\d", image), image
    (listed,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))["images"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert listed["newTag"] == project["version"]
    assert compose()["x-lepton"]["image"] == f"lepton:{project['version']}"


def test_the_image_has_every_package_of_the_server_and_may_copy_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["importlinter"]["root_packages"]
    lines = re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.MULTILINE)
    copied = {name for line in lines for name in line.split()[:-1]}
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert {*packages, "manage.py", "requirements.txt"} <= copied
    assert {line[1:] for line in ignored if line.startswith("!")} >= copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_kustomization_lists_every_file_but_the_example() -> None:
    listed = {name for name, _ in kubernetes()}
    there = {path.name for path in KUBERNETES.glob("*.yaml")}
    assert there - listed == {"kustomization.yaml", "secret.example.yaml"}


def test_rules_name_metrics_and_labels_that_exist() -> None:
    declared = declared_metrics()
    text = (DEPLOY / "prometheus" / "rules.yaml").read_text("utf-8")
    (group,) = yaml.safe_load(text)["groups"]
    for rule in group["rules"]:
        used = set(re.findall(r"\blepton_[a-z_]+", rule["expr"]))
        assert used <= declared.keys(), rule["alert"]
        labels = set(re.findall(r"(?:by|on) \(([a-z, ]+)\)|\{(\w+)=", rule["expr"]))
        asked = {name for pair in labels for part in pair for name in part.split(", ") if name}
        possible = set().union(*(declared[name] for name in used)) | {"job"}
        assert asked <= possible, rule["alert"]
        shown = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert shown <= possible | {"instance"}, rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_the_script_makes_secrets_once(tmp_path: Path) -> None:
    script = shutil.copy2(DEPLOY / "secrets.sh", tmp_path)

    def made() -> dict[str, str]:
        subprocess.run([script], check=True, capture_output=True)
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    first = made()
    assert first == made()
    declared = compose()["secrets"].values()
    assert {f"./secrets/{name}" for name in first} == {secret["file"] for secret in declared}
    assert len(first["secret_key"]) >= 50
    assert first["database_password"] in first["database_url"]
    assert first["database_password"] != first["secret_key"]
