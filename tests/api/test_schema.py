from __future__ import annotations

import json

import pytest
from drf_spectacular.validation import validate_schema
from rest_framework.test import APIClient

from lepton_apps.api.urls import VIEWS

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_openapi_document_is_valid_complete_and_made_without_a_warning(
    api: APIClient, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(api.get("/api/v1/schema").content)

    validate_schema(document)  # type: ignore[no-untyped-call]
    shown = {path.replace("{", "<").replace("}", ">") for path in document["paths"]}
    expected = {
        "/api/v1/" + route.replace("<str:", "<").replace("<int:", "<")
        for route in VIEWS
        if route != "schema"
    }
    assert shown == expected
    assert set(document["components"]["securitySchemes"]) == {"token", "session"}
    printed = capsys.readouterr()
    assert "arning" not in printed.err
    assert "rror" not in printed.err
