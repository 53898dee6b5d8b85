"""The API page: each system's predict path, typed from the schema of the release that is live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from lifecycle.core.record import FieldSpec
from lifecycle.core.synthetic import synthetic_records
from lifecycle.serving.limits import MAX_INSTANCES
from lifecycle.serving.live import LiveReleases
from lifecycle.serving.live_release import RELEASE_HEADER, LiveRelease
from lifecycle.serving.openapi_outcomes import outcome_operation, outcome_schema
from lifecycle.serving.openapi_problems import POSTED, describe_refusals, problems_of
from lifecycle.serving.predicting import answer
from lifecycle.serving.problems import MEDIA_TYPE, Problem, ProblemError
from lifecycle.serving.responses import Prediction, Predictions

_REF = "#/components/schemas/{model}"
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: lc_…"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_BEYOND = (2 - 2**-24) * 2.0**127  # from here on, float32 has no finite number
_LENIENT = "A number spelled as text is read as that number, and `true` and `false` as 1 and 0."
_EMPTY = "\n\nNo system is live yet. Deploy one: `lifecycle first-deployment SYSTEM`"


class ApiPage:
    """The OpenAPI description of an app, kept true to what is live.

    The app's own routes do not depend on the schema of a release, so that a request is checked by exactly
    the release that answers it; what each system expects is described here, and made again at a switch.

    Args:
        app: The app it describes.
        live: What is live.
    """

    def __init__(self, app: FastAPI, live: LiveReleases) -> None:
        self._app = app
        self._live = live
        self._made_for: tuple[tuple[str, str], ...] | None = None
        self._page: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        """The description of now."""
        standings = self._live.standings.items()
        releases = {name: standing.current for name, standing in standings if standing.current}
        key = tuple((name, release.digest) for name, release in releases.items())
        if key != self._made_for:
            self._page, self._made_for = self._make(releases), key
        return self._page

    def _make(self, releases: Mapping[str, LiveRelease]) -> dict[str, Any]:
        page = get_openapi(
            title=self._app.title,
            version=self._app.version,
            summary=self._app.summary,
            description=self._app.description + ("" if releases else _EMPTY),
            routes=self._app.routes,
            tags=[_tag(name, release) for name, release in releases.items()],
        )
        schemas = page.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for model in (Prediction, Predictions, Problem):
            content = model.model_json_schema(ref_template=_REF)
            schemas |= content.pop("$defs", {}) | {model.__name__: content}
        paths = {}
        for name, release in releases.items():
            record = f"{name}.{release.schema.name}"
            schemas[record] = _record_schema(release) | {"title": release.schema.name}
            schemas[f"{name}.Outcome"] = outcome_schema(release)
            paths[f"/v1/{name}/predict"] = {"post": _operation(name, record, release)}
            paths[f"/v1/{name}/outcomes"] = {"post": outcome_operation(name, release)}
        describe_refusals(page["paths"])
        page["paths"] = paths | page["paths"]
        page["components"]["securitySchemes"] = _SECURITY
        page["security"] = [{name: []} for name in _SECURITY] + [{}]
        return page


def _tag(name: str, release: LiveRelease) -> dict[str, str]:
    about = release.schema.description.partition("\n")[0]
    return {"name": name, "description": f"{about} Version {release.deployment.version} is live."}


def _operation(name: str, record: str, release: LiveRelease) -> dict[str, Any]:
    label = release.schema.label
    target = f"`{label.name}`" + (f" in {label.unit}" if label.unit else "")
    what = target if release.manifest.task == "regression" else f"the probability of {target}"
    first, second = _examples(release)
    return {
        "tags": [name],
        "summary": f"Predict {label.name} for one record or several",
        "description": "\n\n".join(
            (f"Answers {what}. Made by release `{release.digest}`.", _table(release), _LENIENT)
        ),
        "operationId": f"predict_{name}",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [_ref(record), _several(record), _columns(release)]},
                    "examples": {
                        "one": {"summary": "One record", "value": first},
                        "several": {"summary": "Several records", "value": {"instances": [first, second]}},
                        "columns": {
                            "summary": "The same in columns",
                            "value": {"columns": {name: [first[name], second[name]] for name in first}},
                        },
                    },
                }
            },
        },
        "responses": _responses(release, first),
    }


def _several(record: str) -> dict[str, Any]:
    instances = {"type": "array", "items": _ref(record), "minItems": 1, "maxItems": MAX_INSTANCES}
    return {
        "title": "Several records",
        "type": "object",
        "required": ["instances"],
        "additionalProperties": False,
        "properties": {"instances": instances},
    }


def _record_schema(release: LiveRelease) -> dict[str, Any]:
    """The JSON schema of one record, with the bounds that the model's float32 puts on every number."""
    schema = release.request_model.model_json_schema()
    for field in schema["properties"].values():
        for kind in field.get("anyOf", [field]):
            if kind.get("type") in ("number", "integer"):
                if not {"minimum", "exclusiveMinimum"} & kind.keys():
                    kind["exclusiveMinimum"] = -_BEYOND
                if not {"maximum", "exclusiveMaximum"} & kind.keys():
                    kind["exclusiveMaximum"] = _BEYOND
    return schema


def _columns(release: LiveRelease) -> dict[str, Any]:
    record = _record_schema(release)
    columns = {
        name: {"type": "array", "items": field, "minItems": 1, "maxItems": MAX_INSTANCES}
        for name, field in record["properties"].items()
    }
    return {
        "title": "Columns",
        "description": "Several records, each column as long as the others",
        "type": "object",
        "required": ["columns"],
        "additionalProperties": False,
        "properties": {
            "columns": {
                "type": "object",
                "required": record.get("required", []),
                "additionalProperties": False,
                "properties": columns,
            }
        },
    }


def _responses(release: LiveRelease, example: dict[str, Any]) -> dict[str, Any]:
    """What may come back, with the very answers that this release gives to the example and to ``{}``."""
    answered = {"schema": {"anyOf": [_ref("Prediction"), _ref("Predictions")]}}
    with suppress(ProblemError):
        answered["example"] = from_json(answer(release, to_json(example)))
    problems = problems_of(*POSTED)
    try:
        answer(release, b"{}")
    except ProblemError as error:
        example = error.problem.model_dump(mode="json", exclude_none=True)
        problems["422"]["content"] = {MEDIA_TYPE: {"schema": _ref("Problem"), "example": example}}
    header = {"description": "Digest of the release that made the answer", "schema": {"type": "string"}}
    return {
        "200": {
            "description": "The prediction",
            "headers": {RELEASE_HEADER: header},
            "content": {"application/json": answered},
        },
        **problems,
    }


def _table(release: LiveRelease) -> str:
    """The fields of a request with their units and bounds, in Markdown."""
    fields = release.request_model.model_fields
    keys = {key.name: key for key in release.schema.keys}
    specs = [keys.get(spec.name, spec) for spec in release.schema.fields if spec.name in fields]
    rows = [f"| `{spec.name}` | {_type(spec)} | {spec.unit} | {_limits(spec)} |" for spec in specs]
    return "\n".join(["| Field | Type | Unit | Bounds |", "|---|---|---|---|", *rows])


def _type(spec: FieldSpec) -> str:
    left_out = "; may be left out" if spec.optional else ""
    return ("one of" if spec.choices else spec.kind) + left_out


def _limits(spec: FieldSpec) -> str:
    if spec.choices:
        return ", ".join(f"`{choice}`" for choice in spec.choices)
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(spec, name):,g}" for name, sign in signs.items() if getattr(spec, name) is not None
    ]
    lengths = {"min_length": "at least", "max_length": "at most"}
    bounds += [
        f"{word} {count} character{'s' if count > 1 else ''}"
        for name, word in lengths.items()
        if (count := getattr(spec, name))
    ]
    return ", ".join(bounds + ([f"`{spec.pattern}`"] if spec.pattern else []))


def _examples(release: LiveRelease) -> Iterator[dict[str, Any]]:
    """Two made-up requests that the schema accepts, with numbers as a person would write them."""
    model = release.request_model
    for record in synthetic_records(release.schema, 2):
        request = {name: value for name, value in record.items() if name in model.model_fields}
        short = {name: _shortened(value) for name, value in request.items()}
        try:
            yield model.model_validate(short).model_dump(mode="json")
        except ValidationError:  # a bound lies between the number and its short form
            yield model.model_construct(**request).model_dump(mode="json")


def _shortened(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=name)}
