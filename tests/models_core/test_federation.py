"""Federated fits: as good as one fit on all rows, of whose parts nobody sees any."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from models_core import Data, FitRecipe, HttpSite, LocalSite, Model, Privacy, Spec, federate, fit
from models_core.federation import FederationError, Round, Site, SiteLostError
from models_core.federation_http import serve
from models_core.secure_sum import Masks, SecureSumError, total

TOKEN = "t" * 32
RECIPE = FitRecipe(
    steps=25, batch_size=128, learning_rate=1e-2, evaluate_every=25, precision="float32", seed=5
)
SPEC = Spec("mlp", 8, {"width": 32, "dropout": 0.0})


def rings(num: int, seed: int) -> Data:
    """A question no straight line answers: is the point outside of a circle?"""
    x_NF = np.random.default_rng(seed).normal(size=(num, 8)).astype(np.float32)
    return Data(x_NF, x_NF[:, 0] ** 2 + x_NF[:, 1] ** 2 > 1.4)


def parts() -> list[Data]:
    """2,400 rows on three sites: of unlike sizes, and each sees another side of the first column."""
    data = rings(2400, 1)
    order_N = np.argsort(
        data.inputs["x"][:, 0] + np.random.default_rng(0).normal(0, 1.5, len(data))
    )
    return [data.rows(rows) for rows in np.split(order_N, [500, 1300])]


def accuracy(model: Model) -> float:
    test = rings(3000, 3)
    return float(((model.logits(test) > 0) == test.target).mean())


class Watched:
    """A site whose answers are looked at, as the coordinator could."""

    def __init__(self, site: LocalSite, lost_in: int = 0, at: str = "") -> None:
        self._site, self._lost_in, self._at = site, lost_in, at
        self.answers: list[bytes] = []
        self.attempts: list[tuple[int, int]] = []

    @property
    def name(self) -> str:
        return self._site.name

    def join(self, round_: Round) -> bytes:
        self.attempts.append((round_.number, round_.attempt))
        if (round_.number, "join") == (self._lost_in, self._at):
            raise SiteLostError("no route to host")
        return self._site.join(round_)

    def update(self, round_: Round, keys: Mapping[str, bytes], weights: bytes) -> bytes:
        if (round_.number, "update") == (self._lost_in, self._at):
            raise SiteLostError("connection reset")
        self.answers.append(self._site.update(round_, keys, weights))
        return self.answers[-1]


def test_federated_rows_are_learned_within_one_percent_of_central_ones() -> None:
    central = fit(SPEC, rings(2400, 1), rings(500, 2), replace(RECIPE, steps=300))
    sites = [LocalSite(name, part) for name, part in zip("abc", parts(), strict=True)]
    federated = federate(SPEC, sites, rings(500, 2), 20, RECIPE)
    assert accuracy(central) > 0.9
    assert accuracy(federated) > accuracy(central) - 0.01
    assert federated.data_hash == "withheld"
    assert [look.step for look in federated.history] == list(range(1, 21))


def test_the_coordinator_learns_the_mean_weighted_by_rows_and_no_part_of_it() -> None:
    sites = [Watched(LocalSite(name, part)) for name, part in zip("abc", parts(), strict=True)]
    recipe = replace(RECIPE, steps=3, evaluate_every=3)
    federate(SPEC, sites, rings(300, 2), 1, recipe)
    hidden = [load_arrays(site.answers[0])["update"].view(np.uint64) for site in sites]
    summed = total(hidden)
    assert summed[-1] == 2400  # rows of all; of one, nobody can tell:
    for one in hidden:
        bits = np.unpackbits(one.view(np.uint8)).mean()
        assert abs(bits - 0.5) < 0.01  # as uniform noise has them
        rows = one.view(np.int64)[-1] / 2**20
        assert rows not in (500, 800, 1100)
    for two in ((0, 1), (0, 2), (1, 2)):
        assert abs(total([hidden[n] for n in two])).max() > 1e9  # without the third: noise too
    assert np.abs(summed[:-1] / 2400).max() < 0.1  # a few small steps


def test_masks_cancel_to_the_bit_and_serve_once() -> None:
    random = np.random.default_rng(0)
    vectors = {name: random.normal(0, 1e4, 500) for name in ("a", "b", "c", "d")}
    masks = {name: Masks(name, "run/1/1") for name in vectors}
    keys = {name: mask.public_key for name, mask in masks.items()}
    hidden = [masks[name].hide(vector, keys) for name, vector in vectors.items()]
    exact = sum(np.rint(vector * 2.0**20) for vector in vectors.values()) / 2.0**20
    assert (total(hidden) == exact).all()
    with pytest.raises(SecureSumError, match="Each try needs keys of its own"):
        masks["a"].hide(vectors["a"], keys)


def test_masks_of_another_try_or_other_keys_do_not_cancel() -> None:
    masks = {"a": Masks("a", "run/1/1"), "b": Masks("b", "run/1/2")}
    keys = {name: mask.public_key for name, mask in masks.items()}
    hidden = [mask.hide(np.ones(50), keys) for mask in masks.values()]
    assert np.abs(total(hidden)).max() > 1e6


@pytest.mark.parametrize(
    ("value", "names", "said"),
    [
        (1e13, "ab", "too large to be added"),
        (float("nan"), "ab", "too large to be added"),
        (1.0, "a", "hide nothing"),
        (1.0, "b", "lack that of a"),
    ],
)
def test_what_cannot_be_summed_in_secret_is_refused(value: float, names: str, said: str) -> None:
    masks = {name: Masks(name, "r") for name in "ab"}
    keys = {name: masks[name].public_key for name in names}
    with pytest.raises(SecureSumError, match=said):
        masks["a"].hide(np.full(3, value), keys)


@pytest.mark.parametrize("at", ["join", "update"])
def test_a_round_in_which_a_site_is_lost_is_tried_again_without_it(at: str) -> None:
    sites = [Watched(LocalSite(name, part)) for name, part in zip("ab", parts(), strict=False)]
    weak = Watched(LocalSite("c", parts()[2]), lost_in=2, at=at)
    said: list[str] = []
    recipe = replace(RECIPE, steps=2, evaluate_every=2)
    model = federate(
        SPEC,
        [*sites, weak],
        rings(300, 2),
        3,
        recipe,
        progress=lambda stage, *_: said.append(stage),
    )
    assert len(model.history) == 3
    assert [text for text in said if text.startswith("lost c: ")]
    tries = [(1, 1), (2, 1), (3, 1)] if at == "join" else [(1, 1), (2, 1), (2, 2), (3, 1)]
    assert sites[0].attempts == tries


def test_fewer_than_two_sites_stop_the_federation() -> None:
    one = LocalSite("a", parts()[0])
    weak = Watched(LocalSite("b", parts()[1]), lost_in=1, at="update")
    with pytest.raises(FederationError, match=r"fewer than two sites are left \(a\)"):
        federate(SPEC, [one, weak], rings(300, 2), 2, replace(RECIPE, steps=1))
    with pytest.raises(FederationError, match="It takes at least two sites"):
        federate(SPEC, [one], rings(300, 2))
    with pytest.raises(FederationError, match="names of their own"):
        federate(SPEC, [one, LocalSite("a", parts()[1])], rings(300, 2))


def test_an_answer_of_another_shape_is_refused() -> None:
    class Broken(Watched):
        def update(self, round_: Round, keys: Mapping[str, bytes], weights: bytes) -> bytes:
            return save_arrays({"update": np.zeros(7, np.int64)})

    sites: list[Site] = [LocalSite("a", parts()[0]), Broken(LocalSite("b", parts()[1]))]
    with pytest.raises(FederationError, match="b answered with another array than int64"):
        federate(SPEC, sites, rings(300, 2), 1, replace(RECIPE, steps=1))


def test_rows_of_a_site_are_protected_over_all_rounds_together() -> None:
    from models_core.private_steps import epsilon_of

    asked = Privacy(epsilon=6.0, delta=1e-4)
    site = LocalSite("a", parts()[2], rings(300, 8))
    sites = [site, LocalSite("b", parts()[1], rings(300, 9))]
    recipe = replace(RECIPE, steps=10, evaluate_every=10)
    model = federate(SPEC, sites, rings(300, 2), 2, recipe, privacy=asked)
    assert model.privacy is not None
    assert (model.privacy.epsilon, model.privacy.steps) == (6.0, 20)
    of_a_round = fit(
        SPEC, parts()[2], rings(300, 8), recipe, privacy=replace(asked, rounds=2)
    ).privacy
    assert of_a_round is not None
    both = epsilon_of(of_a_round.noise, of_a_round.sample_rate, 20, asked.delta)
    assert 5.9 < both <= 6.0
    assert of_a_round.epsilon < 6.0
    bare = [LocalSite("a", parts()[0]), sites[1]]
    with pytest.raises(FederationError, match="a has no public rows"):
        federate(SPEC, bare, rings(300, 2), 1, recipe, privacy=asked)


SITE = """
import sys
from models_core import LocalSite
from models_core.federation_http import serve
from tests.models_core.test_federation import TOKEN, parts
name = sys.argv[1]
server = serve(LocalSite(name, parts()["abc".index(name)]), TOKEN)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@contextmanager
def processes() -> Iterator[dict[str, tuple[subprocess.Popen[str], HttpSite]]]:
    """Three sites, each in a process of its own."""
    running = {
        name: subprocess.Popen(
            [sys.executable, "-c", SITE, name], stdout=subprocess.PIPE, text=True
        )
        for name in "abc"
    }
    try:
        found = {}
        for name, process in running.items():
            assert process.stdout is not None
            port = int(process.stdout.readline())
            found[name] = (process, HttpSite(name, f"http://127.0.0.1:{port}", TOKEN))
        yield found
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def test_three_processes_learn_what_one_does_and_go_on_when_one_is_killed() -> None:
    recipe = replace(RECIPE, steps=10, evaluate_every=10)
    here = [LocalSite(name, part) for name, part in zip("abc", parts(), strict=True)]
    expected = federate(SPEC, here, rings(300, 2), 2, recipe)
    with processes() as running:
        sites = [site for _, site in running.values()]
        model = federate(SPEC, sites, rings(300, 2), 2, recipe)
        for name, tensor in expected.module.state_dict().items():
            assert torch.allclose(tensor, model.module.state_dict()[name], atol=1e-5), name

        said: list[str] = []

        def kill(stage: str, done: int, total: int) -> None:
            said.append(stage)
            if stage == "federate" and done == 1:
                running["c"][0].kill()
                running["c"][0].wait()

        model = federate(SPEC, sites, rings(300, 2), 3, recipe, progress=kill)
        assert len(model.history) == 3
        assert [text for text in said if text.startswith("lost c: ")]


@contextmanager
def served() -> Iterator[str]:
    server = serve(LocalSite("a", parts()[0]), TOKEN)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_whoever_lacks_the_token_or_sends_something_else_is_refused() -> None:
    round_ = Round("0" * 32, 1, 1, 1, SPEC.to_dict(), RECIPE.to_dict())
    with served() as url:
        with pytest.raises(FederationError, match="a refused: The token is another one"):
            HttpSite("a", url, "x" * 32).join(round_)
        site = HttpSite("a", url, TOKEN)
        with pytest.raises(FederationError, match="has not joined"):
            site.update(round_, {}, b"")
        with pytest.raises(FederationError, match="Round 2 is not in"):
            site.join(replace(round_, number=2))
        key = site.join(round_)
        with pytest.raises(FederationError, match="The weights do not fit the spec"):
            site.update(round_, {"a": key, "b": bytes(32)}, b"\x80\x04pickle")
        with pytest.raises(FederationError, match="The body has 1048577 bytes"):
            site._asked("/join", bytes(2**20 + 1))
        with pytest.raises(FederationError, match="The token is another one"):
            HttpSite("a", url, "x" * 32)._asked("/update", bytes(2**25))
    with pytest.raises(SiteLostError):
        HttpSite("a", url, TOKEN).join(round_)
    with pytest.raises(ValueError, match="It needs 32"):
        serve(LocalSite("a", parts()[0]), "short")
    with pytest.raises(ValueError, match="is not http or https"):
        HttpSite("a", "file:///etc", TOKEN)
