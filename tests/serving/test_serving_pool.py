"""The processes of scikit-learn: batched under load, started again when they die, gone when not needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from lifecycle.core.errors import IntegrityError, OverloadedError, StageError, StateError, UnavailableError
from lifecycle.core.rows import Tensors
from lifecycle.serving.engine import process as process_module
from lifecycle.serving.engine import queue as queue_module
from lifecycle.serving.engine.pool import EstimatorPool, load_pool
from lifecycle.serving.engine.process import ProcessDiedError
from tests.serving import small_estimator
from tests.serving.conftest import eventually, still_running
from tests.serving.small_estimator import ANSWER, COUNT, DIE, DIE_ONCE, FAIL, SHORT, WAIT

COMMAND = (sys.executable, small_estimator.__file__)


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children()}


@pytest.fixture(autouse=True)
def _leaves_no_process():
    before = children()
    yield
    eventually(lambda: children() <= before)


@pytest.fixture
def pool(tmp_path) -> Iterator[EstimatorPool]:
    """One process, so that what waits is in plain sight."""
    pool = load_pool(tmp_path, COMMAND, workers=1)
    yield pool
    (tmp_path / "go").touch()
    pool.close()


@pytest.fixture
def pair(tmp_path) -> Iterator[EstimatorPool]:
    """Two processes."""
    pool = load_pool(tmp_path, COMMAND, workers=2)
    yield pool
    pool.close()


def rows(*told: tuple[int, float]) -> Tensors:
    return Tensors(np.array(told, dtype=np.float32), np.empty((len(told), 0), dtype=object))


def ask(pool: EstimatorPool, tensors: Tensors) -> Future[object]:
    """Submit, and hear the outcome as it is."""
    future: Future[object] = Future()
    pool.submit(tensors, future.set_result)
    return future


def held(pool: EstimatorPool, folder: Path) -> Callable[[], object]:
    """Keep the one process busy until the returned function is called; that gives its answer."""
    first = ask(pool, rows((WAIT, 1)))
    eventually(lambda: not pool._queue._items)

    def release() -> object:
        (folder / "go").touch()
        return first.result(10)

    return release


def test_what_waits_for_a_busy_process_is_answered_together(pool, tmp_path):
    release = held(pool, tmp_path)
    asked = [ask(pool, rows((COUNT, 0), (ANSWER, i))) for i in range(30)]
    assert not any(future.done() for future in asked)
    assert release().tolist() == [2.0]
    for i, future in enumerate(asked):
        assert future.result(10).tolist() == [60, 2 * i], "60 rows came in one batch, each to who asked it"


def test_nobody_waits_for_a_free_process(pool):
    assert ask(pool, rows((COUNT, 0))).result(10).tolist() == [1]


def test_a_batch_has_its_bound_and_one_large_request_is_still_answered(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(queue_module, "BATCH_ROWS", 10)
    release = held(pool, tmp_path)
    asked = [ask(pool, rows(*[(COUNT, 0)] * size)) for size in (4, 4, 4, 25)]
    release()
    assert [future.result(10).tolist()[0] for future in asked] == [8, 8, 4, 25]


def test_what_cannot_be_answered_in_time_is_turned_away(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(queue_module, "WAITING_ROWS", 3)
    release = held(pool, tmp_path)
    accepted = [ask(pool, rows((ANSWER, i))) for i in range(3)]
    with pytest.raises(
        OverloadedError, match="3 rows wait for scikit-learn already, at most 3 may"
    ) as caught:
        ask(pool, rows((ANSWER, 9)))
    assert "LIFECYCLE_ESTIMATOR_WORKERS" in caught.value.hint
    release()
    assert [future.result(10).tolist() for future in accepted] == [[0], [2], [4]]
    assert ask(pool, rows((ANSWER, 9))).result(10).tolist() == [18], "and later it is taken again"


def test_a_process_that_dies_is_started_again_and_asked_once_more(pool, tmp_path):
    [pid] = children()
    assert ask(pool, rows((DIE_ONCE, 4))).result(10).tolist() == [8]
    assert children() != {pid}


def test_a_request_that_kills_its_process_takes_no_other_with_it(pool, tmp_path):
    release = held(pool, tmp_path)
    before, deadly, after = (ask(pool, rows((told, 3))) for told in (ANSWER, DIE, ANSWER))
    release()
    assert before.result(20).tolist() == after.result(20).tolist() == [6]
    assert isinstance(deadly.result(20), ProcessDiedError)
    assert "ended while it answered" in deadly.result().message


def test_a_request_that_the_estimator_cannot_answer_takes_no_other_with_it(pool, tmp_path):
    release = held(pool, tmp_path)
    before, failing, after = (ask(pool, rows((told, 3))) for told in (ANSWER, FAIL, ANSWER))
    release()
    assert before.result(10).tolist() == after.result(10).tolist() == [6]
    assert isinstance(failing.result(10), StageError)
    with pytest.raises(StageError, match="the estimator fails: ValueError: no such row"):
        pool.predict(rows((FAIL, 1)))


def test_an_answer_that_is_missing_is_an_error(pool):
    with pytest.raises(IntegrityError, match="gave 1 answers for 2 rows"):
        pool.predict(rows((SHORT, 1), (ANSWER, 1)))


def test_a_process_that_hangs_is_ended(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(process_module, "ANSWER_SECONDS", 0.1)
    with pytest.raises(UnavailableError, match="took over 0 s to answer and was ended"):
        pool.predict(rows((WAIT, 1)))
    monkeypatch.undo()
    assert pool.predict(rows((ANSWER, 1))).tolist() == [2]


def test_killed_again_and_again_under_load_every_answer_is_right(pair, tmp_path):
    waiting: set[int] = set()

    def asked(i: int) -> bool:
        waiting.add(i)
        try:
            return pair.predict(rows((ANSWER, i))).tolist() == [2 * i]
        finally:
            waiting.remove(i)

    with ThreadPoolExecutor(8) as threads:
        asking = threads.map(asked, range(2000))
        for _ in range(3):
            for ready in list(tmp_path.glob("ready-*")):
                ready.unlink()
                os.kill(int(ready.name.removeprefix("ready-")), signal.SIGKILL)
            met = set(waiting)
            eventually(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
            # Each request is asked once more, not twice: none may meet two kills.
            eventually(lambda met=met: not met & waiting)
        assert all(asking)


def test_a_process_that_dies_idle_is_started_again_before_anybody_asks(pool):
    [pid] = children()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: children() and children() != {pid})


def test_while_no_process_starts_everybody_hears_why_and_later_it_goes_on(pool, tmp_path):
    (tmp_path / "broken").touch()
    release = held(pool, tmp_path)
    for pid in children():
        os.kill(pid, signal.SIGKILL)
    assert isinstance(release(), IntegrityError)

    def refused() -> bool:
        try:
            pool.predict(rows((ANSWER, 1)))
        except IntegrityError as error:
            return "does not load: its code is not here" in error.message
        return False

    eventually(refused)
    (tmp_path / "broken").unlink()
    eventually(lambda: not refused())
    assert pool.predict(rows((ANSWER, 1))).tolist() == [2]


@pytest.mark.parametrize(
    ("how", "error", "told"),
    [
        ("broken", IntegrityError, "model.skops of .* does not load: its code is not here"),
        ("crash", UnavailableError, "ended before it was ready"),
    ],
)
def test_an_estimator_that_does_not_load_is_told(tmp_path, how, error, told):
    (tmp_path / how).touch()
    with pytest.raises(error, match=told):
        load_pool(tmp_path, COMMAND, workers=2)


def test_a_command_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(UnavailableError, match="cannot start a process"):
        load_pool(tmp_path, ("/no/such/command",), workers=1)


def test_closing_answers_what_waits_and_takes_nothing_more(pool, tmp_path):
    release = held(pool, tmp_path)
    waiting = ask(pool, rows((ANSWER, 5)))
    release()
    pool.close()
    assert waiting.result(10).tolist() == [10]
    assert children() == set()
    with pytest.raises(StateError, match="was put away"):
        pool.predict(rows((ANSWER, 1)))


def test_an_engine_that_nobody_holds_ends_its_processes(tmp_path):
    """As when a release is switched: the last request that holds the old one lets it go."""
    pool = load_pool(tmp_path, COMMAND, workers=2)
    assert len(children()) == 2
    assert pool.predict(rows((ANSWER, 1))).tolist() == [2]
    del pool
    eventually(lambda: not children())


BUSY = """
import sys
from pathlib import Path
import numpy as np
from lifecycle.core.rows import Tensors
from lifecycle.serving.engine.pool import load_pool
pool = load_pool(Path(sys.argv[1]), sys.argv[2:4], workers=2)
print("ready", flush=True)
pool.predict(Tensors(np.float32([[int(sys.argv[4]), 1]]), np.empty((1, 0), dtype=object)))
"""


def test_no_process_outlives_a_server_that_is_killed(tmp_path):
    command = [sys.executable, "-c", BUSY, str(tmp_path), *COMMAND, str(WAIT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout.readline() == b"ready\n"
        estimators = psutil.Process(server.pid).children()
        assert len(estimators) == 2
        server.kill()
    (tmp_path / "go").touch()
    assert still_running(estimators) == []
