"""One record type gives the schema everything else reads."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le, MinLen
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from lifecycle.core.errors import DeclarationError
from lifecycle.core.record import FieldSpec, Record, RecordSchema, schema_of
from lifecycle.core.roles import Consent, EventTime, Feature, Label, RecordId, Sensitive, SubjectId
from lifecycle.core.rows import encode_records
from lifecycle.core.synthetic import synthetic_records


class Visit(Record):
    """One visit."""

    visit: Annotated[int, RecordId()]
    patient: Annotated[str, SubjectId(), Sensitive(group="identifiers")]
    at: Annotated[datetime, EventTime()]
    born: Annotated[date, Feature()]
    dose: Annotated[float | None, Feature(unit="mg"), Gt(0), Le(500)]
    smoker: Annotated[bool, Feature()]
    ward: Annotated[Literal["A", "B"] | None, Feature(), Field(description="Where")]
    note: Annotated[str, Feature(), MinLen(2)]
    agreed: Annotated[bool, Consent(purpose="training")]
    died: Annotated[bool, Label(delay=timedelta(days=30))]


def test_every_role_and_constraint_reaches_the_schema():
    schema = schema_of(Visit)
    assert schema.record_id.name == "visit"
    assert schema.subject_id is not None
    assert schema.subject_id.name == "patient"
    assert schema.sensitive == ("patient",)
    assert schema.event_time.name == "at"
    assert schema.label.delay == timedelta(days=30)
    assert schema.numbers == ("born", "dose", "smoker")
    assert schema.categories == ("ward", "note")
    dose = schema["dose"]
    assert (dose.optional, dose.unit, dose.gt, dose.le) == (True, "mg", 0, 500)
    assert schema["ward"].choices == ("A", "B")
    assert schema["ward"].description == "Where"
    assert schema["note"].min_length == 2
    assert schema["agreed"].consent == "training"


def test_the_schema_travels_as_json():
    schema = schema_of(Visit)
    again = RecordSchema.model_validate_json(schema.model_dump_json())
    assert again == schema
    assert again.digest == schema.digest


def test_a_request_holds_the_features_and_names_bounds_and_units():
    request = schema_of(Visit).request_model()
    assert set(request.model_fields) == {"visit", "patient", "born", "dose", "smoker", "ward", "note"}
    description = request.model_json_schema()["properties"]["dose"]
    assert description["unit"] == "mg"
    with pytest.raises(ValidationError) as caught:
        request.model_validate(
            {"patient": "", "born": "1960-01-01", "dose": 900, "smoker": True, "note": "fine", "died": True}
        )
    assert {error["loc"][0] for error in caught.value.errors()} == {"patient", "dose", "died"}
    assert "patient" not in schema_of(Visit).request_model(keys=False).model_fields


def test_all_faults_of_a_declaration_are_told_at_once():
    class Wrong(Record):
        when: Annotated[str, EventTime()]
        price: Annotated[float, Label(), Feature()]
        tags: Annotated[list[str], Feature()]

    with pytest.raises(DeclarationError) as caught:
        schema_of(Wrong)
    message = str(caught.value)
    assert "exactly one field must be the record id; found none" in message
    assert "when: an event time is a date or a datetime, not text" in message
    assert "price: the label cannot be a feature" in message
    assert "tags: type" in message


def test_missing_values_have_one_encoding():
    schema = schema_of(Visit)
    tensors = encode_records(schema, [{"born": date(1970, 1, 2), "smoker": True, "note": "ok"}])
    assert tensors.numbers[0, 0] == 1.0
    assert tensors.numbers[0, 1] != tensors.numbers[0, 1]
    assert tensors.numbers[0, 2] == 1.0
    assert tensors.categories.tolist() == [["", "ok"]]


KINDS = st.sampled_from(["number", "integer", "boolean", "text", "date", "datetime"])
BOUNDS = st.one_of(st.none(), st.integers(-1000, 1000).map(float))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(KINDS, st.booleans(), BOUNDS), min_size=1, max_size=6), st.integers(0, 99))
def test_made_up_records_are_valid_requests(fields, seed):
    specs = [FieldSpec(name="key", kind="text", record_id=True)]
    specs += [
        FieldSpec(
            name=f"f{i}",
            kind=kind,
            optional=optional,
            feature=True,
            ge=bound if kind in ("number", "integer") else None,
        )
        for i, (kind, optional, bound) in enumerate(fields)
    ]
    schema = RecordSchema(name="Any", fields=tuple(specs))
    request = schema.request_model()
    records = synthetic_records(schema, 5, seed)
    for record in records:
        request.model_validate(record)
    assert len(encode_records(schema, records)) == 5


def test_an_integer_bound_is_kept():
    class Small(Record):
        key: Annotated[str, RecordId()]
        on: Annotated[date, EventTime()]
        beds: Annotated[int, Feature(), Ge(0), Le(2)]
        y: Annotated[float, Label()]

    assert {record["beds"] for record in synthetic_records(schema_of(Small), 50)} <= {0, 1, 2}
