"""Who am I, and what may I do?"""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import access
from lepton_apps.api.serializers import MeSerializer
from lepton_apps.api.views.accounts import token_row
from lepton_apps.api.views.base import LeptonView, user_of
from lepton_apps.verticals import registry


class MeView(LeptonView):
    """GET /api/v1/me: the account of this token or session, and its role in each vertical."""

    @extend_schema(responses=MeSerializer)
    def get(self, request: Request) -> Response:
        user = user_of(request)
        roles = access.roles_of(user)
        token = access.token_of(user)
        return Response(
            {
                "username": user.get_username(),
                "is_superuser": access.is_superuser(user),
                "verticals": [
                    {
                        "key": vertical.key,
                        "title": vertical.title,
                        "case_noun": vertical.case_noun,
                        "role": roles[vertical.key].value,
                    }
                    for vertical in registry.verticals()
                    if vertical.key in roles
                ],
                "token": token and token_row(token),
            }
        )
