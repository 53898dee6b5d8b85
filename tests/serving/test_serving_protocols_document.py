"""Every example of the page on protocols runs as it stands."""

from __future__ import annotations

import json
import re
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest

from lifecycle.core.record import schema_of
from systems.house_prices import Sale
from tests.serving.conftest import eventually, promote

PAGE = Path(__file__).parents[2] / "docs" / "serving" / "protocols.md"
BLOCKS = re.findall(
    r"^```(sh|python)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def address(client, ledger, releases) -> str:
    promote(ledger, releases.write(system="house-prices", schema=schema_of(Sale)))
    eventually(lambda: client.get("/v1/house-prices").is_success)
    return client.base_url.netloc.decode()


def test_every_example_runs(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    printed = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an example may leave its file to the interpreter, and Triton warns
        for language, block in BLOCKS:
            code = block.replace("127.0.0.1:8000", address)
            if language == "python":
                exec(code, names)
            else:
                command = ["bash", "-euc", code.replace("curl -s", "curl -sS --fail-with-body")]
                printed += subprocess.run(command, capture_output=True, text=True, check=True).stdout

    answer = json.JSONDecoder().raw_decode(printed)[0]["prediction"]
    assert names["prediction"].tolist() == [answer]
    assert names["predictions"] == [answer]
    assert f'"predictions":[{answer}]' in printed
    assert len(BLOCKS) >= 8
