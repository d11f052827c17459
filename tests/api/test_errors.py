"""One shape for every error, wherever it comes from."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from prometheus_client import REGISTRY
from rest_framework.test import APIClient, APIRequestFactory

from lepton_apps.alerts import services
from lepton_apps.api.errors import exception_handler
from tests.alerts.making import STREAM, make_alert

pytestmark = pytest.mark.django_db(transaction=True)

LABEL = {
    "stream": STREAM,
    "record_id": "t-1",
    "verdict": "positive",
    "labelled_at": "2026-03-01T10:00:00Z",
}


def post(api: APIClient, path: str, body: bytes, content_type: str = "application/json") -> Any:
    url = f"/api/v1/{path}"
    return api.generic("POST", url, body, content_type=content_type)  # type: ignore[arg-type]


def shape(response: Any) -> tuple[int, str]:
    body = response.json()
    assert response["Content-Type"].startswith("application/json")
    assert body["detail"].endswith("."), body
    return response.status_code, body["code"]


def test_a_conflict_says_who_was_faster(api: APIClient, admin: User) -> None:
    alert = make_alert()
    services.resolve(alert.id, True, admin)

    response = api.post(
        f"/api/v1/alerts/{alert.id}/resolve", {"verdict": "negative"}, format="json"
    )

    assert shape(response) == (409, "alert_already_resolved")
    assert {"alert_id": alert.id, "status": "confirmed", "resolved_by": "ada"}.items() <= (
        response.json().items()
    )


BODIES = [
    (b"", "not_json"),
    (b"{", "not_json"),
    (b"{}x", "not_json"),
    (b'{"id": NaN}', "not_json"),
    (b'{"id": Infinity}', "not_json"),
    (b'"text"', "not_json"),
    (b"7", "not_json"),
    (b"null", "not_json"),
    (b'{"a":' * 50_000, "not_json"),
    (b"[" * 50_000, "not_json"),
    (b'[{"a":' * 20_000, "not_json"),
    (b"\xff\xfe{\x00}\x00", "not_json"),
    (b"\xef\xbb\xbf{}", "not_json"),
    (b'{"\xff": 1}', "not_json"),
    (b"[]", "record_refused"),
    (b'{"records": []}', "record_refused"),
    (b'{"records": {}}', "not_json"),
    (b"{}", "record_refused"),
    (b"[1]", "record_refused"),
    (b'["a", null]', "record_refused"),
    (b'{"id": "\xff"}', "record_refused"),
    (b'{"id": "a\\u0000b"}', "record_refused"),
]


@pytest.mark.parametrize("endpoint", ["score", "decisions"])
def test_a_body_that_is_no_record_is_refused(endpoint: str, api: APIClient) -> None:
    for body, code in BODIES:
        response = post(api, f"streams/{STREAM}/{endpoint}", body)
        assert shape(response) == (400, code), body[:40]


RECORD = (
    b'{"id": "t-1", "occurred_at": "2026-03-01T10:00:00Z", "customer": "c", "card": "k",'
    b' "terminal": "t", "amount": "12.34", "currency": "EUR", "channel": "chip"}'
)


WRONG_FIELDS = [
    (b'"t-1"', b"1", "$.id"),
    (b'"t-1"', b"null", "$.id"),
    (b"10:00:00Z", b"10:00:00", "$.occurred_at"),
    (b"2026-03-01T10:00:00Z", b"1-1-1", "$.occurred_at"),
    (b'"12.34"', b"[]", "$.amount"),
    (b'"12.34"', b'"NaN"', "$.amount"),
    (b'"EUR"', b'"EURO"', "$.currency"),
    (b'"chip"}', b'"chip", "attributes": 5}', "$.attributes"),
]


def test_a_wrong_field_is_named_by_its_path_and_its_place_in_the_list(api: APIClient) -> None:
    url = f"streams/{STREAM}/decisions"
    for old, new, path in WRONG_FIELDS:
        wrong = RECORD.replace(old, new)
        assert wrong != RECORD

        one = post(api, url, wrong)
        listed = post(api, url, b'{"records": [' + RECORD + b"," + wrong + b"]}")

        assert shape(one) == shape(listed) == (400, "record_refused"), new
        assert one.json()["path"] == path
        assert (listed.json()["path"], listed.json()["index"]) == (path, 1)


@pytest.mark.parametrize("listed", ["alerts", "labels"])
@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00%2B14:00"])
def test_a_time_at_the_edge_of_the_calendar_is_refused(
    listed: str, at: str, api: APIClient
) -> None:
    response = api.get(f"/api/v1/{listed}?since={at}")

    assert shape(response) == (400, "filter_refused")
    assert [error["path"] for error in response.json()["errors"]] == ["since"]


def test_what_is_too_much_is_refused(api: APIClient, settings: Any) -> None:
    settings.MAX_RECORDS_PER_REQUEST = 2
    settings.MAX_RECORD_BYTES = 1_024
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000

    many = post(api, f"streams/{STREAM}/score", b"[" + b",".join([RECORD] * 3) + b"]")
    large = post(api, f"streams/{STREAM}/score", b"[{}," + b'{"x": "' + b"x" * 1_024 + b'"}]')
    body = post(api, f"streams/{STREAM}/score", b'{"x": "' + b"x" * 10_000 + b'"}')
    labels = api.post("/api/v1/labels", [LABEL] * 3, format="json")
    label_body = post(api, "labels", b" " * 10_001)

    assert shape(many) == shape(labels) == (413, "too_many_records")
    assert (*shape(large), large.json()["index"]) == (400, "record_refused", 1)
    assert shape(body) == shape(label_body) == (413, "body_too_large")


WRONG_LABELS: list[tuple[dict[str, Any], str, str]] = [
    ({"labelled_at": "2026-03-01T10:00:00"}, "labelled_at", "naive"),
    ({"labelled_at": "yesterday"}, "labelled_at", "invalid"),
    ({"labelled_at": "0001-01-01T00:00:00+14:00"}, "labelled_at", "overflow"),
    ({"labelled_at": "1969-12-31T23:59:59Z"}, "labelled_at", "absurd_time"),
    ({"labelled_at": "9000-01-01T00:00:00Z"}, "labelled_at", "absurd_time"),
    ({"verdict": "fraud"}, "verdict", "invalid_choice"),
    ({"record_id": "a\0b"}, "record_id", "null_characters_not_allowed"),
    ({"record_id": "x" * 201}, "record_id", "max_length"),
    ({"record_id": {}}, "record_id", "invalid"),
    ({"stream": None}, "stream", "null"),
]


def test_a_wrong_label_is_named_by_its_path(api: APIClient) -> None:
    for changes, path, code in WRONG_LABELS:
        one = api.post("/api/v1/labels", {**LABEL, **changes}, format="json")
        listed = api.post("/api/v1/labels", [LABEL, {**LABEL, **changes}], format="json")

        assert shape(one) == shape(listed) == (400, "invalid_request")
        (error,) = one.json()["errors"]
        assert (error["path"], error["code"]) == (path, code)
        assert [error["path"] for error in listed.json()["errors"]] == [f"[1].{path}"]


def test_labels_that_are_none_are_refused(api: APIClient) -> None:
    for body in (b"[]", b"5", b'"x"', b"null", b"[[]]", b"[1]"):
        assert shape(post(api, "labels", body)) == (400, "invalid_request"), body


def test_a_wrong_filter_is_refused_by_name(api: APIClient) -> None:
    for query in ("status=closed", "stauts=open", "limit=0", "limit=1e9", "limit=201", "q=%00"):
        response = api.get(f"/api/v1/alerts?{query}")

        assert shape(response) == (400, "filter_refused")
        assert response.json()["errors"][0]["path"] == query.partition("=")[0]


def test_other_refusals_have_the_same_shape(api: APIClient) -> None:
    assert shape(api.get("/api/v1/nope")) == (404, "not_found")
    assert shape(api.get("/api/v1/alerts/9999999999999999999999")) == (404, "not_found")
    assert shape(api.get("/api/v1/alerts/x")) == (404, "not_found")
    assert shape(api.get("/api/v1/alerts?cursor=zz")) == (400, "cursor_refused")
    assert shape(api.delete("/api/v1/alerts")) == (405, "method_not_allowed")
    assert shape(post(api, "labels", b"a=b", "application/x-www-form-urlencoded")) == (
        415, "media_type_refused",
    )  # fmt: skip
    assert shape(post(api, f"streams/{STREAM}/score", RECORD, "text/plain")) == (
        415, "media_type_refused",
    )  # fmt: skip
    assert shape(api.get("/api/v1/me", HTTP_ACCEPT="text/html")) == (406, "not_acceptable")


def test_a_foreign_host_name_is_refused_in_json_too() -> None:
    response = Client().get("/api/v1/me", headers={"Host": "evil.example"})

    assert shape(response) == (400, "request_refused")


def test_a_failure_of_ours_is_json_with_the_id_that_the_log_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = APIRequestFactory().get("/")
    setattr(request, "request_id", "abc")  # noqa: B010
    context = {"request": type("R", (), {"_request": request})()}

    failed = exception_handler(RuntimeError("secret"), context)
    away = exception_handler(OperationalError("secret"), context)

    assert (failed.status_code, failed.data["code"], failed.data["request_id"]) == (
        500, "internal_error", "abc",
    )  # fmt: skip
    assert (away.status_code, away.data["code"], away["Retry-After"]) == (503, "unavailable", "1")
    assert "secret" not in f"{failed.data}{away.data}"
    assert [vars(record)["request_id"] for record in caplog.records] == ["abc", "abc"]


def test_a_request_keeps_its_id_and_a_bad_one_gets_another(api: APIClient) -> None:
    kept = api.get("/api/v1/me", HTTP_X_REQUEST_ID="req-1")
    made = api.get("/api/v1/me", HTTP_X_REQUEST_ID="x" * 65)

    assert kept["X-Request-ID"] == "req-1"
    assert len(made["X-Request-ID"]) == 32


def test_time_is_measured_by_route_and_never_by_path(api: APIClient) -> None:
    labels = {"method": "GET", "route": "/api/v1/alerts/<int:alert_id>", "status": "404"}
    name = "lepton_http_request_duration_seconds_count"
    before = REGISTRY.get_sample_value(name, labels) or 0

    api.get("/api/v1/alerts/1")
    api.get("/api/v1/alerts/2/")

    assert REGISTRY.get_sample_value(name, labels) == before + 2
