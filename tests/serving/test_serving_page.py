"""The live page, looked at as people do, and in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from importlib.resources import files
from types import SimpleNamespace

import httpx
import pytest

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.values import Lineage, Window
from lifecycle.serving import engine
from lifecycle.serving.app import create_app
from lifecycle.serving.live import LiveReleases
from lifecycle.serving.metrics import Metrics
from lifecycle.serving.metrics.minute import Rates
from lifecycle.serving.page import (
    LiveView,
    LogView,
    PageView,
    Switch,
    SystemView,
    WaitingView,
    add_page,
    render_page,
    status,
)
from lifecycle.serving.page.form import form_fields
from lifecycle.serving.page.look import look
from tests.serving.browser import Browser
from tests.serving.conftest import ANSWER, HOMES, Service, eventually, promote
from tests.serving.test_serving_store import flip, folder_of

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOSTILE = "\"'></textarea><script>pwned=1</script><img src=x onerror=pwned=1>{{7*7}}"
_WINDOW = Window(start=NOW - timedelta(days=90), end=NOW - timedelta(days=60), rows=12_345)
LIVE = LiveView(
    version="7",
    release="ab12" * 16,
    decision="promote",
    since=NOW - timedelta(hours=2),
    by="ada",
    task="regression",
    schema=HOMES,
    lineage=Lineage(
        snapshot="a1b2",
        commit="c3d4",
        params="",
        environment="",
        split="",
        seed=0,
        train=_WINDOW,
        validation=_WINDOW,
        test=_WINDOW,
    ),
    metrics={"median_ape": 0.0812},
)
SYSTEM = SystemView(
    "homes",
    LIVE,
    Rates(qps=812.4, rows=900.0, refused=0.01, failed=0.0, p50=0.0007, p99=0.0123),
    switches=(Switch(NOW, "rollback", "6", "cd34" * 16, "bob", 0.5),),
    log=LogView("every answer, written before it is sent"),
)
PAGE = PageView(NOW, (SYSTEM,), version="1.2.3", workers=2, ledger_age=0.5, mlflow="http://mlflow:5000/")


class Read(HTMLParser):
    """What a browser makes of a page, as far as a test needs it."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data + " "

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def test_the_page_tells_what_answers_since_when_from_what_and_how_it_does():
    read = Read(render_page(PAGE))
    for words in (
        "Version 7 has answered for 2 h",
        "Promoted by ada, 2024-03-01 10:00 UTC",
        "Requests / s 812",
        "Median 0.70 ms",
        "99th percentile 12.3 ms",
        "Refused 1 %",
        "Failed 0 %",
        "Commit c3d4",
        "Data a1b2 12,345 rows until 2024-01-01",
        "Median APE 0.0812",
        "6 Rolled back by bob 2024-03-01 12:00 UTC 0.50 s",
        "every answer, written before it is sent",
        "Ledger read 0 s ago · 2 workers",
    ):
        assert words in read.words, words
    links = {link["href"] for link in read.all("a")}
    assert {"/v1/homes", "/docs", "/metrics", "http://mlflow:5000/#/models/homes/versions/7"} <= links


def test_a_release_that_cannot_be_served_is_told_with_its_reason():
    waiting = WaitingView("8", "ef" * 32, "model.onnx was changed", attempts=3, faulty=True)
    page = render_page(replace(PAGE, systems=(replace(SYSTEM, waiting=waiting),)))
    words = Read(page).words
    assert "Needs attention" in words
    assert "Version 8 efefefefefef should answer and cannot; version 7 goes on." in words
    assert "model.onnx was changed (3 attempts, tried again)" in words
    assert "3 attempts" not in Read(render_page(PAGE)).words


def test_a_log_that_fails_and_a_ledger_that_is_gone_are_told():
    system = replace(SYSTEM, log=LogView("no space left", failing=True), listed=False)
    words = Read(render_page(replace(PAGE, systems=(system,), ledger_fault="it is locked"))).words
    assert "The prediction log cannot be written: no space left" in words
    assert "no longer lists this system" in words
    assert "The ledger cannot be read, what is loaded goes on answering: it is locked" in words


def test_before_anything_is_live_the_page_says_what_to_run():
    words = Read(render_page(PageView(NOW, ledger_age=0.1))).words
    assert "No system is live yet" in words
    assert "lifecycle first-deployment SYSTEM" in words


def test_nothing_that_a_name_holds_becomes_part_of_the_page():
    text = FieldSpec(name=HOSTILE, kind="text", feature=True, unit=HOSTILE, description=HOSTILE)
    choice = text.model_copy(update={"name": "c", "choices": (HOSTILE, "b")})
    key = FieldSpec(name="key", kind="text", record_id=True)
    label = FieldSpec(name=HOSTILE + "y", kind="number", label=True, unit=HOSTILE)
    schema = RecordSchema(name=HOSTILE, fields=(key, text, choice, label))
    lineage = LIVE.lineage.model_copy(update={"commit": HOSTILE, "snapshot": HOSTILE})
    live = replace(
        LIVE, version=HOSTILE, release=HOSTILE, by=HOSTILE, schema=schema, lineage=lineage, engine=HOSTILE
    )
    system = SystemView(
        HOSTILE,
        replace(live, metrics={HOSTILE: 1.0}, engine_reason=HOSTILE, decision=HOSTILE),
        waiting=WaitingView(HOSTILE, HOSTILE, HOSTILE, 1, True),
        switches=(Switch(NOW, HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        log=LogView(HOSTILE, failing=True),
    )
    page = render_page(replace(PAGE, systems=(system,), ledger_fault=HOSTILE), base=f"http://{HOSTILE}")
    read = Read(page)
    assert len(read.all("script")) == 1
    assert read.all("img", "textarea") == []
    assert "{{7*7}}" in read.text
    assert all(not name.startswith("on") for _, attributes in read.tags for name in attributes)
    plain = Read(render_page(PAGE))
    assert {tag for tag, _ in read.tags} <= {tag for tag, _ in plain.tags} | {"option"}


def test_every_input_has_a_label_and_every_id_is_given_once():
    read = Read(render_page(replace(PAGE, systems=(SYSTEM, replace(SYSTEM, system="others")))))
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {label.get("for") for label in read.all("label")}
    inputs = [each for each in read.all("input", "select") if "data-key" not in each]
    assert len(inputs) == 2 * 8
    assert {each["id"] for each in inputs} <= labelled
    described = {name for each in inputs for name in (each["aria-describedby"] or "").split()}
    assert described <= set(ids)


def test_the_form_is_made_from_the_record_and_its_example_is_accepted():
    fields = {field.name: field for field in form_fields(HOMES)}
    assert list(fields) == ["sold_on", "area", "beds", "garden", "wall", "depth", "note", "home_id"]
    area, beds = fields["area"], fields["beds"]
    assert (area.control, area.low, area.high, area.step, area.unit) == (
        "number",
        "100",
        "20000",
        "any",
        "ft²",
    )
    assert (area.hint, beds.step, beds.hint) == ("100 to 20,000", "1", "0 to 30")
    assert [fields[name].control for name in ("sold_on", "garden", "wall")] == ["date", "checkbox", "select"]
    assert [fields[name].required for name in ("area", "depth", "home_id")] == [True, False, False]
    example = {name: field.value for name, field in fields.items() if field.value is not None}
    HOMES.request_model().model_validate(example)


@pytest.mark.parametrize(
    ("spec", "control", "hint", "example"),
    [
        (FieldSpec(name="f", kind="datetime"), "datetime-local", "UTC", "2020-01-01T00:00:00"),
        (FieldSpec(name="f", kind="boolean", optional=True), "select", "", "true"),
        (FieldSpec(name="f", kind="number", gt=0, le=0.5), "number", "more than 0, at most 0.5", None),
        (FieldSpec(name="f", kind="integer", ge=-5), "number", "at least -5", None),
        (FieldSpec(name="f", kind="text", max_length=3), "text", "at most 3 characters", "exa"),
    ],
)
def test_every_kind_of_field_has_its_input(spec, control, hint, example):
    key = FieldSpec(name="key", kind="text", record_id=True)
    schema = RecordSchema(name="R", fields=(spec.model_copy(update={"feature": True}), key))
    field = form_fields(schema)[0]
    assert (field.control, field.hint) == (control, hint)
    assert example is None or field.example in (example, "", "false")
    schema.request_model().model_validate({} if field.value is None else {"f": field.value})


def test_the_numbers_are_there_for_programs_too():
    told = json.loads(json.dumps(status(PAGE)))
    system = told["systems"]["homes"]
    assert (system["version"], system["state"], system["rates"]["p99"]) == ("7", "answers", 0.0123)
    assert system["shown"]["p99"] == "12.3 ms"
    later = replace(
        PAGE, now=NOW + timedelta(hours=1), systems=(replace(SYSTEM, rates=Rates(1, 1, 0, 0, 1, 1)),)
    )
    assert status(later)["revision"] == told["revision"]  # only numbers have changed
    switched = replace(PAGE, systems=(replace(SYSTEM, live=replace(LIVE, version="8")),))
    assert status(switched)["revision"] != told["revision"]


def test_every_text_has_enough_contrast_by_day_and_by_night():
    style = (files("lifecycle.serving.page") / "page.css").read_text()
    day, night = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for block in style.split("@media (prefers-color-scheme: dark)", 1)
    )

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    texts = {
        "ink": ("paper", "ground", "soft", "good-soft", "bad-soft", "warn-soft"),
        "muted": ("paper", "ground", "good-soft", "bad-soft", "warn-soft"),
        "good": ("good-soft",),
        "bad": ("paper", "ground", "bad-soft"),
        "warn": ("warn-soft",),
        "link": ("paper", "soft"),
        "button-ink": ("button",),
    }
    for palette in (day, night):
        for text, grounds in texts.items():
            for ground in grounds:
                assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
        assert contrast(palette["field"], palette["paper"]) >= 3  # the edge of an input


# ---- In a browser, over the real service


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def page(ledger, store, browser) -> Iterator[SimpleNamespace]:
    """The service with its page, and what counts its requests."""
    live = LiveReleases(ledger, store, engine.load_engine, 0.02)
    app, metrics = create_app(ledger, store, poll_seconds=0.02), Metrics()
    add_page(app, lambda: look(live, metrics, lambda: datetime.now(UTC)))
    live.start()
    browser.said.clear()
    browser.size(1280, 900)
    with Service(app) as client:
        yield SimpleNamespace(client=client, address=str(client.base_url), live=live, metrics=metrics)
        browser.ask("Page.navigate", url="about:blank")
    live.stop()


def field(name: str) -> str:
    return f"[data-field='{name}'] [data-name]"


FILL = {"sold_on": "1996-01-31", "area": "1000", "beds": "3", "depth": "50", "note": ""}


def fill(browser: Browser) -> None:
    """The record whose answer is known, into the form."""
    for name, value in FILL.items():
        browser.run(f'document.querySelector("{field(name)}").value = "{value}"')
    browser.run(f'document.querySelector("{field("garden")}").checked = true')
    browser.run(f'document.querySelector("{field("wall")}").value = "brick"')


@pytest.mark.slow
def test_a_person_tries_a_system_and_sees_its_answer_and_a_refusal_beside_its_field(
    page, browser, ledger, releases
):
    release = releases.write()
    promote(ledger, release)
    eventually(lambda: page.live.current("homes"))
    browser.open(page.address)
    fill(browser)
    browser.type(field("area"), "1000")
    browser.press("Enter", 13)
    browser.until("document.querySelector('.answer .value')")
    assert browser.run("document.querySelector('.answer').innerText").startswith(f"{ANSWER:,} USD")
    assert release.digest[:12] in browser.run("document.querySelector('.answer .meta').innerText")

    browser.type(field("area"), "99")
    browser.run(f'document.querySelector("{field("beds")}").value = ""')
    browser.press("Enter", 13)
    browser.until("document.querySelector('.answer.refused')")
    faults = browser.run(
        "Object.fromEntries([...document.querySelectorAll('[data-field]')]"
        ".map(e => [e.dataset.field, e.querySelector('.fault').innerText]).filter(e => e[1]))"
    )
    assert faults == {"area": "should be greater than or equal to 100", "beds": "is missing"}
    assert browser.run("document.activeElement.dataset.name") == "area"
    assert browser.run(f'document.querySelector("{field("beds")}").getAttribute("aria-invalid")') == "true"

    browser.type(field("area"), "1000")
    browser.type(field("beds"), "3")
    browser.press("Enter", 13)
    browser.until("!document.querySelector('.answer.refused')")
    assert browser.run("document.querySelectorAll('[aria-invalid]').length") == 0
    refusals = [said for said in browser.said if "422" not in said]  # which Chromium itself reports
    assert refusals == []


@pytest.mark.slow
def test_the_page_follows_a_switch_and_the_traffic_and_keeps_what_was_typed(page, browser, ledger, releases):
    browser.open(page.address)
    assert "No system is live yet" in browser.run("document.body.innerText")
    promote(ledger, releases.write(0.0))
    browser.until("document.querySelector('[data-system=homes] .state.answers')")
    browser.type(field("area"), "4321")
    page.metrics.tick()
    page.metrics.counts("homes", "ab", "champion").answered(0.0008, 1)
    second = releases.write(5.0)
    flip(folder_of(second) / "model.onnx")
    promote(ledger, second, version="2")
    browser.until("document.querySelector('.state.faulty')")
    assert "model.onnx was changed" in browser.run("document.querySelector('[data-part] .note.bad').innerText")
    flip(folder_of(second) / "model.onnx")
    browser.until("document.querySelector('.headline').innerText.startsWith('Version 2 has answered')")
    browser.until("document.querySelector('[data-shown=p50]').innerText === '0.85 ms'")
    assert browser.run(f'document.querySelector("{field("area")}").value') == "4321"
    assert browser.said == []


@pytest.mark.slow
def test_the_page_runs_nothing_but_its_own_script_and_fits_a_phone(page, browser, ledger, releases):
    headers = page.client.get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    promote(ledger, releases.write())
    eventually(lambda: page.live.current("homes"))
    browser.size(360, 780, dark=True)
    browser.open(page.address)
    assert browser.run("document.documentElement.scrollWidth") <= 360
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 26)"
    browser.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"pwned=1\">')")
    browser.until("document.querySelector('body > img').complete")
    assert browser.run("typeof pwned") == "undefined"
    assert httpx.get(f"{page.address}/status.json").json()["systems"]["homes"]["state"] == "answers"
