"""Endpoints that a vertical brings, behind the host's door."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, JsonResponse
from django.test import override_settings
from django.urls import URLPattern, URLResolver, include, path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from lepton_apps.api.views.foreign import guarded
from tests.api.conftest import ClientOf

pytestmark = pytest.mark.django_db(transaction=True)


def plain(request: HttpRequest, number: int) -> JsonResponse:
    return JsonResponse({"number": number, "user": str(request.user), "method": request.method})


class Rest(APIView):
    def get(self, request: Request) -> Response:
        return Response({"user": str(request.user)})


brought: list[URLPattern | URLResolver] = [
    path("plain/<int:number>", plain),
    path("deep/", include([path("rest", Rest.as_view())])),
]
urlpatterns = [path("v/", include(guarded(brought, "fintech")))]


@override_settings(ROOT_URLCONF=__name__)
def test_only_who_may_see_the_vertical_gets_through(
    api: APIClient, client_of: ClientOf, stranger: User, other_operator: User
) -> None:
    assert api.get("/v/plain/7").json() == {"number": 7, "user": "olga", "method": "GET"}
    assert api.post("/v/plain/7").json()["method"] == "POST"
    assert api.get("/v/deep/rest").json() == {"user": "olga"}
    for address in ("/v/plain/7", "/v/deep/rest"):
        assert APIClient().get(address).status_code == 401
        assert client_of(stranger).get(address).status_code == 404
        assert client_of(other_operator).post(address).status_code == 404
