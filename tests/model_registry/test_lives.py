"""What becomes of a version: it never changes, is rolled back to, withdrawn, retired."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import DatabaseError, connection

from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.common.code_version import commit_of
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.errors import (
    NoEarlierChampionError,
    PromotionConflictError,
    RoleRefusedError,
    VersionInUseError,
    VersionRetiredError,
)
from lepton_apps.model_registry.loading import ModelRefusedError
from lepton_apps.model_registry.models import ModelVersion, Retirement, Role, RoleChange
from lepton_apps.model_registry.serving import ModelSource, NoChampionError
from lepton_apps.verticals.contract import Stream
from tests.model_registry.conftest import of_another_schema, tiny
from tests.model_registry.test_services import at_once

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = "fintech.transactions"


def promote(version: ModelVersion, expected: int | None, role: str = Role.CHAMPION) -> RoleChange:
    return services.promote(version, role, None, "Said so.", expected=expected)


def rollback(expected: int | None) -> RoleChange:
    return services.rollback(MODEL, None, "Too many reviews.", expected=expected)


def champion() -> int | None:
    found = selectors.champion(MODEL)
    return found.number if found else None


@pytest.fixture
def three(stream: Stream, versions: list[ModelVersion]) -> list[ModelVersion]:
    """Versions 1, 2 and 3, each of which was champion in its turn."""
    three = [*versions, services.register_version(stream, tiny(3), None)]
    for before, version in zip([None, 1, 2], three, strict=True):
        promote(version, before)
    return three


def test_the_database_changes_and_removes_no_row_of_the_registry(three: list[ModelVersion]) -> None:
    services.rollback(MODEL, None, "", expected=3)
    services.retire(three[2], None, "")
    for table in ("model_version", "model_file", "model_role_change", "model_retirement"):
        for act in (f"UPDATE {table} SET id = id", f"DELETE FROM {table}"):
            with (
                pytest.raises(DatabaseError, match=f"rows of {table} are never changed"),
                connection.cursor() as cursor,
            ):
                cursor.execute(act)


def test_an_account_that_goes_leaves_its_name(stream: Stream, admin: User) -> None:
    version = services.register_version(stream, tiny(1), admin)
    services.promote(version, Role.CHAMPION, admin, "Mine.", expected=None)
    admin.delete()
    assert selectors.version(MODEL, 1).created_by_name == "ada"
    assert selectors.history(MODEL)[0].by_name == "ada"


def test_a_version_says_which_recipe_and_which_code_made_it(stream: Stream) -> None:
    version = services.register_version(stream, tiny(1), None, "fintech.transactions.starter")
    assert version.recipe_name == "fintech.transactions.starter"
    assert version.code_version
    assert version.code_version == (
        commit_of(Path(django_settings.BASE_DIR)) or django_settings.VERSION
    )
    assert version.data_hash
    # What an artifact says of itself stays when it is registered somewhere else.
    files = {file.name: bytes(file.content) for file in version.files.all()}
    trained = tiny(1)
    again = services.register_version(
        stream, type(trained)(files, trained.metrics, trained.baseline), None, "another"
    )
    assert again.recipe_name == "fintech.transactions.starter"


def test_the_code_is_the_commit_of_this_very_folder(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True)

    assert commit_of(tmp_path) is None
    git("init", "-q")
    assert commit_of(tmp_path) is None, "nothing is committed yet"
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "One.")
    clean = commit_of(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "file").write_text("two")
    assert commit_of(tmp_path) == f"{clean}-dirty"
    (tmp_path / "inner").mkdir()
    assert commit_of(tmp_path / "inner") is None, "a checkout above is of something else"


def test_rolling_back_goes_down_and_not_up_again(three: list[ModelVersion]) -> None:
    assert rollback(3).version == three[1]
    assert rollback(2).version == three[0]
    with pytest.raises(NoEarlierChampionError, match="no champion before version 1"):
        rollback(1)
    promote(three[2], 1)
    assert rollback(3).version == three[0]
    acts = [entry.action for entry in AuditEntry.objects.filter(action__startswith="model.r")]
    assert acts.count("model.rolled_back") == 3
    newest = selectors.history(MODEL)[0]
    assert (newest.act, newest.why) == ("rolled_back", "Too many reviews.")


def test_rolling_back_leaves_retired_versions_out(three: list[ModelVersion]) -> None:
    services.retire(three[1], None, "Trained on leaked labels.")
    assert rollback(3).version == three[0]


def test_rolling_back_from_another_champion_than_expected_is_refused(
    three: list[ModelVersion],
) -> None:
    with pytest.raises(PromotionConflictError, match="Version 3 is champion"):
        rollback(2)
    assert champion() == 3


def test_of_two_rollbacks_at_once_one_wins(three: list[ModelVersion]) -> None:
    results = at_once([lambda: rollback(3), lambda: rollback(3)])
    assert sum(isinstance(result, RoleChange) for result in results) == 1
    assert sum(isinstance(result, PromotionConflictError) for result in results) == 1
    assert champion() == 2


def test_rolling_back_to_other_features_is_refused(three: list[ModelVersion]) -> None:
    of_another_schema(three[1])
    with pytest.raises(ModelRefusedError, match="feedfacefeedface"):
        rollback(3)
    assert champion() == 3


def test_a_retired_version_takes_no_role_again(three: list[ModelVersion], admin: User) -> None:
    services.retire(three[0], admin, "Superseded.")
    for role in Role.values:
        with pytest.raises(VersionRetiredError, match="retired by ada"):
            promote(three[0], 3 if role == Role.CHAMPION else None, role)
    with pytest.raises(VersionRetiredError):
        services.retire(three[0], admin, "Again.")
    entry = AuditEntry.objects.get(action="model.retired")
    assert (entry.actor_name, entry.why, entry.target) == ("ada", "Superseded.", f"{MODEL} v1")


def test_a_version_with_a_role_is_not_retired(three: list[ModelVersion]) -> None:
    promote(three[0], None, Role.CHALLENGER)
    with pytest.raises(VersionInUseError, match="v3 is champion"):
        services.retire(three[2], None, "")
    with pytest.raises(VersionInUseError, match="v1 is challenger"):
        services.retire(three[0], None, "")
    assert not Retirement.objects.exists()


def test_of_a_promotion_and_a_retirement_at_once_one_is_refused(three: list[ModelVersion]) -> None:
    results = at_once([lambda: promote(three[0], 3), lambda: services.retire(three[0], None, "")])
    refused = [r for r in results if isinstance(r, VersionRetiredError | VersionInUseError)]
    assert len(refused) == 1
    assert (champion() == 1) != Retirement.objects.filter(version=three[0]).exists()


def test_a_challenger_is_withdrawn_and_served_no_more(
    stream: Stream, versions: list[ModelVersion], settings: Any, tmp_path: Path
) -> None:
    settings.WORKER_MODEL_CHECK_S, settings.LEPTON_DATA_DIR = 0.0, tmp_path
    promote(versions[0], None)
    promote(versions[1], None, Role.CHALLENGER)
    source = ModelSource(stream, Role.CHALLENGER)
    assert source.current().number == 2
    with pytest.raises(PromotionConflictError, match="Version 2 is challenger"):
        services.withdraw(MODEL, Role.CHALLENGER, None, "", expected=1)
    before = clock.now()
    line = services.withdraw(MODEL, Role.CHALLENGER, None, "Seen enough.", expected=2)
    assert selectors.roles_of(MODEL) == {"champion": 1}
    assert selectors.role_at(MODEL, Role.CHALLENGER, before) == versions[1]
    assert selectors.role_at(MODEL, Role.CHALLENGER, line.at) is None
    with pytest.raises(NoChampionError, match="no challenger"):
        source.current()
    assert AuditEntry.objects.get(action="model.withdrawn").target == f"{MODEL} v2"
    with pytest.raises(PromotionConflictError, match="Nobody is challenger"):
        services.withdraw(MODEL, Role.CHALLENGER, None, "", expected=None)
    promote(versions[1], None, Role.CHALLENGER)
    assert source.current().number == 2


def test_a_champion_is_not_withdrawn(versions: list[ModelVersion]) -> None:
    promote(versions[0], None)
    with pytest.raises(RoleRefusedError, match="Without a champion"):
        services.withdraw(MODEL, Role.CHAMPION, None, "", expected=1)
    with pytest.raises(DatabaseError, match="role_change_names_whom"):
        RoleChange.objects.create(
            model_name=MODEL, role="champion", act="withdrawn", sequence=9, at=clock.now()
        )


def test_times_of_the_ledger_grow_whatever_the_clocks_say(
    versions: list[ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promote(versions[0], None)
    behind = first.at - timedelta(minutes=5)
    monkeypatch.setattr(clock, "now", lambda: behind)
    second = promote(versions[1], 1)
    assert second.at > first.at
    assert selectors.role_at(MODEL, Role.CHAMPION, first.at) == versions[0]
    assert selectors.role_at(MODEL, Role.CHAMPION, second.at) == versions[1]
