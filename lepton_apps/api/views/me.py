"""Who am I, and what may I do?"""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.api.serializers import MeSerializer
from lepton_apps.api.views.base import LeptonView, user_of
from lepton_apps.verticals import registry


class MeView(LeptonView):
    """GET /api/v1/me: the account of this token or session, and its role in each vertical."""

    @extend_schema(responses=MeSerializer)
    def get(self, request: Request) -> Response:
        user = user_of(request)
        # Weakest first, so that the strongest role a vertical is found under stays.
        roles = {key: role for role in Role for key in access.verticals_of(user, role)}
        return Response(
            {
                "username": user.get_username(),
                "is_superuser": user.is_superuser,
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
            }
        )
