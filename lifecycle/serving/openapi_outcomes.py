"""Outcomes on the API page: typed from the label of the release that is live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, ConfigDict, Field, create_model

from lifecycle.core.synthetic import synthetic_records
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.openapi_problems import POSTED, problems_of
from lifecycle.serving.outcomes import MAX_ID, MAX_OUTCOMES, SUBJECT
from lifecycle.serving.problems import MEDIA_TYPE

_REF = "#/components/schemas/{model}"


def outcome_schema(release: LiveRelease) -> dict[str, Any]:
    """The JSON schema of one outcome."""
    label, record = release.schema.label, release.schema.record_id
    text = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
    fields: dict[str, Any] = {
        "prediction_id": (
            text | None,
            Field(None, description="As the answer named it; this or `record_id`"),
        ),
        "record_id": (
            (int if record.kind == "integer" else text) | None,
            Field(None, description="As sent with the prediction"),
        ),
        "value": (label.annotation(), ...),
        "observed_at": (AwareDatetime, Field(description="When it became known, ISO 8601 with an offset")),
    }
    if whom := release.schema.about:
        described = Field(description=f"Whom it is about: the `{whom.name}` of the record")
        fields[SUBJECT] = (int if whom.kind == "integer" else text, described)
    about = f"The truth about `{label.name}`, once it is known."
    model = create_model("Outcome", __config__=ConfigDict(extra="forbid"), __doc__=about, **fields)
    schema = model.model_json_schema(ref_template=_REF)
    schema["oneOf"] = [_names_by("prediction_id", "record_id"), _names_by("record_id", "prediction_id")]
    return schema


def _names_by(field: str, other: str) -> dict[str, Any]:
    """That an outcome names what it is about by this field, and not by the other."""
    return {
        "required": [field],
        "properties": {field: {"not": {"type": "null"}}, other: {"type": "null"}},
    }


def outcome_operation(name: str, release: LiveRelease) -> dict[str, Any]:
    """The operation of one system.

    Args:
        name: The system's.
        release: What is live.
    """
    one = {"$ref": _REF.format(model=f"{name}.Outcome")}
    outcomes = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_OUTCOMES}
    several = {
        "title": "Several outcomes",
        "type": "object",
        "required": ["outcomes"],
        "additionalProperties": False,
        "properties": {"outcomes": outcomes},
    }
    accepted = {"type": "object", "required": ["accepted"], "properties": {"accepted": {"type": "integer"}}}
    problem = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    return {
        "tags": [name],
        "summary": f"Tell what {release.schema.label.name} turned out to be",
        "description": (
            "Exactly one of `prediction_id` and `record_id`. The same outcome again changes nothing; another "
            "value, or a later `observed_at`, corrects it. An id that is not known yet is kept until it is."
        ),
        "operationId": f"outcomes_{name}",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [one, several]},
                    "example": _example(release),
                }
            },
        },
        "responses": {
            "200": {
                "description": "All are stored",
                "content": {"application/json": {"schema": accepted, "example": {"accepted": 1}}},
            },
            **problems_of(*POSTED),
            "422": {"description": "An outcome does not fit; none was stored", "content": problem},
        },
    }


def _example(release: LiveRelease) -> dict[str, Any]:
    record, whom = synthetic_records(release.schema, 1)[0], release.schema.about
    return {
        "prediction_id": "30fc4454115cd3eb00000001",
        **({SUBJECT: record[whom.name]} if whom else {}),
        "value": record[release.schema.label.name],
        "observed_at": datetime(2026, 1, 31, 12, tzinfo=UTC).isoformat(),
    }
