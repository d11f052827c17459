from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models import F
from django.test import Client

from lepton_apps.accounts.credentials import SessionCredential, holders
from lepton_apps.accounts.errors import PasswordUsedError
from lepton_apps.accounts.models import Role
from lepton_apps.accounts.services import (
    choose_password,
    create_operator,
    replace_password,
)
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.console.models import SignInFailure
from lepton_apps.console.services import (
    MAX_FAILURES,
    MAX_FAILURES_OF_ADDRESS,
    MAX_FAILURES_OF_NAME,
    WINDOW,
    note_sign_in_failure,
)
from lepton_apps.embedded.supervisor import ONE_TIME_PASSWORD

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


def test_a_name_is_guarded_against_guesses_from_everywhere(operator: User, viewer: User) -> None:
    for number in range(MAX_FAILURES_OF_NAME):
        assert attempt("wrong", address=f"10.0.{number}.1") == 401
    assert attempt(RIGHT, address="10.1.0.1") == 429
    assert attempt(RIGHT, name="vera", address="10.1.0.1") == 302


def test_an_address_may_not_try_every_name(operator: User) -> None:
    for number in range(MAX_FAILURES_OF_ADDRESS):
        assert attempt("wrong", name=f"name{number}") == 401
    assert attempt(RIGHT) == 429
    assert attempt(RIGHT, address="10.0.0.2") == 302


def test_a_right_password_does_not_let_an_address_go_on_with_other_names(viewer: User) -> None:
    for number in range(MAX_FAILURES_OF_ADDRESS - 1):
        note_sign_in_failure(f"name{number}", "10.0.0.1")
    assert attempt(RIGHT, name="vera") == 302
    assert attempt("wrong", name="nobody") == 401
    assert attempt("wrong", name="nobody else") == 429


def test_failures_of_others_do_not_shut_out_a_browser_in_which_that_person_signed_in(
    operator: User, viewer: User
) -> None:
    known = Client(REMOTE_ADDR="10.0.0.1")
    right = {"username": "olga", "password": RIGHT}
    known.post("/sign-in/", right)
    known.post("/sign-out/")
    for number in range(MAX_FAILURES_OF_NAME):
        note_sign_in_failure("olga", f"10.0.{number}.2")
    for number in range(MAX_FAILURES_OF_ADDRESS):
        note_sign_in_failure(f"name{number}" if number % 5 else "olga", "10.0.0.1")
    assert attempt(RIGHT) == 429

    assert known.post("/sign-in/", {"username": "vera", "password": RIGHT}).status_code == 429
    assert known.post("/sign-in/", right).status_code == 302


def test_a_known_browser_may_guess_no_more_than_others(operator: User) -> None:
    known = Client(REMOTE_ADDR="10.0.0.1")
    known.post("/sign-in/", {"username": "olga", "password": RIGHT})
    known.post("/sign-out/")
    wrong = {"username": "olga", "password": "wrong"}
    answers = [known.post("/sign-in/", wrong).status_code for _ in range(MAX_FAILURES + 1)]
    assert answers == [401] * MAX_FAILURES + [429]


@pytest.mark.parametrize("made_up", ["", "x", "WyJiIiwib2xnYSJd:1abcde:signature", "\u00e9"])
def test_a_made_up_cookie_makes_no_browser_known(operator: User, made_up: str) -> None:
    stranger = Client(REMOTE_ADDR="10.0.0.1")
    stranger.cookies["known_browser"] = made_up
    for _ in range(MAX_FAILURES):
        attempt("wrong")
    answer = stranger.post("/sign-in/", {"username": "olga", "password": RIGHT})
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0


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


OWN = "a lamp over blue water"


def give_one_time_password(client: Client, password: str, **data: str) -> str:
    """Sign in with it; where that leads."""
    answer = client.post("/sign-in/", {"username": "nina", "password": password, **data})
    assert answer.status_code == 302, answer.content
    return answer["Location"]


@pytest.fixture
def one_time(transactional_db: None) -> str:
    return create_operator(None, "nina", {"fintech": Role.OPERATOR})[1]


def test_a_one_time_password_opens_nothing_but_the_choice_of_another(one_time: str) -> None:
    client = Client()
    where = give_one_time_password(client, one_time, next="/streams/")
    assert where == "/choose-password/?next=%2Fstreams%2F"
    assert "Choose your password" in client.get(where).content.decode()
    assert client.get("/").status_code == 302
    assert client.get("/api/v1/alerts/").status_code == 401
    key = client.session.session_key
    assert key is not None
    assert holders([SessionCredential(key)]) == {}

    chosen = {"new_password1": OWN, "new_password2": OWN, "next": "/streams/"}
    answer = client.post("/choose-password/", chosen)
    assert (answer.status_code, answer["Location"]) == (302, "/streams/")
    assert client.get("/api/v1/alerts/").status_code == 200
    assert holders([SessionCredential(client.session.session_key or "")]) != {}


def test_the_password_that_setup_prints_serves_once(transactional_db: None) -> None:
    said = StringIO()
    call_command("setup", operator="nina", stdout=said)
    line = next(line for line in said.getvalue().splitlines() if ONE_TIME_PASSWORD in line)
    client = Client()
    assert give_one_time_password(client, line.split()[-1]).startswith("/choose-password/")
    client.post("/choose-password/", {"new_password1": OWN, "new_password2": OWN})
    assert attempt(line.split()[-1], name="nina") == 401

    again = StringIO()
    call_command("setup", operator="nina", stdout=again)
    assert ONE_TIME_PASSWORD not in again.getvalue()


def test_a_one_time_password_serves_once_and_the_chosen_one_from_then_on(one_time: str) -> None:
    early, late = Client(), Client()
    give_one_time_password(early, one_time)
    give_one_time_password(late, one_time)
    chosen = {"new_password1": OWN, "new_password2": OWN}
    assert early.post("/choose-password/", chosen)["Location"] == "/"

    other = {"new_password1": "somebody else entirely", "new_password2": "somebody else entirely"}
    assert late.post("/choose-password/", other)["Location"] == "/sign-in/"
    assert late.get("/").status_code == 302
    assert attempt(one_time, name="nina") == 401
    answer = Client().post("/sign-in/", {"username": "nina", "password": OWN})
    assert answer["Location"] == "/"
    assert AuditEntry.objects.filter(action="password.chosen", target="user:nina").count() == 1


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [("short", "short", "too short"), (OWN, OWN + "!", "match"), ("password1234", "", "required")],
)
def test_a_password_that_will_not_do_is_refused_with_the_reason(
    one_time: str, first: str, second: str, said: str
) -> None:
    client = Client()
    give_one_time_password(client, one_time)
    answer = client.post("/choose-password/", {"new_password1": first, "new_password2": second})
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert client.get("/").status_code == 302


def test_the_one_time_password_itself_is_not_a_choice(one_time: str) -> None:
    client = Client()
    give_one_time_password(client, one_time)
    same = {"new_password1": one_time, "new_password2": one_time}
    answer = client.post("/choose-password/", same)
    assert answer.status_code == 422
    assert "It serves once" in answer.content.decode()


def test_a_one_time_password_that_was_replaced_meanwhile_sets_nothing(one_time: str) -> None:
    user = User.objects.get(username="nina")
    newer = replace_password(None, User.objects.get(username="nina"))
    with pytest.raises(PasswordUsedError, match="replaced meanwhile"):
        choose_password(user, OWN, one_time=True)
    give_one_time_password(Client(), newer)


def test_an_account_that_is_closed_meanwhile_gets_no_choice(one_time: str) -> None:
    client = Client()
    give_one_time_password(client, one_time)
    User.objects.filter(username="nina").update(is_active=False)
    chosen = {"new_password1": OWN, "new_password2": OWN}
    assert client.post("/choose-password/", chosen)["Location"] == "/sign-in/"


def test_choosing_a_password_starts_a_new_session(one_time: str) -> None:
    client = Client()
    client.get("/sign-in/")
    give_one_time_password(client, one_time)
    before = client.session.session_key
    client.post("/choose-password/", {"new_password1": OWN, "new_password2": OWN})
    assert client.session.session_key != before
    assert "choosing" not in client.session


def test_the_way_on_from_a_choice_never_leaves_this_site(one_time: str) -> None:
    client = Client()
    give_one_time_password(client, one_time, next="https://evil.example/")
    chosen = {"new_password1": OWN, "new_password2": OWN, "next": "https://evil.example/"}
    assert client.post("/choose-password/", chosen)["Location"] == "/"


def test_the_choice_is_open_for_a_quarter_of_an_hour(
    one_time: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    give_one_time_password(client, one_time)
    later = clock.now() + timedelta(minutes=16)
    monkeypatch.setattr(clock, "now", lambda: later)
    chosen = {"new_password1": OWN, "new_password2": OWN}
    assert client.post("/choose-password/", chosen)["Location"] == "/sign-in/"


def test_nobody_chooses_a_password_without_a_one_time_password(operator: User) -> None:
    chosen = {"new_password1": OWN, "new_password2": OWN}
    assert Client().post("/choose-password/", chosen)["Location"] == "/sign-in/"
    client = Client()
    client.force_login(operator)
    assert client.post("/choose-password/", chosen)["Location"] == "/password/"
    operator.refresh_from_db()
    assert operator.check_password(RIGHT)


def test_changing_the_password_ends_the_other_sessions_and_keeps_this_one(operator: User) -> None:
    here, elsewhere = Client(), Client()
    for client in (here, elsewhere):
        client.force_login(operator)
    data = {"old_password": RIGHT, "new_password1": OWN, "new_password2": OWN}
    assert here.post("/password/", {**data, "old_password": "wrong"}).status_code == 422
    weak = here.post("/password/", {**data, "new_password1": "short", "new_password2": "short"})
    assert (weak.status_code, "too short" in weak.content.decode()) == (422, True)
    same = here.post("/password/", {**data, "new_password1": RIGHT, "new_password2": RIGHT})
    assert (same.status_code, "present password" in same.content.decode()) == (422, True)
    assert here.post("/password/", data)["Location"] == "/"
    assert here.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302
    assert AuditEntry.objects.get(action="password.chosen").actor == operator


def test_a_new_password_does_not_tell_what_the_present_one_is(operator: User) -> None:
    client = Client()
    client.force_login(operator)
    data = {"old_password": "wrong", "new_password1": RIGHT, "new_password2": RIGHT}
    said = client.post("/password/", data).content.decode()
    assert "This is the present password" not in said


def test_nobody_changes_a_password_without_signing_in(operator: User) -> None:
    data = {"old_password": RIGHT, "new_password1": OWN, "new_password2": OWN}
    assert Client().post("/password/", data).status_code == 302
    operator.refresh_from_db()
    assert operator.check_password(RIGHT)


def test_guessing_the_present_password_is_slowed_like_signing_in(operator: User) -> None:
    client = Client(REMOTE_ADDR="10.0.0.1")
    client.force_login(operator)
    data = {"old_password": "wrong", "new_password1": OWN, "new_password2": OWN}
    answers = [client.post("/password/", data).status_code for _ in range(MAX_FAILURES + 1)]
    assert answers == [422] * MAX_FAILURES + [429]
    # The right one waits as well, and nothing is changed by it.
    assert client.post("/password/", {**data, "old_password": RIGHT}).status_code == 429


def test_a_lost_password_is_replaced_by_a_one_time_password(operator: User) -> None:
    client = Client()
    client.force_login(operator)
    said = StringIO()
    call_command("reset_password", "olga", stdout=said)
    password = said.getvalue().split()[-1]
    assert client.get("/").status_code == 302
    assert attempt(RIGHT) == 401
    assert AuditEntry.objects.get(action="password.replaced").target == "user:olga"
    answer = Client().post("/sign-in/", {"username": "olga", "password": password})
    assert answer["Location"].startswith("/choose-password/")
    with pytest.raises(CommandError, match="No account named 'nobody'"):
        call_command("reset_password", "nobody")
