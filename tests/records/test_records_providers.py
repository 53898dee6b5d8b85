"""Key providers of every kind tell one story; lost, wrong and slow keys are told apart."""

from __future__ import annotations

import base64
import os
import stat
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lifecycle.core.errors import ConfigError, IntegrityError, KeyMissingError, StateError, UnavailableError
from lifecycle.records.providers.environment import EnvironmentKey
from lifecycle.records.providers.local_file import LocalKeyFile
from lifecycle.records.providers.opening import open_provider
from lifecycle.records.providers.port import KeyProvider, WrappedKey
from lifecycle.records.providers.vault import VaultTransit
from tests.simulators.vault import TOKEN, VaultSimulator

SECRET = b"the raw key of a table, 32 bytes"
CONTEXT = b"table key 1 of patients"
VARIABLE = "RECORDS_KEK"


@dataclass
class Kept:
    """A provider, and how whoever keeps its key rotates, destroys and loses it."""

    provider: KeyProvider
    patch: pytest.MonkeyPatch
    home: Path
    vault: VaultSimulator | None = None

    def rotate(self) -> int:
        if not isinstance(self.provider, EnvironmentKey):
            return self.provider.rotate()
        following = max(self.provider.versions(), default=0) + 1
        entry = f"{following}:{base64.b64encode(os.urandom(32)).decode()}"
        self.patch.setenv(VARIABLE, ",".join(filter(None, [os.environ.get(VARIABLE), entry])))
        return following

    def destroy(self, version: int) -> None:
        if isinstance(self.provider, EnvironmentKey):
            entries = os.environ[VARIABLE].split(",")
            self.patch.setenv(VARIABLE, ",".join(e for e in entries if int(e.split(":")[0]) > version))
        self.provider.destroy(version)

    def lose(self) -> None:
        self.patch.delenv(VARIABLE, raising=False)
        (self.home / "kek.json").unlink(missing_ok=True)
        if self.vault is not None:
            self.vault.keys.clear()


@pytest.fixture
def vault() -> Iterator[VaultSimulator]:
    server = VaultSimulator()
    yield server
    server.close()


@pytest.fixture(params=["file", "environment", "vault"])
def kept(request, tmp_path, monkeypatch) -> Kept:
    if request.param == "vault":
        server = request.getfixturevalue("vault")
        return Kept(VaultTransit(server.address, "kek", lambda: TOKEN), monkeypatch, tmp_path, server)
    if request.param == "environment":
        return Kept(EnvironmentKey(VARIABLE), monkeypatch, tmp_path)
    return Kept(LocalKeyFile(tmp_path / "kek.json"), monkeypatch, tmp_path)


def test_a_key_is_unwrapped_as_it_was_wrapped_and_the_wrapping_shows_nothing(kept):
    kept.rotate()

    wrapped = kept.provider.wrap(SECRET, CONTEXT)

    assert wrapped.version == 1
    assert kept.provider.unwrap(wrapped, CONTEXT) == SECRET
    assert SECRET not in wrapped.blob
    assert wrapped != kept.provider.wrap(SECRET, CONTEXT)


def test_a_new_version_wraps_and_the_old_one_still_unwraps(kept):
    kept.rotate()
    old = kept.provider.wrap(SECRET, CONTEXT)

    assert kept.rotate() == 2

    assert kept.provider.versions() == (1, 2)
    assert kept.provider.wrap(SECRET, CONTEXT).version == 2
    assert kept.provider.unwrap(old, CONTEXT) == SECRET


def test_a_destroyed_version_unwraps_nothing_ever_again(kept):
    kept.rotate()
    old = kept.provider.wrap(SECRET, CONTEXT)
    kept.rotate()
    new = kept.provider.wrap(SECRET, CONTEXT)

    kept.destroy(1)
    kept.destroy(1)  # what is gone is gone

    assert kept.provider.versions() == (2,)
    with pytest.raises(KeyMissingError, match="version 1"):
        kept.provider.unwrap(old, CONTEXT)
    assert kept.provider.unwrap(new, CONTEXT) == SECRET
    assert kept.rotate() == 3


@pytest.mark.parametrize("version", [1, 2])
def test_the_version_in_use_cannot_be_destroyed(kept, version):
    kept.rotate()

    with pytest.raises(StateError, match="in use"):
        kept.provider.destroy(version)

    assert kept.provider.versions() == (1,)


def test_a_lost_key_is_missing_and_none_is_made_in_its_place(kept):
    kept.rotate()
    wrapped = kept.provider.wrap(SECRET, CONTEXT)

    kept.lose()

    assert kept.provider.versions() == ()
    for action in (
        lambda: kept.provider.unwrap(wrapped, CONTEXT),
        lambda: kept.provider.wrap(SECRET, CONTEXT),
    ):
        with pytest.raises(KeyMissingError, match=r"version 1 of the .*key.*\n.*restore it"):
            action()
    assert kept.provider.versions() == ()


def test_a_wrong_key_is_no_lost_key(kept):
    kept.rotate()
    wrapped = kept.provider.wrap(SECRET, CONTEXT)
    kept.lose()
    kept.rotate()

    with pytest.raises(IntegrityError, match="is not the one that wrapped this key"):
        kept.provider.unwrap(wrapped, CONTEXT)


@pytest.mark.parametrize("part", ["context", "blob"])
def test_what_was_wrapped_for_one_place_opens_in_no_other(kept, part):
    kept.rotate()
    wrapped = kept.provider.wrap(SECRET, CONTEXT)
    turned = wrapped.blob[:-3] + (b"AAA" if wrapped.blob[-3:] != b"AAA" else b"BBB")
    if part == "blob":
        wrapped = WrappedKey(1, turned)

    with pytest.raises(IntegrityError) as refused:
        kept.provider.unwrap(wrapped, CONTEXT if part == "blob" else b"table key 2")

    shown = "".join(traceback.format_exception(refused.value))
    assert repr(SECRET)[2:-1] not in shown


def test_the_file_is_its_owners_alone(tmp_path):
    provider = LocalKeyFile(tmp_path / "keys" / "kek.json")
    provider.rotate()
    path = tmp_path / "keys" / "kek.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    path.chmod(0o640)

    with pytest.raises(ConfigError, match="mode 0640: others can read"):
        provider.wrap(SECRET, CONTEXT)


@pytest.mark.parametrize("content", ["", "{}", '{"format":1,"versions":{"1":"c2hvcnQ="}}', '{"format":2}'])
def test_a_file_that_holds_no_keys_is_refused_without_showing_it(tmp_path, content):
    path = tmp_path / "kek.json"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(ConfigError, match="not a file of key encryption keys") as refused:
        LocalKeyFile(path).rotate()

    assert "c2hv" not in "".join(traceback.format_exception(refused.value))
    assert path.read_text() == content


def test_a_destroyed_version_is_overwritten_in_the_file_that_held_it(tmp_path):
    path = tmp_path / "kek.json"
    provider = LocalKeyFile(path)
    provider.rotate()
    with path.open("rb") as held:  # its old bytes, whatever its name is now
        provider.rotate()
        with path.open("rb") as newer:
            provider.destroy(1)
            assert set(newer.read()) == {0}
        assert held.read(1) == b"{"  # rotation destroys nothing


def test_threads_that_rotate_together_lose_no_version(tmp_path):
    provider = LocalKeyFile(tmp_path / "kek.json")
    threads = [threading.Thread(target=provider.rotate) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert provider.versions() == (1, 2, 3, 4, 5, 6)


def test_the_environment_says_that_it_is_for_development(caplog, monkeypatch):
    provider = EnvironmentKey(VARIABLE)
    assert "for development only" in caplog.text
    with pytest.raises(StateError, match=r"add to it, after a comma: 1:\$"):
        provider.rotate()
    monkeypatch.setenv(VARIABLE, "hunter2")
    with pytest.raises(ConfigError) as refused:
        provider.versions()
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (403, ConfigError, "refuses our token"),
        (404, KeyMissingError, "is not there"),
        (400, ConfigError, "refuses"),
        (503, UnavailableError, "answers 503"),
        (307, UnavailableError, "answers 307"),
        ("nonsense", UnavailableError, "does not answer as Vault does"),
        ("slow", UnavailableError, "does not answer within 0.05 s"),
    ],
)
def test_whatever_vault_does_has_its_own_error_and_shows_neither_token_nor_key(vault, fault, kind, words):
    provider = VaultTransit(vault.address, "kek", lambda: TOKEN, timeout=5)
    provider.rotate()
    vault.fault = fault
    provider._timeout = 0.05 if fault == "slow" else 5

    with pytest.raises(kind, match=words) as refused:
        provider.wrap(SECRET, CONTEXT)

    shown = "".join(traceback.format_exception(refused.value))
    assert TOKEN not in shown
    assert base64.b64encode(SECRET).decode() not in shown


def test_a_vault_that_is_not_there_is_unavailable(vault):
    provider = VaultTransit("http://127.0.0.1:1", "kek", lambda: TOKEN)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        provider.versions()


def test_vault_is_asked_with_the_token_of_the_moment(vault, tmp_path, monkeypatch):
    place = vault.address.removeprefix("http://")
    provider = open_provider(f"vault+http://{place}/transit/kek")
    with pytest.raises(ConfigError, match="no token"):
        provider.versions()
    monkeypatch.setenv("VAULT_TOKEN", "an old one")
    with pytest.raises(ConfigError, match="403"):
        provider.versions()
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(tmp_path / "token"))
    assert provider.rotate() == 1


@pytest.mark.parametrize(
    "address",
    ["", "file:kek", "env:", "vault+https://host", "vault+http://vault.example/transit/kek", "s3://hunter2"],
)
def test_an_address_of_no_provider_is_refused_without_showing_it(address):
    with pytest.raises(ConfigError) as refused:
        open_provider(address)
    assert "hunter2" not in str(refused.value)


def test_each_address_opens_its_provider(tmp_path):
    assert isinstance(open_provider(f"file://{tmp_path}/kek.json"), LocalKeyFile)
    assert isinstance(open_provider(f"env:{VARIABLE}"), EnvironmentKey)
    assert isinstance(open_provider("vault+https://vault.example:8200/transit/kek"), VaultTransit)
