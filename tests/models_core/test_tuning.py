"""A search: what it may look at, who shares it, what ends early, and what a killed worker leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import optuna
import psycopg
import pytest

from lepton_apps.common import clock
from models_core import (
    Choice,
    FitRecipe,
    Model,
    Range,
    RunFacts,
    Spec,
    Table,
    Tuned,
    TuneError,
    tune,
)
from models_core.model import Look
from models_core.reports import Report
from models_core.space import Space
from models_core.studies import open_study, take_back
from tests.models_core.conftest import rings

RECIPE = FitRecipe(
    steps=30, batch_size=128, evaluate_every=10, precision="float32", device="cpu", seed=1
)
SPACE: Space = {"learning_rate": Range(1e-4, 3e-2, log=True), "width": Choice(8, 16)}
WORKER = """
import sys
from pathlib import Path
from tests.models_core import test_tuning as t
t.searched(
    storage=sys.argv[1], trials=int(sys.argv[2]), refit=False,
    trackers=[t.Meet(Path(sys.argv[3])) if len(sys.argv) > 3 else t.Killer()],
)
"""


class Quiet:
    """A tracker that does nothing."""

    def start(self, run: RunFacts) -> None: ...

    def look(self, look: Look) -> None: ...

    def end(self, model: Model | None, report: Report | None) -> None: ...


class Killer(Quiet):
    """Kills its process at the first look."""

    def look(self, look: Look) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Meet(Quiet):
    """Waits in the middle of its first trial for another process that is in the middle of one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def look(self, look: Look) -> None:
        (self.folder / f"{os.getpid()}.here").touch()
        for _ in range(1200):
            if len(list(self.folder.glob("*.here"))) > 1:
                return
            clock.sleep(0.1)


def searched(**how: object) -> Tuned:
    settings: dict[str, object] = {"trials": 6, "recipe": RECIPE, **how}
    return tune("mlp", rings(400, 1), rings(200, 2), SPACE, **settings)  # type: ignore[arg-type]


def start_worker(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )


def searched_by_two(storage: str | Path, trials: int, folder: Path) -> Tuned:
    """The search of this process, while another one has its part in it."""
    other = start_worker(storage, trials, folder)
    tuned = searched(storage=storage, trials=trials, trackers=[Meet(folder)])
    _, complaint = other.communicate(timeout=120)
    assert other.returncode == 0, complaint
    return tuned


def kill_at_work(storage: str | Path) -> None:
    """A worker that is killed in the middle of its first trial."""
    process = start_worker(storage, 3)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, complaint


def workers_of(tuned: Tuned, storage: str | Path) -> set[str]:
    """Who did the trials."""
    study, turns = open_study(tuned.study, storage, None, None)  # type: ignore[arg-type]
    turns.close()
    return {trial.user_attrs["worker"] for trial in study.trials if "worker" in trial.user_attrs}


@contextmanager
def database() -> Iterator[str]:
    """A database of its own on the server of the tests."""
    name = f"tune_{uuid4().hex[:12]}"
    base = os.environ["DATABASE_URL"]
    with psycopg.connect(base, autocommit=True) as raw:
        raw.execute(f'CREATE DATABASE "{name}"')
        head, _, options = base.partition("?")
        yield f"{head.rpartition('/')[0]}/{name}" + (f"?{options}" if options else "")
        raw.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_a_search_finds_the_best_of_its_trials_and_repeats_itself() -> None:
    tuned = searched()
    assert len(tuned.trials) == 6
    done = [trial for trial in tuned.trials if trial.state == "complete"]
    assert tuned.score == max(trial.score for trial in done if trial.score is not None)
    assert tuned.spec.params["width"] == tuned.best.values["width"]
    assert tuned.recipe.learning_rate == tuned.best.values["learning_rate"]
    assert tuned.recipe.steps == RECIPE.steps
    assert isinstance(tuned.model, Model)
    assert max(look.score for look in tuned.model.history) == tuned.score
    assert [trial.values for trial in searched(refit=False).trials] == [
        t.values for t in tuned.trials
    ]
    said = json.loads(tuned.to_json())
    assert said["trials"][tuned.best.number]["values"] == dict(tuned.best.values)
    assert "learning_rate" in str(tuned).splitlines()[0]


def test_pruning_ends_trials_that_learn_too_little() -> None:
    space: Space = {"learning_rate": Choice(1e-2, 1e-6), "width": Choice(16, 17, 18, 19)}
    found = {}
    for prune in ("median", "none"):
        tuned = tune(
            "mlp",
            rings(600, 1),
            rings(300, 2),
            space,
            trials=10,
            recipe=replace(RECIPE, steps=60),
            prune=prune,
            seed=3,
            refit=False,
        )
        found[prune] = [trial for trial in tuned.trials if trial.state == "pruned"]
        assert tuned.recipe.learning_rate == 1e-2
    assert found["none"] == []
    assert found["median"]
    assert all(trial.looks < 6 for trial in found["median"])
    assert 1e-6 in {trial.values["learning_rate"] for trial in found["median"]}


def test_several_processes_share_one_journal_and_the_study_has_no_trial_too_many(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "studies" / "payments.journal"
    searched_by_two(journal, 8, tmp_path)
    tuned = searched(storage=journal, trials=8)
    assert [trial.number for trial in tuned.trials] == list(range(8))
    assert {trial.state for trial in tuned.trials} <= {"complete", "pruned"}
    assert len(workers_of(tuned, journal)) == 2
    assert tuned.model is not None  # fitted again here, to the bit what was found
    assert max(look.score for look in tuned.model.history) == tuned.score
    left = sorted(path.suffix for path in journal.parent.iterdir())
    assert left == [".journal", ".lock", ".turn"]


def test_a_study_goes_on_and_refuses_another_search(tmp_path: Path) -> None:
    journal = tmp_path / "a.journal"
    first = searched(storage=journal, trials=2)
    again = searched(storage=journal, trials=4)
    assert again.trials[:2] == first.trials
    assert len(again.trials) == 4
    data = (rings(400, 1), rings(200, 2))
    with pytest.raises(TuneError, match="'tune' is there already, with another space"):
        tune("mlp", *data, {"width": Choice(8, 32)}, recipe=RECIPE, storage=journal)
    with pytest.raises(TuneError, match="with another recipe"):
        searched(storage=journal, recipe=replace(RECIPE, steps=31))
    with pytest.raises(TuneError, match="with another validation"):
        tune("mlp", data[0], rings(200, 3), SPACE, recipe=RECIPE, storage=journal)
    searched(storage=journal, recipe=replace(RECIPE, threads=2), trials=4)  # another place


def test_the_trial_of_a_killed_worker_is_tried_again_and_given_up_when_it_kills_twice(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "a.journal"
    kill_at_work(str(journal))
    kill_at_work(str(journal))
    tuned = searched(storage=journal, trials=3)
    first, second = tuned.trials[:2]
    assert (first.state, second.state) == ("failed", "failed")
    assert second.values == first.values
    assert (first.why, second.why[:24]) == ("", "Its worker died, 2 times")
    assert len([trial for trial in tuned.trials if trial.state != "failed"]) == 2


def test_a_line_that_a_dying_machine_left_half_written_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "a.journal"
    searched(storage=journal, trials=1)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    assert len(searched(storage=journal, trials=2).trials) == 2


def test_processes_share_a_study_in_postgresql_and_take_over_from_a_dead_one(
    tmp_path: Path,
) -> None:
    with database() as url:
        kill_at_work(url)
        searched_by_two(url, 4, tmp_path)
        tuned = searched(storage=url, trials=4, refit=False)
        states = [trial.state for trial in tuned.trials]
        assert states[0] == "failed"
        assert len([state for state in states if state in ("complete", "pruned")]) == 4
        again = [trial for trial in tuned.trials[1:] if trial.values == tuned.trials[0].values]
        assert len(again) == 1
        assert len(workers_of(tuned, url)) == 3


def test_an_interrupted_trial_waits_for_who_goes_on(tmp_path: Path) -> None:
    class Interrupt(Quiet):
        def look(self, look: Look) -> None:
            raise KeyboardInterrupt

    journal = tmp_path / "a.journal"
    with pytest.raises(KeyboardInterrupt):
        searched(storage=journal, trackers=[Interrupt()])
    tuned = searched(storage=journal, trials=1)
    assert [trial.state for trial in tuned.trials] == ["failed", "complete"]
    assert tuned.trials[1].values == tuned.trials[0].values


def test_one_worker_leaves_the_trials_of_the_living_alone(tmp_path: Path) -> None:
    study, turns = open_study("a", tmp_path / "j", None, None)  # type: ignore[arg-type]
    study.ask().set_user_attr("worker", turns.me)
    other, others = open_study("a", tmp_path / "j", None, None)  # type: ignore[arg-type]
    with others.asking():
        take_back(other, others)
    assert other.trials[0].state.name == "RUNNING"
    turns.close()
    with others.asking():
        take_back(other, others)
    assert [trial.state.name for trial in other.trials] == ["FAIL", "WAITING"]
    others.close()


def test_a_worker_that_was_given_up_leaves_its_trial_to_others_and_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "a.journal"

    class Robber(Quiet):
        """Gives the first trial to others, as if its worker had lost its lock."""

        robbed = False

        def look(self, look: Look) -> None:
            if not self.robbed:
                self.robbed = True
                study, turns = open_study("tune", journal, None, None)  # type: ignore[arg-type]
                study.tell(0, state=optuna.trial.TrialState.FAIL)
                turns.close()

    tuned = searched(storage=journal, trials=2, trackers=[Robber()])
    assert [trial.state for trial in tuned.trials] == ["failed", "complete", "complete"]
    assert tuned.trials[0].looks == 0


@pytest.mark.parametrize("prune", ["hyperband", "none"])
def test_other_ways_to_prune_search_too(prune: str) -> None:
    tuned = searched(prune=prune, trials=3, refit=False)
    assert len(tuned.trials) == 3
    with pytest.raises(TuneError, match="prune='mean' is none of median, hyperband, none"):
        searched(prune="mean")


def test_trackers_are_told_of_each_trial_by_its_name() -> None:
    class Names(Quiet):
        told: list[str]

        def start(self, run: RunFacts) -> None:
            self.told.append(run.name)

    names = Names()
    names.told = []
    searched(study="rings", trials=2, trackers=[names], refit=False)
    assert names.told == ["rings-0", "rings-1"]


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({}, "space is empty"),
        ({"wdth": Choice(1, 2)}, "'wdth' is neither a field of FitRecipe nor a parameter of 'mlp'"),
        ({"watch": Choice("a", "b")}, "decides how trials are compared"),
        ({"width": (8, 16)}, "neither a Choice nor a Range"),
    ],
)
def test_a_space_that_means_nothing_is_refused(space: object, sentence: str) -> None:
    with pytest.raises(TuneError, match=sentence):
        tune("mlp", rings(100, 1), rings(100, 2), space)  # type: ignore[arg-type]


def test_a_search_of_which_every_trial_fails_says_why_the_first_one_did() -> None:
    with pytest.raises(TuneError, match=r"No trial of 2 gave a model: .*dropout"):
        tune(
            Spec("mlp", 6),
            rings(100, 1),
            rings(100, 2),
            {"dropout": Choice(-1.0, 2.0)},
            trials=2,
            recipe=RECIPE,
        )


def test_other_stores_are_refused_and_a_silent_server_is_one_sentence() -> None:
    with pytest.raises(TuneError, match="not in sqlite: give a path, or a URL"):
        searched(storage="sqlite:///here.db")
    with pytest.raises(TuneError, match="PostgreSQL does not keep the study: "):
        searched(storage="postgresql://nobody:secret@127.0.0.1:1/none")


@pytest.mark.parametrize("bad", [(2, 1, {}), (0, 1, {"log": True}), (1, 9, {"step": 0.5})])
def test_a_range_that_cannot_be_is_refused(bad: tuple[int, int, dict[str, object]]) -> None:
    low, high, how = bad
    with pytest.raises(TuneError):
        Range(low, high, **how)  # type: ignore[arg-type]


def test_data_without_a_validation_is_cut_in_time_and_the_table_is_left_alone() -> None:
    table = rings(500, 1)
    before = table.hash
    tuned = tune("mlp", table, space={"width": Choice(4, 8)}, trials=2, recipe=RECIPE)
    assert tuned.model is not None
    assert tuned.model.data_hash == Table(table.x_NF[:400], table.y_N[:400]).hash
    assert table.hash == before
