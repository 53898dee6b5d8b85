"""Who may ask what: keys are told once, kept as hashes, replaced with an overlap, checked on both lanes."""

from __future__ import annotations

import base64
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from lifecycle.core.errors import AccessDeniedError, ConfigError, IntegrityError, StateError, StorageError
from lifecycle.serving.app import create_app
from lifecycle.serving.exchange import Request
from lifecycle.serving.key_file import KeyFile
from lifecycle.serving.keys import KeyRing, require_keys
from lifecycle.serving.problems import ProblemError
from tests.serving.conftest import HOME, LANES, NOON, Service, eventually, promote

PREDICT = "/v1/homes/predict"
LATER = NOON + timedelta(hours=1)


@pytest.fixture
def file(tmp_path) -> KeyFile:
    return KeyFile(tmp_path / "keys" / "api-keys.json")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "api-keys.json"


def asking(key: str = "", host: bytes = b"localhost:8000") -> Request:
    headers = [(b"host", host)] + ([(b"authorization", f"Bearer {key}".encode())] if key else [])
    return Request("POST", PREDICT, headers, b"", 0.0)


def status(ring: KeyRing, key: str, access="predict", system="homes", now=NOON) -> int:
    try:
        ring.check(asking(key), access, system, now.timestamp())
    except ProblemError as problem:
        return int(problem.status)
    return 200


def test_a_key_is_told_once_and_rests_as_a_hash_that_only_its_owner_can_read(file, path):
    key = file.issue("shop", ["predict"], [], NOON)
    assert key.rpartition("_")[2] not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert status(KeyRing(path), key) == 200


def test_a_key_does_what_it_was_issued_for_and_nothing_else(file, path):
    shop = file.issue("shop", ["predict"], ["homes"], NOON)
    nurse = file.issue("nurse", ["outcomes"], [], NOON)
    chief = file.issue("chief", ["admin"], [], NOON)
    ring = KeyRing(path)
    assert status(ring, shop) == 200
    assert status(ring, shop, system="huts") == 403
    assert status(ring, shop, "outcomes") == 403
    assert status(ring, nurse, "outcomes", "huts") == 200
    assert status(ring, nurse) == 403
    assert status(ring, shop, "admin", None) == 403
    assert [status(ring, chief, access) for access in ("predict", "outcomes", "admin")] == [200] * 3
    assert status(ring, nurse, "any key", None) == 200
    assert status(ring, "", "everybody", None) == 200


@pytest.mark.parametrize("key", ["", "lc_", "lc_00000000_secret", "x" * 10_000, "lc_\u00e9"])
def test_what_is_no_key_is_refused(file, path, key):
    file.issue("shop", ["predict"], [], NOON)
    assert status(KeyRing(path), key) == 401


def test_the_right_id_with_a_wrong_secret_is_refused(file, path):
    key = file.issue("shop", ["predict"], [], NOON)
    assert status(KeyRing(path), key[:-1] + ("a" if key[-1] != "a" else "b")) == 401


def test_a_key_is_replaced_without_cutting_anybody_off(file, path):
    old = file.issue("shop", ["predict"], ["homes"], NOON)
    new = file.rotate(old.split("_")[1], timedelta(hours=1), NOON)
    ring = KeyRing(path)
    assert (status(ring, old), status(ring, new)) == (200, 200)
    assert (status(ring, old, now=LATER), status(ring, new, now=LATER)) == (401, 200)
    assert status(ring, new, system="huts") == 403, "it allows what the old one did"


def test_a_revoked_key_is_refused_at_once_by_a_running_server(file, path):
    key = file.issue("shop", ["predict"], [], NOON)
    ring = KeyRing(path)
    file.revoke(key.split("_")[1], NOON)
    ring.refresh()
    assert status(ring, key) == 401
    with pytest.raises(StateError, match="is in force"):
        file.revoke(key.split("_")[1], NOON)


def test_a_scope_that_is_not_known_is_refused(file, path):
    with pytest.raises(ConfigError, match="predict, outcomes, admin, records; found everything"):
        file.issue("shop", ["everything"], [], NOON)
    assert not path.exists()


def test_keys_issued_at_once_are_all_kept(file):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: file.issue(f"shop {i}", ["predict"], [], NOON), range(12)))
    assert len(file.read()) == 12


def test_a_damaged_or_vanished_file_opens_nothing(file, path):
    key = file.issue("shop", ["predict"], [], NOON)
    ring = KeyRing(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    ring.refresh()
    assert "is damaged" in ring.fault
    assert (status(ring, key), status(ring, "")) == (200, 401)
    path.unlink()
    ring.refresh()
    assert "is gone" in ring.fault
    assert (status(ring, key), status(ring, "")) == (200, 401)
    path.write_bytes(b"{}x")
    assert status(KeyRing(path), "") == 401, "a server that starts with a damaged file answers nobody"
    with pytest.raises(IntegrityError, match="is damaged"):
        file.issue("shop", ["predict"], [], NOON)


def test_a_full_disk_leaves_the_keys_as_they_were(file, path, monkeypatch):
    file.issue("shop", ["predict"], [], NOON)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="No space left"):
        file.issue("mill", ["predict"], [], NOON)
    assert [key.name for key in file.read()] == ["shop"]


def test_without_keys_only_this_machine_is_answered_by_its_own_name(path):
    ring = KeyRing(path)
    ring.check(asking(), "predict", "homes", 0.0)
    with pytest.raises(ProblemError, match="only this machine is answered"):
        ring.check(asking(host=b"attacker.example:8000"), "predict", "homes", 0.0)
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        require_keys(ring, "0.0.0.0")
    for host in ("127.0.0.1", "::1", "localhost"):
        require_keys(ring, host)


@pytest.mark.parametrize("lane", LANES.values(), ids=LANES)
def test_both_lanes_and_every_page_ask_for_a_key(ledger, store, releases, file, path, lane):
    shop = file.issue("shop", ["predict"], ["homes"], NOON)
    chief = file.issue("chief", ["admin"], [], NOON)
    promote(ledger, releases.write())
    with Service(create_app(ledger, store, poll_seconds=0.02, keys=KeyRing(path)), lane) as client:
        eventually(lambda: client.get("/readyz").status_code == 200)

        def ask(key: str, where: str = PREDICT) -> int:
            headers = {"X-API-Key": key} if key else {}
            answer = client.post(where, json=HOME, headers=headers)
            assert answer.status_code == 200 or "lc_" not in answer.text.replace("lc_…", "")
            return answer.status_code

        assert (ask(""), ask("lc_no_no"), ask(shop), ask(shop, "/v1/huts/predict")) == (401, 401, 200, 403)
        assert client.post(PREDICT, json=HOME).headers["www-authenticate"].startswith("Bearer")
        basic = base64.b64encode(f"any:{shop}".encode()).decode()
        assert client.get("/v1/homes", headers={"Authorization": f"Basic {basic}"}).status_code == 200
        assert [client.get(page).status_code for page in ("/v1", "/openapi.json", "/docs")] == [401] * 3
        assert client.get("/healthz").status_code == 200
        file.revoke(shop.split("_")[1], NOON)
        eventually(lambda: ask(shop) == 401)
        assert ask(chief) == 200


def test_who_has_a_key_for_records_acts_under_its_name_and_nobody_else_does(file, path):
    assert KeyRing(path).acting("ada", "", 0.0) == "ada"  # no key was issued: as it is claimed
    text = file.issue("ada", ["records"], [], NOON)
    shop = file.issue("shop", ["predict", "admin"], [], NOON)
    ring, now = KeyRing(path), NOON.timestamp()
    assert ring.acting("bob", text, now) == "ada"
    assert ring.acting("bob", "", now) == "bob"
    with pytest.raises(AccessDeniedError, match="'ada' has an API key"):
        ring.acting("ada", "", now)
    for wrong in (shop, text[:-1], "lc_no_no", "x"):
        with pytest.raises(AccessDeniedError, match="not one that opens records") as caught:
            ring.acting("ada", wrong, now)
        assert wrong not in caught.value.message
    file.revoke(text.split("_")[1], NOON)
    ring.refresh()
    with pytest.raises(AccessDeniedError):
        ring.acting("bob", text, now)
    with pytest.raises(AccessDeniedError, match="'ada' has an API key"):
        ring.acting("ada", "", now)


def test_a_key_for_records_predicts_nothing(file, path):
    text = file.issue("ada", ["records"], [], NOON)
    with pytest.raises(ProblemError, match="does not allow predict"):
        KeyRing(path).check(asking(text), "predict", "homes", NOON.timestamp())


def test_whose_key_it_is_can_be_told_without_a_web_framework():
    code = "import sys, lifecycle.serving.keys; print({'fastapi', 'starlette', 'uvicorn'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", "batch flows open records too, and may not have it installed"
