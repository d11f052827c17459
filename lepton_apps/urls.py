"""The addresses of the server. Sockets are in asgi.py."""

from __future__ import annotations

from django.urls import include, path

from lepton_apps import health
from lepton_apps.verticals import registry

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    *(
        path(f"api/v1/{vertical.key}/", include(vertical.api_urls))
        for vertical in registry.verticals()
        if vertical.api_urls
    ),
    path("api/v1/", include("lepton_apps.api.urls")),
    path("", include("lepton_apps.console.urls")),
]
