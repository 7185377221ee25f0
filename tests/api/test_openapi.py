"""The OpenAPI document: complete, and its examples are requests that work."""

import json

import pytest

from featurestore.api.schemas import EXAMPLES, DatasetRequest, OnlineRequest, PushRequest, ValidationRequest

PATHS = {
    OnlineRequest: "/v1/online-features",
    PushRequest: "/v1/push/readings",
    DatasetRequest: "/v1/datasets",
    ValidationRequest: "/v1/validation/readings",
}


@pytest.fixture(scope="module")
def document(empty_client):
    return empty_client.get("/openapi.json").json()


def test_every_route_of_the_app_is_described(document):
    assert set(document["paths"]) == {
        "/v1/online-features",
        "/v1/push/{source}",
        "/v1/ingest/{source}",
        "/v1/datasets",
        "/v1/dataset-jobs",
        "/v1/dataset-jobs/{job}",
        "/v1/datasets/{name}",
        "/v1/datasets/{name}/versions/{version}",
        "/v1/datasets/{name}/versions/{version}/manifest",
        "/v1/registry",
        "/v1/registry/revisions",
        "/v1/registry/revisions/{number}",
        "/v1/registry/lineage",
        "/v1/registry/runs",
        "/v1/registry/{shelf}",
        "/v1/registry/{shelf}/{name}",
        "/v1/validation/{name}",
        "/healthz",
        "/readyz",
        "/metrics",
        # Feast's own API; see tests/feast/test_http.py
        "/get-online-features",
        "/push",
        "/write-to-online-store",
        "/materialize",
        "/materialize-incremental",
        "/search",
        "/health",
    }


def test_every_operation_has_a_summary_and_the_form_of_errors(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["responses"]["4XX"]["content"]["application/json"]["schema"] == {
                "$ref": "#/components/schemas/Error"
            }


def test_every_reference_in_the_document_leads_somewhere(document):
    text = json.dumps(document)
    for part in text.split('"$ref": "')[1:]:
        target = document
        for step in part.split('"')[0].removeprefix("#/").split("/"):
            target = target[step]


@pytest.mark.parametrize(("shape", "name"), [(shape, name) for shape, examples in EXAMPLES.items() for name in examples])
def test_each_example_is_shown_and_works(client, document, shape, name):
    template = PATHS[shape].replace("readings", "{source}" if shape is PushRequest else "{name}")
    shown = document["paths"][template]["post"]["requestBody"]["content"]["application/json"]["examples"][name]["value"]
    answer = client.post(PATHS[shape], json=shown)
    assert answer.status_code == (202 if shape is DatasetRequest else 200), answer.text


def test_the_page_needs_nothing_from_elsewhere(empty_client):
    page = empty_client.get("/docs")
    assert page.status_code == 200
    assert "//" not in page.text.replace("// ", "").replace("<!doctype html>", ""), "an address of another host"
