"""Browsers of the people of these tests, without a browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def console(operator: User, signed_in: Callable[[User], Client]) -> Client:
    """The console as the fintech operator sees it."""
    return signed_in(operator)
