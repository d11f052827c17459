from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client

from lepton_apps.console.models import SignInFailure
from lepton_apps.console.services import MAX_FAILURES, WINDOW

pytestmark = pytest.mark.django_db(transaction=True)

RIGHT = "correct horse battery"


def attempt(password: str, *, name: str = "olga", address: str = "10.0.0.1") -> int:
    data = {"username": name, "password": password}
    return Client(REMOTE_ADDR=address).post("/sign-in/", data).status_code


def test_the_right_password_leads_to_the_alerts(operator: User) -> None:
    answer = Client().post("/sign-in/", {"username": "olga", "password": RIGHT})
    assert (answer.status_code, answer["Location"]) == (302, "/")


def test_the_way_back_never_leaves_this_site(operator: User) -> None:
    data = {"username": "olga", "password": RIGHT, "next": "https://evil.example/"}
    assert Client().post("/sign-in/", data)["Location"] == "/"


def test_after_ten_failures_even_the_right_password_has_to_wait(operator: User) -> None:
    assert [attempt("wrong") for _ in range(MAX_FAILURES)] == [401] * MAX_FAILURES
    assert attempt(RIGHT) == 429
    SignInFailure.objects.update(at=F("at") - WINDOW + timedelta(minutes=2))
    assert attempt(RIGHT) == 429
    SignInFailure.objects.update(at=F("at") - timedelta(minutes=2))
    assert attempt(RIGHT) == 302


def test_a_guesser_shuts_out_neither_other_addresses_nor_other_names(
    operator: User, viewer: User
) -> None:
    for _ in range(MAX_FAILURES):
        attempt("wrong")
    assert attempt(RIGHT, address="10.0.0.2") == 302
    assert attempt(RIGHT, name="vera") == 302


def test_capital_letters_do_not_start_a_new_count() -> None:
    for number in range(MAX_FAILURES):
        attempt("wrong", name="olga" if number % 2 else "OLGA ")
    assert attempt("wrong", name="Olga") == 429


def test_the_right_password_ends_the_count(operator: User) -> None:
    for _ in range(MAX_FAILURES - 1):
        attempt("wrong")
    assert attempt(RIGHT) == 302
    assert attempt("wrong") == 401
    assert SignInFailure.objects.count() == 1


def test_failures_that_no_longer_count_are_forgotten() -> None:
    attempt("wrong", name="a")
    SignInFailure.objects.update(at=F("at") - WINDOW - timedelta(seconds=1))
    attempt("wrong", name="b")
    assert SignInFailure.objects.get().username == "b"


def test_a_name_with_a_nul_is_a_wrong_name() -> None:
    assert attempt("wrong", name="ol\0ga") == 401


def test_signing_out_takes_a_post(operator: User) -> None:
    client = Client()
    client.force_login(operator)
    assert client.get("/sign-out/").status_code == 405
    client.post("/sign-out/")
    assert client.get("/").status_code == 302
