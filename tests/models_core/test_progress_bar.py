"""The bar of a fit: one living line on a terminal, plain lines in a log."""

from __future__ import annotations

import io

import numpy as np

from models_core import Data, FitRecipe, Spec, bar, fit
from models_core.progress_bar import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_gets_one_living_line_with_the_time_left() -> None:
    out, clock = Terminal(), Clock()
    show = Bar(out, clock)
    for step in range(0, 1001, 10):
        clock.now = step / 10
        if step == 500:
            show.look(0.125, 0.9)
        show("fit", step, 1000)
    drawn = out.getvalue().split("\r\x1b[K")[1:]
    assert len(drawn) == 101
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().endswith("loss 0.125  score 0.9  1:40 min in all\n")
    assert "50% 500/1,000  loss 0.125  score 0.9  50 s left" in out.getvalue()


def test_a_log_gets_few_plain_lines() -> None:
    out, clock = io.StringIO(), Clock()
    show = Bar(out, clock)
    for step in range(0, 1001, 10):
        clock.now = step / 50
        show("fit", step, 1000)
    lines = out.getvalue().splitlines()
    assert [line.split("%")[0].split()[-1] for line in lines] == ["0", "25", "50", "75", "100"]
    assert "\x1b" not in out.getvalue()


def test_a_run_that_goes_on_counts_its_own_time_alone() -> None:
    out, clock = io.StringIO(), Clock()
    show = Bar(out, clock)
    show("fit", 500, 1000)
    clock.now = 10.0
    show("fit", 600, 1000)
    assert out.getvalue().endswith("40 s left\n")


def test_stages_without_a_number_and_closed_outputs_pass() -> None:
    out = io.StringIO()
    show = Bar(out)
    show("out of memory: 16 rows at a time", 0, 0)
    assert out.getvalue() == "out of memory: 16 rows at a time\n"
    out.close()
    show("fit", 1, 2)


def test_fit_draws_its_losses_on_the_bar() -> None:
    out = io.StringIO()
    x_NF = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    data = Data(x_NF, (x_NF[:, 0] > 0).astype(int))
    model = fit(
        Spec.of("mlp", data, width=4),
        data,
        recipe=FitRecipe(steps=20, evaluate_every=10, precision="float32"),
        progress=bar(out),
    )
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    last = model.history[-1]
    assert f"100% 20/20  loss {last.loss:.4g}  score {last.score:.4g}" in lines[-1]
