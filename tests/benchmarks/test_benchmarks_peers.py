"""The peers of `make bench-serving`: pinned, asked with the same records, and told when they fail."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.__main__ import FIGURES, SERVING_FIGURES, figure
from benchmarks.bench import SMALL, Bench
from benchmarks.peers import environment, registry, running
from benchmarks.peers.environment import PeerError, last_words, python_of
from benchmarks.peers.registry import PEERS, encoded
from benchmarks.serving_peers import _failures, _peers

EVERY = (registry.LIMIT, *registry.ALL)
RECORD = {"sale_id": "7", "sold_on": "1996-01-31", "year_built": 1950, "wall": "brick", "living_area": 1200.0}


def test_the_figure_stands_on_a_page_of_its_own():
    assert all(callable(figure(name)) for name in SERVING_FIGURES)
    assert not set(SERVING_FIGURES) & set(FIGURES)


@pytest.mark.parametrize("peer", EVERY, ids=lambda peer: peer.name)
def test_every_pin_is_exact_and_names_no_registry(peer):
    lines = (PEERS / peer.name / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 5
    assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.+]+(?: *;.*)?", pin) for pin in pins)


@pytest.mark.parametrize("peer", EVERY, ids=lambda peer: peer.name)
def test_every_peer_is_asked_the_same_features_and_not_the_id(peer):
    text = encoded(peer, RECORD).decode()
    assert all(name in text for name in RECORD if name != "sale_id")
    assert "sale_id" not in text
    assert "brick" in text
    assert ("1996-01-31" in text) != ("9526" in text)  # days since 1970, where the format knows no date


def test_a_peer_whose_answers_differ_is_not_timed(monkeypatch):
    answers = iter([100.0, 100.2])
    monkeypatch.setattr(running, "ask", lambda *_: (200, json.dumps({"prediction": next(answers)}).encode()))
    records = [{**RECORD, "sale_id": name} for name in "ab"]
    with pytest.raises(PeerError, match=r"differ from the release's by up to 2\.0e-03"):
        running.agree(registry.LIMIT, 1, records, {"a": 100.0, "b": 100.0})


def test_a_peer_that_cannot_be_installed_is_told_with_its_own_words(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "HOME", tmp_path)
    monkeypatch.setattr(environment, "PEERS", tmp_path / "peers")
    pins = tmp_path / "peers" / registry.TUTORIAL.name / "requirements.txt"
    pins.parent.mkdir(parents=True)
    pins.write_text("./no-such-folder\n", encoding="utf-8")
    with pytest.raises(PeerError, match="no-such-folder"):
        python_of(registry.TUTORIAL)


def test_a_peer_that_fails_stands_in_the_notes(tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise PeerError("it does not come up: no such thing")

    class Live:
        release = tmp_path
        records = (RECORD,)

    monkeypatch.setattr("benchmarks.serving_peers.running", fails)
    found, failed = _peers(Bench(tmp_path, SMALL, say=lambda _line: None), Live(), {})  # type: ignore[arg-type]
    assert found == {}
    notes = _failures(failed)
    assert len(notes) == len(registry.ALL)
    assert notes[-1] == (
        "BentoML 1.4.40, adaptive batching could not be measured here: it does not come up: no such thing."
    )


def test_the_last_words_of_a_program_are_one_line():
    assert last_words("a\n\n  b\nc\nd\n") == "b / c / d"
    assert last_words("") == "it said nothing"
