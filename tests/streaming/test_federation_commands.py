"""``manage.py federation`` and ``federate``, and the console's word on both."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from lepton_apps.streaming.federation.coordinating import as_loud
from tests.console.data import STREAM
from tests.streaming.federations import WHY

pytestmark = pytest.mark.django_db(transaction=True)
SITES = ("--site", "a=https://a.example", "--site", "b=https://b.example")


def said(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_a_stream_is_closed_until_it_is_allowed_and_after_it_is_stopped() -> None:
    assert f"{STREAM}: closed, nobody has allowed it" in said("federation", "status")
    lines = said(
        "federation", "allow", STREAM, "--epsilon", "6", "--until", "30d", "--why", WHY
    )  # fmt: skip
    assert f"{STREAM}: open until" in lines
    assert "private rounds alone" in lines
    assert "epsilon 0.000 spent at delta 1e-05, 6.000 left" in lines
    said("federation", "stop", STREAM, "--why", "Enough.")
    (told,) = json.loads(said("federation", "status", STREAM, "--json"))["federation"]
    assert (told["open"], told["closed_because"], told["consent"]["why"]) == (
        False, "it was stopped", "Enough.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("allow",), "Say which stream"),
        (("allow", STREAM, "--epsilon", "6", "--why", WHY), "Say until when"),
        (("allow", STREAM, "--until", "3d", "--why", WHY), "--epsilon E, or --without-privacy"),
        (
            ("allow", STREAM, "--until", "3d", "--epsilon", "6", "--without-privacy"),
            "--epsilon E, or --without-privacy",
        ),
        (("allow", STREAM, "--until", "soon", "--epsilon", "6"), "'soon' is no time"),
        (("allow", STREAM, "--until", "2026-12-01", "--epsilon", "6"), "has no zone"),
        (("allow", STREAM, "--until", "3d", "--epsilon", "6"), "why: say in 1 to 500 characters"),
        (("status", "fintech.nope"), "There is no scored stream 'fintech.nope'"),
    ],
)
def test_consent_without_its_terms_is_refused(arguments: tuple[str, ...], refusal: str) -> None:
    with pytest.raises(CommandError, match=refusal):
        said("federation", *arguments)


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("--site", "a=https://a.example"), "--site was given for 1 sites"),
        (("--site", "a"), "--site 'a' is not NAME=VALUE"),
        ((*SITES, "--site", "a=https://c.example"), "names 'a' twice"),
        (SITES, "'a' needs both --site a=URL and --token-file a=FILE"),
        ((*SITES, "--token-file", "a={folder}/t", "--token-file", "b={folder}/x"), "No such file"),
        (
            (*SITES, "--token-file", "a={folder}/t", "--token-file", "b={folder}/words"),
            "holds no token",
        ),
        (
            ("--site", "a=http://a.example", *SITES[2:], "--token-file", "a={folder}/t",
             "--token-file", "b={folder}/t"),
            "http would show the token",
        ),
        (
            ("--site", "a=file:///etc", *SITES[2:], "--token-file", "a={folder}/t",
             "--token-file", "b={folder}/t"),
            "is no address",
        ),
        (
            (*SITES, "--token-file", "a={folder}/t", "--token-file", "b={folder}/t"),
            "has no champion to compare with",
        ),
        ((*SITES, "--rounds", "0"), "--rounds 0 is not between 1 and 10000"),
        ((*SITES, "--epsilon", "-1"), r"epsilon=-1\.0 must be above 0"),
    ],
)  # fmt: skip
def test_a_federation_that_cannot_begin_is_refused_before_anybody_is_asked(
    arguments: tuple[str, ...], refusal: str, tmp_path: Path
) -> None:
    (tmp_path / "t").write_text("lpt_secret\n")
    (tmp_path / "words").write_text("no token here\n")
    with pytest.raises(CommandError, match=refusal) as refused:
        said("federate", STREAM, *(each.format(folder=tmp_path) for each in arguments))
    assert "lpt_secret" not in str(refused.value)


@pytest.mark.usefixtures("champion")
def test_pages_of_a_model_say_what_is_lent_and_what_a_version_promises(viewer: User) -> None:
    client = Client()
    client.force_login(viewer)
    page: Any = client.get("/models/", {"model": STREAM})
    assert "Closed: nobody has allowed it." in page.content.decode()
    said("federation", "allow", STREAM, "--epsilon", "6", "--until", "30d", "--why", WHY)
    body = client.get("/models/", {"model": STREAM}).content.decode()
    assert "for private rounds alone" in body
    assert WHY in body
    assert '<td class="number">6.000</td>' in body
    assert "nothing is promised" in client.get(f"/models/{STREAM}/1/").content.decode()


def test_thresholds_of_a_new_model_let_as_many_rows_through_as_the_old_ones() -> None:
    before_N, after_N = np.array([0.1, 0.6, 0.9, 0.7]), np.array([0.02, 0.03, 0.3, 0.2])
    threshold = as_loud(before_N, 0.5, after_N)
    assert int((after_N >= threshold).sum()) == 3
    assert int((after_N >= as_loud(before_N, 0.95, after_N)).sum()) == 0
    tied_N = np.array([0.2, 0.2, 0.2, 0.9])
    assert int((tied_N >= as_loud(before_N, 0.65, tied_N)).sum()) == 1  # rather fewer
