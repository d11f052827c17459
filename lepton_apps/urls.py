"""The addresses of the server. Sockets are in asgi.py."""

from __future__ import annotations

from django.urls import include, path

from lepton_apps import health

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("api/v1/", include("lepton_apps.api.urls")),
    path("", include("lepton_apps.console.urls")),
]
