"""A switch is told to the servers of the machine at once."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle.core.settings import Settings
from lifecycle.serving.notice import Notices, announce, notice_folder
from lifecycle.wiring import open_ledger
from tests.serving.conftest import promote


@pytest.fixture(params=["usual", "too deep for a socket"])
def state(request, monkeypatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder) / (".lifecycle" if request.param == "usual" else "deep" * 30)


def test_every_server_is_told_and_nothing_is_left_when_they_end(state):
    heard = [threading.Event(), threading.Event()]
    with Notices(state, heard[0].set), Notices(state, heard[1].set):
        announce(state)
        assert all(each.wait(10) for each in heard)
    folder = notice_folder(state)
    assert not folder.exists() or (folder.parent == state and list(folder.iterdir()) == [])
    announce(state)


def test_what_a_killed_server_left_is_removed_and_the_living_are_told(state):
    heard = threading.Event()
    with Notices(state, heard.set):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
            killed.bind(str(notice_folder(state) / "killed"))
        announce(state)
        assert heard.wait(10)
        assert len(list(notice_folder(state).iterdir())) == 1


def test_telling_never_fails_and_never_waits(state):
    announce(state)  # there is no folder
    notice_folder(state).mkdir(parents=True)
    (notice_folder(state) / "file").touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(notice_folder(state) / "deaf"))
        for _ in range(2000):  # more than its queue holds
            announce(state)


def test_a_server_that_cannot_listen_goes_on_by_polling(state, caplog):
    notice_folder(state).parent.mkdir(parents=True, exist_ok=True)
    notice_folder(state).touch()
    with Notices(state, pytest.fail):
        announce(state)


def test_the_ledger_tells_of_switches_and_only_of_them(tmp_path, releases):
    settings = Settings(project=tmp_path)
    ledger, heard = open_ledger(settings), threading.Semaphore(0)
    with Notices(settings.state, heard.release):
        promote(ledger, releases.write(1.0))
        assert heard.acquire(timeout=10)
        promote(ledger, releases.write(2.0), decision="hold")
        promote(ledger, releases.write(3.0))
        assert heard.acquire(timeout=10)
        assert not heard.acquire(blocking=False)
    ledger.close()
