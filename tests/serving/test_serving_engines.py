"""Two engines, one contract: what a caller may rely on whether ONNX or scikit-learn answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from lifecycle.core.errors import ConfigError
from lifecycle.core.ports import Engine
from lifecycle.core.rows import Tensors
from lifecycle.serving.engine import load_engine
from lifecycle.wiring import estimator_command
from tests.training.training_cases import STRICT, House, make_rows, system_of, train_model

ROOT = Path(__file__).parents[2]
ROWS = 600


def build(seed: int):
    encode = ColumnTransformer(
        [("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["wall", "district"])],
        remainder="passthrough",
    )
    return make_pipeline(encode, HistGradientBoostingRegressor(max_iter=20, random_state=seed))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One estimator in two model folders, as training leaves them for each engine."""
    both = {name: tmp_path_factory.mktemp(name) for name in ("onnx", "skops")}
    system, rows = system_of(House, "regression", build), make_rows(House)
    choice = train_model(system, STRICT, rows, both["onnx"], load_engine)
    itself = choice.model_copy(update={"engine": "skops", "parity": None, "reason": "a test asks for it"})
    for name in ("model.skops", "schema.json"):
        (both["skops"] / name).write_bytes((both["onnx"] / name).read_bytes())
    (both["skops"] / "engine.json").write_text(itself.model_dump_json())
    return both


def load(folder: Path) -> Engine:
    return load_engine(folder, estimator=estimator_command(ROOT), workers=2)


@pytest.fixture(scope="module", params=["onnx", "skops"])
def engine(folders, request) -> Iterator[Engine]:
    engine = load(folders[request.param])
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return make_rows(House, count=ROWS, seed=5).tensors


@pytest.fixture(scope="module")
def expected(folders, tensors):
    """What ONNX answers, all rows at once."""
    return load(folders["onnx"]).predict(tensors)


def test_both_answer_the_same(engine, tensors, expected):
    answers = engine.predict(tensors)
    assert answers.dtype == np.float64
    assert np.allclose(answers, expected, rtol=1e-5)


def test_no_rows_have_no_answers(engine, tensors):
    nothing = tensors.take(slice(0))
    assert engine.predict(nothing).shape == (0,)
    heard = []
    engine.submit(nothing, heard.append)
    assert heard[0].shape == (0,)


def test_an_answer_does_not_depend_on_the_rows_beside_it(engine, tensors):
    together = engine.predict(tensors).tolist()
    for start, rows in ((0, 1), (17, 1), (18, 1), (100, 2), (300, 129), (599, 1)):
        some = tensors.take(slice(start, start + rows))
        assert engine.predict(some).tolist() == together[start : start + rows]


def test_more_rows_than_a_batch_holds_are_answered_in_order(engine, tensors):
    many = tensors.take(np.arange(5000) % ROWS)
    assert engine.predict(many).tolist() == np.tile(engine.predict(tensors), 9)[:5000].tolist()


def test_threads_ask_at_once_and_each_gets_its_own(engine, tensors):
    together = engine.predict(tensors).tolist()

    def ask(row: int) -> bool:
        return engine.predict(tensors.take(slice(row, row + 1))).tolist() == [together[row]]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


def test_an_event_loop_asks_without_waiting_and_is_answered_on_its_own_thread(engine, tensors):
    together = engine.predict(tensors).tolist()

    async def ask_all() -> list[tuple[int, object]]:
        loop, heard = asyncio.get_running_loop(), []
        ended = loop.create_future()

        def hear(row: int, answer: object) -> None:
            heard.append((row, answer, threading.get_ident()))
            if len(heard) == 100:
                ended.set_result(None)

        for row in range(100):
            engine.submit(tensors.take(slice(row, row + 1)), lambda answer, row=row: hear(row, answer))
        await ended
        assert {thread for _, _, thread in heard} == {threading.get_ident()}
        return [(row, answer.tolist()) for row, answer, _ in heard]

    assert sorted(asyncio.run(ask_all())) == [(row, [together[row]]) for row in range(100)]


def test_a_callback_that_fails_takes_nothing_with_it(engine, tensors):
    """On an engine in this process it is the caller's own; elsewhere nobody could be told."""

    def fail(_: object) -> None:
        raise RuntimeError("of the caller's")

    try:
        engine.submit(tensors.take(slice(0, 1)), fail)
    except RuntimeError:
        assert engine.inline
    assert len(engine.predict(tensors)) == ROWS


def test_closing_twice_is_closing(folders, tensors):
    for folder in folders.values():
        engine = load(folder)
        assert len(engine.predict(tensors.take(slice(0, 3)))) == 3
        engine.close()
        engine.close()


def test_scikit_learn_serves_only_where_it_is_told_how(folders):
    with pytest.raises(ConfigError, match="was not told how to run an estimator"):
        load_engine(folders["skops"])
