from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings as django_settings
from django.db import connection

from lepton_apps.common import clock
from lepton_apps.common.metrics import MODEL_CHUNK, MODEL_INFO, MODEL_RELOADS
from lepton_apps.model_registry import services
from lepton_apps.model_registry.cache import sha256_hex
from lepton_apps.model_registry.loading import ModelRefusedError
from lepton_apps.model_registry.models import ModelFile, ModelVersion, Role, RoleChange
from lepton_apps.model_registry.serving import ModelSource, NoChampionError
from lepton_apps.verticals.contract import Stream
from tests.model_registry.conftest import tiny
from tests.unprotected import unprotected

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = "fintech.transactions"


@pytest.fixture(autouse=True)
def own_cache(settings: Any, tmp_path: Path) -> Path:
    settings.LEPTON_DATA_DIR = tmp_path
    settings.WORKER_MODEL_CHECK_S = 0.0  # every call asks the ledger
    return tmp_path / "models"


def champion(version: ModelVersion, expected: int | None = None) -> None:
    services.promote(version, Role.CHAMPION, None, expected=expected)


def champion_all_the_same(version: ModelVersion, sequence: int) -> None:
    """As if the version had been damaged just after its promotion, which would refuse it."""
    RoleChange.objects.create(
        model_name=MODEL,
        role=Role.CHAMPION,
        version=version,
        sequence=sequence,
        at=clock.now(),
        by_name="lepton",
    )


def reloads(result: str) -> float:
    return float(MODEL_RELOADS.labels(MODEL, result)._value.get())


def rows(stream: Stream, num: int = 5) -> np.ndarray[Any, np.dtype[np.float32]]:
    shape = (num, len(stream.extractor.schema.names))
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def corrupt(version: ModelVersion, name: str = "model.onnx") -> None:
    file = ModelFile.objects.get(version=version, name=name)
    content = bytearray(file.content)
    content[len(content) // 2] ^= 1
    with unprotected("model_file"):
        ModelFile.objects.filter(pk=file.pk).update(content=bytes(content))


def test_without_a_champion_the_error_says_how_to_get_one(stream: Stream) -> None:
    with pytest.raises(NoChampionError, match="train_starters") as caught:
        ModelSource(stream).current()
    assert caught.value.status == 503


def test_a_promotion_is_served_from_the_next_call_on(
    stream: Stream, versions: list[ModelVersion]
) -> None:
    champion(versions[0])
    source = ModelSource(stream)
    before = source.current()
    assert (before.number, before.version_id) == (1, versions[0].pk)
    assert source.current() is before

    champion(versions[1], expected=1)
    after = source.current()
    assert after.number == 2
    assert not np.array_equal(before.score(rows(stream)), after.score(rows(stream)))
    served = {
        sample.labels["version"]
        for metric in MODEL_INFO.collect()
        for sample in metric.samples
        if sample.labels["model"] == MODEL and sample.labels["role"] == "champion"
    }
    assert served == {"2"}


def test_the_ledger_is_not_asked_more_often_than_the_setting_says(
    stream: Stream, versions: list[ModelVersion], settings: Any
) -> None:
    settings.WORKER_MODEL_CHECK_S = 3_600.0
    champion(versions[0])
    source = ModelSource(stream)
    source.current()
    champion(versions[1], expected=1)
    assert source.current().number == 1


def test_a_corrupted_version_is_refused_and_the_old_champion_goes_on(
    stream: Stream, versions: list[ModelVersion], own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    champion(versions[0])
    source = ModelSource(stream)
    before, refused = source.current(), reloads("refused")
    corrupt(versions[1])
    with pytest.raises(ModelRefusedError, match=r"model\.onnx"):
        champion(versions[1], expected=1)
    champion_all_the_same(versions[1], 2)

    assert source.current() is before
    assert source.current() is before
    assert reloads("refused") == refused + 1  # said once, not at every batch
    record = next(record for record in caplog.records if record.message == "model refused")
    assert record.levelname == "ERROR"
    assert "model.onnx" in record.why  # type: ignore[attr-defined]

    champion(versions[0], expected=2)
    assert source.current() is before


def test_a_first_champion_that_is_corrupted_is_named_in_the_error(
    stream: Stream, versions: list[ModelVersion]
) -> None:
    corrupt(versions[0])
    champion_all_the_same(versions[0], 1)
    with pytest.raises(NoChampionError, match=r"Version 1 was refused: .*model\.onnx"):
        ModelSource(stream).current()


def test_wrong_golden_rows_are_refused(
    stream: Stream, versions: list[ModelVersion], with_wrong_golden_rows: Any
) -> None:
    champion(versions[0])
    source = ModelSource(stream)
    before = source.current()
    with_wrong_golden_rows(versions[1])
    with pytest.raises(ModelRefusedError, match="Golden rows differ"):
        champion(versions[1], expected=1)
    champion_all_the_same(versions[1], 2)
    assert source.current() is before


def test_a_champion_of_other_features_is_refused_and_the_one_before_goes_on(
    stream: Stream, versions: list[ModelVersion], caplog: pytest.LogCaptureFixture
) -> None:
    champion(versions[0])
    source = ModelSource(stream)
    before = source.current()
    with unprotected("model_file"):
        ModelFile.objects.filter(version=versions[1]).delete()
        for name, content in tiny(2, "feedfacefeedface").files.items():
            ModelFile.objects.create(
                version=versions[1],
                name=name,
                sha256=sha256_hex(content),
                size=len(content),
                content=content,
            )
    with pytest.raises(ModelRefusedError, match="feedfacefeedface"):
        champion(versions[1], expected=1)
    champion_all_the_same(versions[1], 2)
    assert source.current() is before
    record = next(record for record in caplog.records if record.message == "model refused")
    assert "feedfacefeedface" in record.why  # type: ignore[attr-defined]


def test_files_are_cached_by_content_for_nobody_else_to_read(
    stream: Stream, versions: list[ModelVersion], own_cache: Path
) -> None:
    champion(versions[0])
    expected = ModelSource(stream).current().score(rows(stream))
    assert own_cache.stat().st_mode & 0o777 == 0o700
    names = set(ModelFile.objects.filter(version=versions[0]).values_list("sha256", flat=True))
    assert {file.name for file in own_cache.iterdir()} <= names
    # The next process needs the database's bytes no more, only its word for the hashes.
    corrupt(versions[0])
    assert np.array_equal(ModelSource(stream).current().score(rows(stream)), expected)


def test_a_changed_cache_file_is_noticed_and_mended_from_the_database(
    stream: Stream, versions: list[ModelVersion], own_cache: Path
) -> None:
    champion(versions[0])
    expected = ModelSource(stream).current().score(rows(stream))
    contents = {file: file.read_bytes() for file in own_cache.iterdir()}
    assert contents
    for file, content in contents.items():
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert np.array_equal(ModelSource(stream).current().score(rows(stream)), expected)
    assert {file: file.read_bytes() for file in own_cache.iterdir()} == contents


def test_the_chunk_of_a_version_is_measured_once_on_a_host_and_shown(
    stream: Stream, versions: list[ModelVersion], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion(versions[0])
    expected = ModelSource(stream).current()
    plans = {
        file: json.loads(file.read_bytes()) for file in (own_cache.parent / "engines").iterdir()
    }
    sha256 = ModelFile.objects.get(version=versions[0], name="model.onnx").sha256
    (found,) = [plan for plan in plans.values() if plan["content"] == sha256]
    assert set(found["chosen"].values()) == {f"onnx in chunks of {expected.chunk}"}
    assert len(found["measured"]) == 5

    monkeypatch.setattr("models_core.chunking.microseconds", None)  # another process asks the file
    again = ModelSource(stream).current()

    assert again.chunk == expected.chunk
    assert np.array_equal(again.score(rows(stream)), expected.score(rows(stream)))
    assert MODEL_CHUNK.labels(MODEL, "champion")._value.get() == expected.chunk


def test_a_data_folder_that_cannot_be_written_only_means_no_cache(
    stream: Stream, versions: list[ModelVersion], settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.LEPTON_DATA_DIR = tmp_path / "file"
    champion(versions[0])
    assert ModelSource(stream).current().number == 1


def test_a_database_that_does_not_answer_leaves_the_loaded_model(
    stream: Stream, versions: list[ModelVersion]
) -> None:
    champion(versions[0])
    source = ModelSource(stream)
    before = source.current()
    port = connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict["PORT"] = "1"
    try:
        assert source.current() is before
    finally:
        connection.settings_dict["PORT"] = port
        connection.close()
    champion(versions[1], expected=1)
    assert source.current().number == 2


def test_threads_that_share_a_source_all_get_a_model(
    stream: Stream, versions: list[ModelVersion]
) -> None:
    champion(versions[0])
    source, numbers, failures = ModelSource(stream), set(), []

    def serve() -> None:
        try:
            for _ in range(20):
                numbers.add(source.current().number)
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            failures.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=serve) for _ in range(6)]
    for thread in threads:
        thread.start()
    champion(versions[1], expected=1)
    for thread in threads:
        thread.join()
    assert failures == []
    assert numbers <= {1, 2}
    assert source.current().number == 2


def test_contributions_are_told_by_reason(stream: Stream, versions: list[ModelVersion]) -> None:
    champion(versions[0])
    model = ModelSource(stream).current()
    x_BF = rows(stream)
    assert set(model.reasons) == set(stream.extractor.schema.reasons)
    assert len(model.reasons) == len(set(model.reasons))
    assert model.contributions(x_BF).shape == (5, len(model.reasons))
    assert model.usual.shape == (x_BF.shape[1],)
    assert set(stream.policy.thresholds) <= set(model.thresholds)
    # Reasons lead all the way from the usual record to this one's score.
    z_B = model.base + model.contributions(x_BF).sum(axis=1)
    assert np.allclose(1 / (1 + np.exp(-z_B)), model.score(x_BF), rtol=0, atol=1e-6)
    # A record that is usual in everything has nothing to explain.
    usual = model.usual[None, :].astype(np.float32)
    assert np.allclose(model.contributions(usual), 0.0, atol=1e-6)


def test_serving_does_not_import_torch(versions: list[ModelVersion], own_cache: Path) -> None:
    champion(versions[0])
    database = connection.settings_dict
    url = (
        f"postgresql://{database['USER']}:{database['PASSWORD']}@{database['HOST']}:"
        f"{database['PORT']}/{database['NAME']}"
    )
    code = (
        "import sys, django; django.setup()\n"
        "import numpy as np\n"
        "from lepton_apps.verticals import registry\n"
        "from lepton_apps.model_registry.serving import ModelSource\n"
        "stream = registry.stream('fintech.transactions')[1]\n"
        "x = np.zeros((3, len(stream.extractor.schema.names)), np.float32)\n"
        "model = ModelSource(stream).current()\n"
        "model.score(x), model.contributions(x)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "lepton_apps.settings"},
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
