"""params.yaml is checked as a whole, and every fault is told with its key and nearest match."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifecycle.core.errors import ConfigError
from lifecycle.core.params import load_params

REPOSITORY = Path(__file__).parents[2]

GOOD = """
systems:
  prices:
    entry: my.module:SYSTEM
    code: my
    sources: [{origin: user, kind: csv, path: prices.csv}]
    split: {validation_days: 30, test_days: 30}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return folder


def test_the_reference_systems_are_valid():
    params = load_params(REPOSITORY)
    assert params.system("house-prices").split.test_days > 0


def test_a_small_file_is_enough(tmp_path):
    params = load_params(write(tmp_path, GOOD)).system("prices")
    assert params.evaluation.confidence == 0.95
    assert params.requirements.mode == "real-time"


def test_an_unknown_system_offers_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"no system 'price' in params\.yaml; did you mean 'prices'"):
        load_params(write(tmp_path, GOOD)).system("price")


def test_every_fault_is_told_at_once(tmp_path):
    text = """
systems:
  prices:
    entry: nowhere
    coed: my
    sources: [{origin: user, kind: sql, url: "sqlite://"}]
    split: {validaton_days: 30, test_days: 0}
    requirements: {latency_p99: 3}
    gates: [{metric: mae}]
"""
    with pytest.raises(ConfigError) as caught:
        load_params(write(tmp_path, text))
    message = str(caught.value)
    for part in (
        "systems.prices.entry: String should match pattern",
        "systems.prices.code: missing; did you write 'coed' for it?",
        "systems.prices.coed: no such key; did you mean 'code'?",
        "systems.prices.sources.0: a sql source needs query",
        "systems.prices.split.validation_days: missing; did you write 'validaton_days' for it?",
        "systems.prices.split.test_days: Input should be greater than 0 (found 0)",
        "systems.prices.requirements.latency_p99: no such key; did you mean 'latency_p99_ms'?",
        "systems.prices.gates.0: a gate needs min, max or both",
    ):
        assert part in message
    assert str(tmp_path / "params.yaml") in message


@pytest.mark.parametrize(
    ("text", "said"),
    [("systems: [", "is not YAML"), ("", "fault"), ("- a", "fault"), ("systems: {}", "at least 1 item")],
)
def test_what_is_not_a_params_file_is_refused(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        load_params(write(tmp_path, text))


def test_a_folder_without_params_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="lifecycle init DIR"):
        load_params(tmp_path)
