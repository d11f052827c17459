"""Accounts as those who administer them see them, and everybody's own tokens."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import selectors, services
from lepton_apps.accounts.models import ApiToken, Role
from lepton_apps.accounts.selectors import Person
from lepton_apps.alerts.summary import moment
from lepton_apps.api.account_serializers import (
    AccountListSerializer,
    MadeTokenSerializer,
    NewTokenSerializer,
    TokenListSerializer,
    TokenSerializer,
)
from lepton_apps.api.views.base import LeptonView, query_of, user_of


class AccountsView(LeptonView):
    """GET /api/v1/accounts: a superuser sees all, an admin who has a role in the own verticals."""

    @extend_schema(operation_id="accounts_list", responses=AccountListSerializer)
    def get(self, request: Request) -> Response:
        query_of(request, frozenset())
        return Response({"results": [_person(each) for each in selectors.people(user_of(request))]})


class TokensView(LeptonView):
    """GET and POST /api/v1/tokens: the own ones. Who comes by a token sees that one alone."""

    @extend_schema(operation_id="tokens_list", responses=TokenListSerializer)
    def get(self, request: Request) -> Response:
        query_of(request, frozenset())
        found = selectors.tokens_of(user_of(request))
        return Response({"results": [token_row(token) for token in found]})

    @extend_schema(request=NewTokenSerializer, responses={201: MadeTokenSerializer})
    def post(self, request: Request) -> Response:
        serializer = NewTokenSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        user = user_of(request)
        token, text = services.create_token(
            user,
            user,
            asked["name"],
            expires_at=services.expiry_after(asked["days"]),
            verticals=asked["verticals"],
            role=Role(asked["role"]) if asked["role"] else None,
        )
        body = {**token_row(token), "token": text}
        return Response(body, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


class RevokeTokenView(LeptonView):
    """POST /api/v1/tokens/{id}/revoke: an own one, or the very one of the request."""

    @extend_schema(request=None, responses=TokenSerializer)
    def post(self, request: Request, token_id: int) -> Response:
        return Response(token_row(services.revoke_token(user_of(request), token_id)))


def token_row(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.pk,
        "name": token.name,
        "prefix": token.prefix,
        "state": selectors.state_of(token),
        "verticals": token.verticals,
        "role": token.role or None,
        "purpose": token.purpose or None,
        "created_at": moment(token.created_at),
        "expires_at": moment(token.expires_at),
        "last_used_at": token.last_used_at and moment(token.last_used_at),
        "revoked_at": token.revoked_at and moment(token.revoked_at),
    }


def _person(person: Person) -> dict[str, Any]:
    user = person.user
    return {
        "username": user.get_username(),
        "is_active": user.is_active,
        "is_superuser": user.is_superuser,
        "roles": {vertical: role.value for vertical, role in person.roles.items()},
        "tokens": person.token_count,
        "last_sign_in_at": user.last_login and moment(user.last_login),
        "must_choose_password": person.is_waiting,
    }
