"""What every answer tells the browser to refuse, and how the site's cookies are kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.accounts.checks import the_site_is_protected
from lepton_apps.accounts.models import Role
from lepton_apps.common.headers import HEADERS
from tests.console.data import STREAM, open_alert, save_decision

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).parents[2]
INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>|<style\b|\sstyle=|\son[a-z]+=|javascript:", re.I)


def test_every_kind_of_answer_carries_the_headers(operator: User) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(operator)
    answers = [
        client.get("/"),
        client.get("/nothing-here/"),
        client.get("/accounts/"),
        client.get("/api/v1/me"),
        client.get("/api/v1/alerts/1"),
        client.post("/api/v1/labels", "{", content_type="application/json"),
        client.get("/static/console/app.css"),
        client.get("/readyz"),
        client.get("/", headers={"Host": "evil.example"}),
        client.get("/api/v1/me", headers={"Host": "evil.example"}),
        Client().get("/"),
        Client(enforce_csrf_checks=True).post("/sign-in/", {}),
    ]
    assert [a.status_code for a in answers] == [
        200, 404, 403, 200, 404, 400, 200, 503, 400, 400, 302, 403,
    ]  # fmt: skip
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS)
        assert "unsafe" not in answer["Content-Security-Policy"]
        assert "Strict-Transport-Security" not in answer


def test_browsers_keep_to_tls_where_the_cookies_do(settings: Any) -> None:
    settings.SECURE_COOKIES = True
    assert Client().get("/sign-in/")["Strict-Transport-Security"] == "max-age=31536000"


def test_no_page_holds_a_script_or_a_style_of_its_own(
    person: Callable[..., User], operator: User
) -> None:
    client = Client()
    client.force_login(person("root", superuser=True, fintech=Role.ADMIN))
    alert = open_alert()
    save_decision(alert, 1)
    pages = [
        "/", f"/alerts/{alert.pk}/", "/streams/", f"/streams/{STREAM}/dead-letters/",
        "/panels/fintech/", "/panels/ops/", "/account/", "/accounts/", "/accounts/olga/", "/audit/",
        "/password/", "/nothing-here/",
    ]  # fmt: skip
    bodies = {page: client.get(page).content.decode() for page in pages}
    bodies["/sign-in/"] = Client().get("/sign-in/").content.decode()
    assert [page for page, body in bodies.items() if INLINE.search(body)] == []


def settings_with(**environment: str) -> str:
    """The cookie settings that a process of such an environment has."""
    code = (
        "from lepton_apps import settings as s; print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, "
        "s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SESSION_COOKIE_HTTPONLY, "
        "s.SESSION_COOKIE_SAMESITE)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_secure_cookies_belong_to_this_host_and_to_tls_alone() -> None:
    assert settings_with(SECURE_COOKIES="true") == (
        "__Host-sessionid __Host-csrftoken True True True Lax"
    )
    assert settings_with(SECURE_COOKIES="false") == "sessionid csrftoken False False True Lax"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"DEBUG": True}, "lepton.W010"),
        ({"ALLOWED_HOSTS": ["localhost", "lepton.example"]}, "lepton.W011"),
        ({"ALLOWED_HOSTS": ["*"], "SECURE_COOKIES": True,
          "CSRF_TRUSTED_ORIGINS": ["https://x.example"]}, "lepton.W012"),
        ({"SECRET_KEY": "short"}, "lepton.W013"),
        ({"SECRET_KEY": "a" * 60}, "lepton.W013"),
        ({"SECURE_COOKIES": True}, "lepton.W014"),
    ],
)  # fmt: skip
def test_a_setting_that_is_wrong_in_public_is_warned_of(
    settings: Any, changes: dict[str, Any], code: str
) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "testserver"]
    assert the_site_is_protected(None) == []
    for name, value in changes.items():
        setattr(settings, name, value)
    assert [message.id for message in the_site_is_protected(None)] == [code]
