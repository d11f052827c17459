"""Two processes on gloo train what one would: DDP and FSDP2, killed and gone on with."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.models_core.together import CASES, recipe_of, trained

SHARDS = ("ddp", "fsdp")
pytestmark = pytest.mark.timeout(400)  # three times two processes that import torch


def started(what: str, folder: Path) -> subprocess.Popen[bytes]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    torchrun += ["--master-addr=127.0.0.1", f"--master-port={port}", "--max-restarts=0"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*torchrun, "-m", "tests.models_core.together", what, str(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made: of every case, of a run that was killed, and of one that went on."""
    folder = tmp_path_factory.mktemp("together")
    for shard, process in {shard: started(shard, folder) for shard in SHARDS}.items():
        said = process.communicate(timeout=150)[1].decode()
        assert process.returncode != 0, "the first process was to be killed"
        assert (folder / f"unbroken-{shard}-1.json").exists(), said
        kept = sorted(path.name for path in (folder / f"kept-{shard}").iterdir())
        assert kept == ["step-10", "step-5"], said
    process = started("again", folder)
    said = process.communicate(timeout=150)[1].decode()
    assert process.returncode == 0, said
    return folder


@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize("case", CASES)
def test_two_processes_get_the_weights_of_one_within_rounding(
    shard: str, case: str, folder: Path
) -> None:
    alone = trained(recipe_of(case, "none"))
    looks = [(look.loss, look.score) for look in alone.history]
    for rank in (0, 1):
        theirs = load_file(folder / f"{case}-{shard}-{rank}.safetensors")
        assert set(theirs) == set(alone.module.state_dict())
        for name, tensor in alone.module.state_dict().items():
            # Attention does not see this one: its gradient is rounding alone, which AdamW scales.
            if not name.endswith("key.bias"):
                assert torch.allclose(tensor, theirs[name], atol=5e-5), name
        said = json.loads((folder / f"{case}-{shard}-{rank}.json").read_bytes())
        assert [look[0] for look in said] == [look.step for look in alone.history]
        for (loss, score), (_, their_loss, their_score) in zip(looks, said, strict=True):
            assert their_loss == pytest.approx(loss, abs=1e-4)
            assert their_score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("shard", SHARDS)
def test_both_processes_return_the_same_model_to_the_bit(shard: str, folder: Path) -> None:
    for case in CASES:
        first, second = (load_file(folder / f"{case}-{shard}-{n}.safetensors") for n in (0, 1))
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("shard", SHARDS)
def test_two_killed_processes_go_on_to_the_bit_as_if_unbroken(shard: str, folder: Path) -> None:
    for rank in (0, 1):
        unbroken, again = (
            load_file(folder / f"{name}-{shard}-{rank}.safetensors")
            for name in ("unbroken", "again")
        )
        assert all(torch.equal(tensor, again[name]) for name, tensor in unbroken.items())
        curves = [
            (folder / f"{name}-{shard}-{rank}.json").read_bytes() for name in ("unbroken", "again")
        ]
        assert curves[0] == curves[1]
    assert not list((folder / f"kept-{shard}").iterdir())


@pytest.mark.parametrize("shard", SHARDS)
def test_what_two_processes_cannot_do_is_refused_by_name(shard: str, folder: Path) -> None:
    said = json.loads((folder / f"refused-{shard}.json").read_bytes())
    assert "A batch of 1 rows cannot be shared by 2 processes" in said.pop("batch")
    assert set(said) == (set() if shard == "ddp" else {"adafactor", "float16"})
    for what, sentence in said.items():
        assert what in sentence
        assert 'not for shard="fsdp"' in sentence
