"""Clients that sign in the way programs do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from lepton_apps.accounts.services import create_token

ClientOf = Callable[[User], APIClient]


@pytest.fixture
def client_of(transactional_db: None) -> ClientOf:
    """A client with a token of that user."""

    def make(user: User) -> APIClient:
        _, text = create_token(None, user, "test")
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
        return client

    return make


@pytest.fixture
def api(client_of: ClientOf, operator: User) -> APIClient:
    """What a program of a fintech operator uses."""
    return client_of(operator)
