"""What ``fit`` costs beside a loop written by hand, samples/s, and how two processes scale."""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import report
from benchmarks.servers import note
from models_core import Data, FitRecipe, Spec, fit
from models_core.architectures import build

LOOKS = 4  # at the validation rows in a run
GPU_BATCH = 8  # times the batch of a CPU
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Case:
    """One model on one data set; steps are some 0.3 to 1 s of one core."""

    name: str
    spec: Spec
    train: Data
    validation: Data
    batch: int
    steps: int

    def recipe(self, precision: str, device: str = "cpu", **changes: Any) -> FitRecipe:
        every = max(1, self.steps // LOOKS)
        base = FitRecipe(steps=self.steps, batch_size=self.batch, evaluate_every=every)
        base = replace(base, patience=LOOKS + 1, learning_rate=1e-3, device=device)  # type: ignore[arg-type]
        return replace(base, **{"precision": precision, **changes})


def cases() -> list[Case]:
    random = np.random.default_rng(0)
    table = random.normal(size=(9_216, 64)).astype(np.float32)
    series = random.normal(size=(9_216, 10, 8)).astype(np.float32)
    long_series = random.normal(size=(5_120, 32, 8)).astype(np.float32)
    made = []
    for name, x, params, batch, steps in (
        ("mlp", table, {"width": 256}, 256, 400),
        ("mlp, large batch", table, {"width": 256}, 4096, 32),
        ("lstm", series, {"width": 64}, 512, 40),
        ("transformer", long_series, {"width": 64, "layers": 2}, 64, 40),
    ):
        data = Data(x, (x.reshape(len(x), -1)[:, :4].sum(axis=1) > 0).astype(int))
        spec = Spec.of(name.partition(",")[0], data, **params)
        parts = data.rows(slice(1024, None)), data.rows(slice(0, 1024))
        made.append(Case(name, spec, *parts, batch, steps))
    return made


def by_fit(case: Case, recipe: FitRecipe) -> None:
    fit(case.spec, case.train, case.validation, recipe)


def by_hand(case: Case, recipe: FitRecipe) -> None:
    """What somebody would write who has just this model: the same module, batches and looks."""
    device = torch.device(recipe.device)
    torch.manual_seed(recipe.seed)
    module = build(case.spec)
    module.prepare(case.train, 0.0)
    module.to(device).train()
    x_N, y_N = _on(device, case.train)
    x_V, y_V = _on(device, case.validation)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    warmup = recipe.warmup_share * recipe.steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda n: min((n + 1) / warmup, 0.5 * (1 + math.cos(math.pi * n / recipe.steps))),
    )
    autocast = torch.autocast(device.type, torch.bfloat16, recipe.precision == "bfloat16")
    best, best_weights = math.inf, dict(module.state_dict())
    batches_an_epoch = len(x_N) // recipe.batch_size
    for step in range(recipe.steps):
        place = step % batches_an_epoch
        if place == 0:
            order_N = torch.randperm(len(x_N))
        row_B = order_N[place * recipe.batch_size : (place + 1) * recipe.batch_size].to(device)
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            loss = functional.binary_cross_entropy_with_logits(
                module(x_N[row_B]).float(), y_N[row_B]
            )
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), recipe.gradient_clip)
        optimizer.step()
        schedule.step()
        if (step + 1) % recipe.evaluate_every == 0:
            module.eval()
            with torch.inference_mode():
                miss = float(functional.binary_cross_entropy_with_logits(module(x_V), y_V))
            module.train()
            if miss < best:
                best = miss
                best_weights = {name: t.clone() for name, t in module.state_dict().items()}
    module.load_state_dict(best_weights)


def _on(device: torch.device, data: Data) -> tuple[Tensor, Tensor]:
    answers = data.target.astype(np.float32)
    return torch.from_numpy(data.arrays[0]).to(device), torch.from_numpy(answers).to(device)


def seconds_of(run: Callable[[Case, FitRecipe], None], case: Case, recipe: FitRecipe) -> float:
    """CPU time of this process, which other work on the machine does not add to; on a GPU, time."""
    if recipe.device == "cuda":
        torch.cuda.synchronize()
        began = time.perf_counter()
        run(case, recipe)
        torch.cuda.synchronize()
        return time.perf_counter() - began
    began = time.process_time()
    run(case, recipe)
    return time.process_time() - began


def compare(case: Case, recipe: FitRecipe, repeats: int) -> tuple[float, float]:
    """Overhead of ``fit`` in percent, and its samples/s; runs of both are taken in turns.

    The fastest runs are compared: other work on the machine, which spoils caches, only adds.
    """
    by_hand(case, recipe)
    by_fit(case, recipe)
    times: dict[Any, list[float]] = {by_fit: [], by_hand: []}
    for number in range(repeats):
        for run in (by_fit, by_hand) if number % 2 else (by_hand, by_fit):
            times[run].append(seconds_of(run, case, recipe))
    overhead = min(times[by_fit]) / min(times[by_hand]) - 1
    return 100 * overhead, case.batch * case.steps / median(times[by_fit])


def of_two_processes(repeats: int) -> dict[str, Any]:
    """Weak scaling: twice the batch by two processes, in the time of one process with its own."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        out = Path(folder) / "scaling.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
        command += ["--master-addr=127.0.0.1", f"--master-port={port}"]
        command += ["-m", "benchmarks.training", "--process-of-two", str(out)]
        subprocess.run(
            [*command, "--repeats", str(repeats)],
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
            check=True,
        )
        found: dict[str, Any] = json.loads(out.read_bytes())
        return found


def process_of_two(out: Path, repeats: int) -> None:
    """One of two processes: each trains alone, then both train together, in turns."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    found: dict[str, dict[str, float]] = {}
    for case in cases():
        alone = case.recipe("float32", shard="none")
        together = case.recipe("float32", shard="ddp", batch_size=2 * case.batch)
        by_fit(case, together)
        walls, cpus = [], []
        for _ in range(repeats):
            dist.barrier()
            wall, cpu = time.perf_counter(), time.process_time()
            by_fit(case, alone)
            wall_alone, cpu_alone = time.perf_counter() - wall, time.process_time() - cpu
            dist.barrier()
            wall, cpu = time.perf_counter(), time.process_time()
            by_fit(case, together)
            walls.append(wall_alone / (time.perf_counter() - wall))
            cpus.append(cpu_alone / (time.process_time() - cpu))
        found[case.name] = {"by_time": round(median(walls), 3), "by_work": round(median(cpus), 3)}
    if dist.get_rank() == 0:
        out.write_text(json.dumps(found))
    dist.destroy_process_group()


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="Pairs of runs of each model.")
    parser.add_argument("--save", metavar="NAME", help="Keep the line as benchmarks/results/NAME.")
    parser.add_argument("--process-of-two", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats must be above 0.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    torch.set_num_threads(1)
    if options.process_of_two is not None:
        process_of_two(options.process_of_two, options.repeats)
        return
    began = time.monotonic()
    overhead: dict[str, float] = {}
    speed: dict[str, int] = {}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for case in cases():
            if device == "cuda":
                case = replace(case, batch=min(case.batch * GPU_BATCH, len(case.train)))
            for precision in PRECISIONS:
                name = f"{case.name}, {precision}" + (", cuda" if device == "cuda" else "")
                percent, rate = compare(case, case.recipe(precision, device), options.repeats)
                overhead[name], speed[name] = round(percent, 2), round(rate)
                note(f"{name}: {percent:+.2f} %, {rate:,.0f} samples/s")
    scaling = of_two_processes(max(1, options.repeats // 3))
    result = report.line(
        "training",
        f"fit against a loop written by hand with the same module, batches, optimizer, schedule, "
        f"clipping, precision and {LOOKS} looks at validation rows; whole calls in turns in one "
        f"process, one thread, {options.repeats} runs of each in CPU time (on a GPU: time): overhead "
        "of the fastest run over the fastest by hand, samples/s of the median run with its setup. "
        "scaling: weak, DDP over gloo, twice the batch by two processes; by_time: wall time "
        "alone over together while both cores are in use; by_work: the same of CPU time, which "
        "leaves out waiting",
        "normal numbers: tables of 64 columns, series of 10 x 8 (lstm) and 32 x 8 (transformer); "
        + ", ".join(f"{case.name}: batch {case.batch} x {case.steps} steps" for case in cases()),
        {
            "overhead_percent": overhead,
            "samples_per_s": speed,
            "scaling": scaling,
        },
        time.monotonic() - began,
    )
    report.finish(result, options.save)


if __name__ == "__main__":
    main()
