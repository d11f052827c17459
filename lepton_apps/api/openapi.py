"""What drf-spectacular cannot see by itself: our two ways to sign in, and paths in two spellings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.openapi import AutoSchema


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "lepton_apps.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "lpt_..."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "lepton_apps.api.authentication.SignedInAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


class OneSpelling(EndpointEnumerator):
    """Every path answers with and without a slash at its end; the document shows it without."""

    def should_include_endpoint(self, path: str, callback: Callable[..., Any]) -> bool:
        wanted: bool = super().should_include_endpoint(path, callback)
        return wanted and not path.endswith("/")


class Generator(SchemaGenerator):
    endpoint_inspector_cls = OneSpelling
