"""With a token set, nothing but the probes and the description answers without it."""

import pytest

from tests.api.in_process import client_of

TOKEN = "correct horse"


@pytest.fixture(scope="module")
def guarded(empty_repository):
    with client_of(empty_repository, token=TOKEN) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
def test_probes_and_description_are_open(guarded, path):
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/v1/registry", "/metrics", "/v1/datasets", "/v1/online-features", "/no/such/route"])
@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}"])
def test_other_routes_refuse_a_missing_or_wrong_token(guarded, path, sent):
    answer = guarded.get(path, headers={} if sent is None else {"Authorization": sent})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_right_token_opens(guarded, scheme):
    assert guarded.get("/v1/registry", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200


def test_the_description_says_which_routes_need_it(guarded):
    paths = guarded.get("/openapi.json").json()["paths"]
    assert paths["/v1/online-features"]["post"]["security"] == [{"bearer": []}]
    assert "security" not in paths["/healthz"]["get"]
