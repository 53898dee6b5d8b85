"""The service as its users see it, over real HTTP."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from lifecycle.core.record import RecordSchema
from lifecycle.serving.limits import INLINE_BODY, MAX_BODY
from tests.serving.conftest import ANSWER, HOME, HOMES, eventually, promote
from tests.serving.test_serving_store import flip, folder_of

PREDICT = "/v1/homes/predict"


def is_ready(client) -> bool:
    return client.get("/readyz").status_code == 200


@pytest.fixture
def homes(client, ledger, releases):
    """The service with one release live."""
    promote(ledger, releases.write())
    eventually(lambda: client.get("/v1").json()["systems"] == ["homes"])
    return client


def test_every_answer_names_its_release(homes, ledger):
    digest = ledger.live("homes").release.digest
    answer = homes.post(PREDICT, json=HOME)
    assert answer.json()["prediction"] == ANSWER
    assert answer.json()["release"] == answer.headers["X-Lifecycle-Release"] == digest
    refused = homes.post(PREDICT, json={**HOME, "area": 1})
    assert refused.status_code == 422
    assert refused.headers["X-Lifecycle-Release"] == digest
    assert refused.headers["content-type"] == "application/problem+json"


def test_a_large_body_is_answered_too(homes):
    body = json.dumps({"instances": [HOME] * 1000}).encode()
    assert len(body) > INLINE_BODY
    assert homes.post(PREDICT, content=body).json()["predictions"] == [ANSWER] * 1000
    body = json.dumps({"instances": [HOME] * 1000 + [{}]}).encode()
    assert homes.post(PREDICT, content=body).json()["detail"].startswith("instance 1000, sold_on is missing")


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused(homes, announced):
    size = MAX_BODY + 1
    content = b" " * size if announced else (b" " * 1_000_000 for _ in range(9))
    answer = homes.post(PREDICT, content=content)
    assert answer.status_code == 413
    assert answer.json()["detail"] == f"the body is larger than {MAX_BODY} bytes: send fewer instances"


@pytest.mark.parametrize("path", ["/v1/hoems", "/v1/hoems/predict"])
def test_an_unknown_system_names_the_nearest(homes, path):
    answer = homes.post(path) if path.endswith("predict") else homes.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "no system of that name is live; did you mean 'homes'? (live: homes)"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/v1", 405)])
def test_whatever_else_is_wrong_is_a_problem_too(homes, method, path, status):
    answer = homes.request(method, path)
    assert answer.status_code == status
    assert answer.json()["detail"] == "/docs shows what this service answers"


def test_the_page_of_a_system_says_what_is_live_and_where_it_comes_from(homes, ledger):
    page = homes.get("/v1/homes").json()
    live = ledger.live("homes")
    assert page["release"] == live.release.digest
    assert (page["by"], page["decision"], page["version"]) == ("ada", "first-deployment", "1")
    assert page["since"] == "2024-01-01T12:00:00Z"
    assert page["lineage"]["commit"] == "b2"
    assert page["lineage"]["test"]["rows"] == 100
    assert page["metrics"] == {"mae": 12.5}
    assert page["schema_digest"] == HOMES.digest
    assert (page["label"], page["label_unit"], page["waiting"]) == ("price", "USD", None)


def test_it_is_ready_with_an_empty_ledger(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    eventually(lambda: is_ready(client))
    assert client.get("/readyz").json()["systems"] == {}
    assert "No system is live yet" in client.get("/openapi.json").json()["info"]["description"]


def test_a_system_whose_first_release_is_broken_is_unavailable_and_unready(client, ledger, releases):
    release = releases.write()
    flip(folder_of(release) / "model.onnx")
    promote(ledger, release)
    eventually(lambda: (client.get("/readyz").json()["systems"].get("homes") or {}).get("waiting"))
    eventually(lambda: client.get("/readyz").json()["systems"]["homes"]["waiting"]["attempts"])
    readiness = client.get("/readyz")
    assert readiness.status_code == 503
    assert "model.onnx was changed" in readiness.json()["systems"]["homes"]["waiting"]["reason"]
    answer = client.post(PREDICT, json=HOME)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "homes has no release that answers" in answer.json()["detail"]


def test_the_ledger_going_away_is_told_but_does_not_matter(homes, ledger):
    ledger.outage = OSError("postgres://user:password@host")
    eventually(lambda: not homes.get("/readyz").json()["ledger"]["reachable"])
    assert is_ready(homes)
    assert homes.get("/readyz").json()["ledger"]["fault"] == "OSError"
    assert homes.post(PREDICT, json=HOME).status_code == 200


def test_a_promotion_under_load_fails_no_request_and_never_goes_back(homes, ledger, releases):
    versions = {ledger.live("homes").release.digest: 0}
    done = []

    def ask(_: int) -> list[tuple[int, str, float]]:
        seen = []
        while not done:
            answer = homes.post(PREDICT, json=HOME)
            seen.append((answer.status_code, answer.json()["release"], answer.json()["prediction"]))
        return seen

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, i) for i in range(3)]
        for number in range(1, 6):
            release = releases.write(float(number))
            versions[release.digest] = number
            promote(ledger, release, version=str(number))
            eventually(lambda wanted=release.digest: homes.get("/v1/homes").json()["release"] == wanted)
        done.append(True)
        for seen in [future.result() for future in asking]:
            order = [versions[release] for _, release, _ in seen]
            assert {status for status, _, _ in seen} == {200}
            assert order == sorted(order)
            assert [prediction - ANSWER for _, _, prediction in seen] == order


def renamed(schema: RecordSchema) -> RecordSchema:
    """A later schema: ``beds`` is called ``bedrooms``."""
    text = schema.model_dump_json().replace('"name":"beds"', '"name":"bedrooms"')
    return RecordSchema.model_validate_json(text)


def test_a_release_of_another_schema_is_checked_and_described_by_its_own(homes, ledger, releases):
    old_page = homes.get("/openapi.json").json()
    promote(ledger, releases.write(schema=renamed(HOMES)), version="2")
    eventually(lambda: homes.get("/v1/homes").json()["version"] == "2")
    assert homes.post(PREDICT, json=HOME).json()["faults"][0]["field"] == "bedrooms"
    new_home = {("bedrooms" if name == "beds" else name): value for name, value in HOME.items()}
    assert homes.post(PREDICT, json=new_home).status_code == 200
    new_page = homes.get("/openapi.json").json()
    assert "beds" in old_page["components"]["schemas"]["homes.Home"]["properties"]
    assert "bedrooms" in new_page["components"]["schemas"]["homes.Home"]["properties"]


def test_the_api_page_shows_units_and_bounds_and_an_example_that_works(homes):
    page = homes.get("/openapi.json").json()
    area = page["components"]["schemas"]["homes.Home"]["properties"]["area"]
    assert (area["minimum"], area["maximum"], area["unit"]) == (100, 20_000, "ft2")
    operation = page["paths"][PREDICT]["post"]
    assert "| `area` | number | ft2 | ≥ 100, ≤ 20,000 |" in operation["description"]
    assert "| `wall` | one of |  | `brick`, `wood` |" in operation["description"]
    answered = operation["responses"]["200"]["content"]["application/json"]["example"]
    for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
        assert homes.post(PREDICT, json=example["value"]).status_code == 200
    first = operation["requestBody"]["content"]["application/json"]["examples"]["one"]["value"]
    assert {**homes.post(PREDICT, json=first).json(), "prediction_id": answered["prediction_id"]} == answered


def test_every_reference_of_the_api_page_leads_somewhere(homes):
    text = homes.get("/openapi.json").text
    defined = json.loads(text)["components"]["schemas"]
    names = {name.removeprefix("#/components/schemas/") for name in re.findall(r'"\$ref":"([^"]+)"', text)}
    assert names <= set(defined)
    assert "Problem" in names


def test_the_docs_page_needs_no_network(homes):
    page = homes.get("/docs").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) == 3
    assert "http" not in "".join(links)
    for link in links:
        assert homes.get(f"/{link}").status_code == 200
