"""The chapters of the demo, each a thing a user would do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console

from demo.client import KeepAsking, ask_all
from demo.sales import Sale, read_sales
from demo.tables import Answers, by_half_year, by_month
from lifecycle.core.params import load_params
from lifecycle.core.record import RecordSchema
from lifecycle.core.rows import encode_records
from lifecycle.core.settings import Settings
from lifecycle.core.system import load_system
from lifecycle.wiring import open_engine, open_ledger, open_store

NAME = "house-prices"
FIRST, SECOND, END = date(1996, 1, 1), date(1998, 1, 1), date(1998, 10, 1)
REPOSITORY = Path(__file__).parents[1]
SWITCH_S = 20
OUTCOMES_AT_ONCE = 5_000
SEGMENT_S = 2
"""The log of the demo is ready to be compacted after so many seconds; usually it is ten minutes."""


class Story:
    """The demo, in a project of its own, so that the checkout it is started from stays as it is."""

    def __init__(self, folder: Path) -> None:
        self.project = folder
        self.settings = Settings(project=folder)
        self.console = Console(highlight=False)
        self.addresses: dict[str, str] = {}
        self._names: list[str] = []

    def tell(self) -> None:
        """All chapters, from an empty project to a system that was kept up."""
        with self._chapter("A project of its own, and its servers"):
            self._start()
        past = [sale for sale in self._sales if FIRST <= sale.sold_on < SECOND]
        recent = [sale for sale in self._sales if SECOND <= sale.sold_on < END]
        with self._chapter(f"First deployment, as of {FIRST}: is it better than naive baselines?"):
            self._lifecycle("first-deployment", NAME, "--as-of", FIRST.isoformat())
            first = self._released(after=None)
            promised = httpx.get(f"{self.addresses['serving']}/v1/{NAME}").json()["metrics"]
        with self._chapter(f"{len(past):,} real sales of 1996 and 1997 are sent to the endpoint"):
            asked = self._ask(past)
        self.console.print(by_half_year(past, asked, promised), "")
        with self._chapter(f"Update, as of {SECOND}, while requests keep flowing"):
            self._update_under_load(recent, first)
        self._lifecycle("history", NAME)
        with self._chapter(f"{len(recent):,} real sales of 1998: deployed once, or kept up"):
            kept_up = self._ask(recent)
            names = self._names
            once = self._answers_of(first, recent)
        both = {"deployed once": np.append(asked, once), "kept up": np.append(asked, kept_up)}
        self.console.print(by_month([*past, *recent], SECOND, both))
        self.console.print("  error: median of |predicted - true| / true; bias: median of predicted / true\n")
        with self._chapter("What became true is told to the endpoint, and joined with what was logged"):
            self._tell_outcomes(recent, names)
            self._lifecycle("log", "compact", NAME)
            self._lifecycle("outcomes", "status", NAME)

    def close(self) -> None:
        """Take the servers down."""
        self._lifecycle("down")

    def _start(self) -> None:
        if self.project.exists():
            self._lifecycle("down")
            shutil.rmtree(self.project)
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(self.project)], check=True)
        listening = self._run("lifecycle", "up", "--json", stdout=subprocess.PIPE)
        self.addresses = json.loads(listening)

    def _update_under_load(self, sales: Sequence[Sale], first: str) -> None:
        with KeepAsking(self._predict_url, [sale.request for sale in sales]) as flowing:
            self._run(
                "prefect", "deployment", "run", f"update/{NAME}", "--param", f"as_of={SECOND}", "--watch"
            )
            self._released(after=first)
        shares = ", ".join(
            f"{count:,} by release {digest[:12]}" for digest, count in flowing.releases.items()
        )
        self.console.print(f"  meanwhile {flowing.failures} requests failed; answered: {shares}")
        if flowing.failures:
            raise SystemExit("a request failed during the switch: none may")

    def _ask(self, sales: Sequence[Sale]) -> Answers:
        answers = ask_all(self._predict_url, [sale.request for sale in sales])
        self.console.print(f"  {len(sales):,} answers, {answers.failures} failures")
        if answers.failures:
            raise SystemExit("a request failed; see .lifecycle/demo/project/.lifecycle/logs/serving.log")
        self._names = [name for name in answers.names if name]
        return np.array(answers.predictions, dtype=np.float64)

    def _tell_outcomes(self, sales: Sequence[Sale], names: Sequence[str]) -> None:
        """Post every price by the name of its prediction, 30 days after the sale."""
        outcomes = [
            {
                "prediction_id": name,
                "value": sale.price,
                "observed_at": f"{sale.sold_on + timedelta(days=30)}T00:00:00Z",
            }
            for sale, name in zip(sales, names, strict=True)
        ]
        accepted = 0
        for start in range(0, len(outcomes), OUTCOMES_AT_ONCE):
            content = {"outcomes": outcomes[start : start + OUTCOMES_AT_ONCE]}
            response = httpx.post(f"{self.addresses['serving']}/v1/{NAME}/outcomes", json=content)
            accepted += response.raise_for_status().json()["accepted"]
        self.console.print(f"  {accepted:,} outcomes accepted")
        time.sleep(2 * SEGMENT_S)  # until the servers have closed what they wrote

    def _answers_of(self, digest: str, sales: Sequence[Sale]) -> Answers:
        """What a release that is no longer live would have answered."""
        history = open_ledger(self.settings).history(NAME)
        release = next(row.release for row in history if row.release.digest == digest)
        records = [{**sale.request, "sold_on": sale.sold_on} for sale in sales]
        folder = open_store(self.settings).fetch(release)
        return open_engine(folder, self.project).predict(encode_records(self._schema, records))

    def _released(self, after: str | None) -> str:
        """The release the endpoint serves, once it is another than before."""
        deadline = time.monotonic() + SWITCH_S
        while time.monotonic() < deadline:
            response = httpx.get(f"{self.addresses['serving']}/v1/{NAME}")
            if response.is_success and (digest := str(response.json()["release"])) != after:
                return digest
            time.sleep(0.1)
        raise SystemExit(f"the endpoint did not switch within {SWITCH_S} s")

    @cached_property
    def _schema(self) -> RecordSchema:
        return load_system(load_params(self.project).system(NAME).entry, self.project).schema

    @cached_property
    def _sales(self) -> list[Sale]:
        return read_sales(load_params(self.project).system(NAME).sources[0], self._schema, self.project)

    @property
    def _predict_url(self) -> str:
        return f"{self.addresses['serving']}/v1/{NAME}/predict"

    @contextmanager
    def _chapter(self, title: str) -> Iterator[None]:
        self.console.rule(f"[bold]{title}", align="left")
        start = time.monotonic()
        yield
        self.console.print(f"  [green]✓[/] {time.monotonic() - start:.1f} s\n")

    def _lifecycle(self, *words: str) -> None:
        self._run("lifecycle", *words)

    def _run(self, module: str, *words: str, stdout: int | None = None) -> bytes:
        """Run a command of this environment in the project, as a user would in a shell there."""
        environment = os.environ | {
            "LIFECYCLE_PROJECT": str(self.project),
            "LIFECYCLE_LOG_SEGMENT_SECONDS": str(SEGMENT_S),
        }
        if "prefect" in self.addresses:
            environment["PREFECT_API_URL"] = f"{self.addresses['prefect']}/api"
        command = [sys.executable, "-P", "-m", module, *words]
        done = subprocess.run(command, cwd=self.project, env=environment, stdout=stdout, check=False)
        if done.returncode:
            raise SystemExit(f"`{module} {' '.join(words)}` ended with exit code {done.returncode}")
        return done.stdout or b""
