from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from lepton_apps.common.progress import ProgressLines
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import ModelVersion, Role, RoleChange
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream
from tests.champions import PAYMENTS
from tests.model_registry.conftest import of_another_schema
from tests.unprotected import unprotected

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(CommandError, match=r"'nonsense'.*weather\.starter"):
        run("train_model", "nonsense")


def test_training_shows_progress_and_the_baseline_beside_the_model() -> None:
    output = run("train_model", "weather.starter")
    version = selectors.version("weather.readings", 1)
    assert "100%" in output
    for name in version.baseline:
        assert name in output
    assert "manage.py promote_model weather.readings 1" in output
    assert selectors.champion("weather.readings") is None


def test_training_can_promote_and_answer_in_json() -> None:
    arguments = ("weather.starter", "--promote", "--why", "It rains.", "--json")
    said = json.loads(run("train_model", *arguments))
    assert (said["model"], said["version"], said["promoted"]) == ("weather.readings", 1, True)
    change = selectors.history("weather.readings")[0]
    assert (change.version, change.why) == (selectors.version("weather.readings", 1), "It rains.")


def test_starters_are_trained_once_however_many_ask(versions: list[ModelVersion]) -> None:
    _, stream = registry.stream("weather.readings")
    services.promote(versions[0], Role.CHAMPION, None, expected=None)
    outputs: list[str] = []

    def start() -> None:
        try:
            outputs.append(run("train_starters", PAYMENTS.name, stream.name))
        finally:
            connection.close()

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outputs) == 2
    assert sum("nothing to train" in output for output in outputs) == 1
    assert sum("weather.readings v1 is champion" in output for output in outputs) == 1
    assert RoleChange.objects.filter(model_name="weather.readings").count() == 1
    assert selectors.champion(PAYMENTS.model_name) == versions[0]


def test_a_starter_of_a_stream_that_is_not_there_is_refused_with_what_comes_close() -> None:
    with pytest.raises(CommandError, match=r"'weather\.reading'\. Did you mean weather\.readings"):
        run("train_starters", "weather.reading")


def test_promoting_and_rolling_back_by_command(versions: list[ModelVersion]) -> None:
    name = "fintech.transactions"
    assert "v1 is champion; there was none." in run("promote_model", name, "1")
    assert "it was version 1" in run("promote_model", name, "2", "--why", "Better.")
    run("promote_model", name, "1", "--expect", "2", "--why", "Worse.")
    assert selectors.champion(name) == versions[0]
    with pytest.raises(CommandError, match="Version 1 is champion"):
        run("promote_model", name, "2", "--expect", "2")


def test_rolling_back_by_command_needs_no_number(versions: list[ModelVersion]) -> None:
    name = "fintech.transactions"
    run("promote_model", name, "1")
    run("promote_model", name, "2")
    with pytest.raises(CommandError, match="Version 2 is champion") as caught:
        run("rollback_model", name, "--expect", "1", "--why", "Worse.")
    assert caught.value.returncode == 1
    said = json.loads(run("rollback_model", name, "--why", "Worse.", "--json"))
    assert said == {"model": name, "version": 1, "replaced": 2}
    with pytest.raises(CommandError, match="no champion before version 1"):
        run("rollback_model", name, "--why", "Worse.")


def test_a_version_is_retired_by_command_once_it_has_no_role(versions: list[ModelVersion]) -> None:
    name = "fintech.transactions"
    run("promote_model", name, "1")
    with pytest.raises(CommandError, match="v1 is champion"):
        run("retire_model", name, "1", "--why", "Old.")
    assert "takes no role again" in run("retire_model", name, "2", "--why", "Never good.")
    with pytest.raises(CommandError, match="was retired by lepton"):
        run("promote_model", name, "2")
    assert "retired" in run("models")


def test_a_challenger_is_withdrawn_by_command(versions: list[ModelVersion]) -> None:
    name = "fintech.transactions"
    with pytest.raises(CommandError, match="Nobody is challenger"):
        run("withdraw_challenger", name, "--why", "Tired.")
    run("promote_model", name, "1", "--role", "challenger")
    assert "v1 is challenger no more" in run("withdraw_challenger", name, "--why", "Seen enough.")
    assert selectors.roles_of(name) == {}


def test_models_tells_who_had_which_role_at_a_moment(versions: list[ModelVersion]) -> None:
    first = services.promote(versions[0], Role.CHAMPION, None, "First.", expected=None)
    second = services.promote(versions[1], Role.CHAMPION, None, "Better.", expected=1)

    def live(at: str) -> list[tuple[str, int, str]]:
        roles = json.loads(run("models", "--at", at, "--json"))["roles"]
        return [(row["role"], row["version"], row["why"]) for row in roles]

    assert live(first.at.isoformat()) == [("champion", 1, "First.")]
    assert live(second.at.isoformat()) == [("champion", 2, "Better.")]
    assert "Better." in run("models", "--at", second.at.isoformat())
    assert "No version had a role at" in run("models", "--at", "2020-01-01T00:00:00Z")
    for wrong, why in (("yesterday", "is no time"), ("2026-03-01T10:00:00", "has no zone")):
        with pytest.raises(CommandError, match=why) as caught:
            run("models", "--at", wrong)
        assert caught.value.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["payments", "1"], r"fintech\.transactions, ops\.logs, ops\.metrics, weather\.readings"),
        (["fintech.transactions", "7"], r"It has: 2, 1\."),
    ],
)
def test_a_wrong_name_is_refused_with_those_there_are(
    versions: list[ModelVersion], arguments: list[str], named: str
) -> None:
    with pytest.raises(CommandError, match=named):
        run("promote_model", *arguments)


def test_models_are_listed_with_their_roles(versions: list[ModelVersion]) -> None:
    services.promote(versions[1], Role.CHAMPION, None, expected=None)
    of_another_schema(versions[0])
    rows = json.loads(run("models", "--json"))["versions"]
    assert [(row["version"], row["roles"], row["fits"]) for row in rows] == [
        (2, ["champion"], True),
        (1, [], False),
    ]
    table = run("models")
    assert "fintech.transactions" in table
    assert "champion" in table


def test_an_empty_registry_says_what_to_do() -> None:
    assert "train_starters" in run("models")


class Terminal(io.StringIO):
    """A console as commands have it."""

    def __init__(self, *, living: bool) -> None:
        super().__init__()
        self._living = living

    def isatty(self) -> bool:
        return self._living

    def write(self, text: str, *, ending: str = "") -> int:
        return super().write(text + ending)


@pytest.mark.parametrize("living", [True, False])
def test_quick_progress_is_shown_by_its_edges(living: bool) -> None:
    console: Any = Terminal(living=living)
    with ProgressLines(console) as progress:
        for done in range(1, 10_001):
            progress("fit", done, 10_000)
        progress("evaluate", 1, 1)
    shown = console.getvalue()
    assert shown.count("\n") == (2 if living else 3)
    assert "10,000/10,000" in shown
    assert "100%" in shown
    assert shown.count("fit") < 100


def test_the_list_shows_what_private_fits_have_spent(
    versions: list[ModelVersion], stream: Stream
) -> None:
    spent = {"epsilon": 2.987, "delta": 1e-5, "clip": 1.0, "noise": 1.2, "sample_rate": 0.1}
    private = versions[0]
    private.manifest = {**private.manifest, "privacy": {**spent, "steps": 30}}
    with unprotected("model_version"):
        private.save()
    rows = {row["version"]: row for row in json.loads(run("models", "--json"))["versions"]}
    assert rows[private.number]["privacy"] == {**spent, "steps": 30}
    assert rows[versions[1].number]["privacy"] is None
    assert "2.99 at 1e-05" in run("models")
