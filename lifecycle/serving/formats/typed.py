"""The typed endpoint's JSON: one record, ``{"instances": [...]}`` or ``{"columns": {...}}``."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json

from lifecycle.core.record import RecordSchema
from lifecycle.core.rows import Tensors, encode_records
from lifecycle.serving.exchange import Answers, Asked, Reply, Request
from lifecycle.serving.formats.reader import Refusals
from lifecycle.serving.limits import MAX_INSTANCES
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.problems import Fault, ProblemError, refused, unprocessable

_PEEK = 64
"""Bytes of a body in which the name of its only key must stand for the fast way."""

_encode = msgspec.json.Encoder().encode


class TypedJson:
    """Our own format: checked against the record, and every answer names its release."""

    name = "json"
    heavy = False

    def read(self, live: LiveRelease, request: Request) -> Asked:
        """Decode with msgspec; what it refuses is read again by pydantic, which lists every fault."""
        body, reader = request.body, live.reader
        try:
            if b'"instances"' not in body[:_PEEK]:
                tensors, ids, subjects = reader.encode([reader.one(body)])
                return Asked(tensors, True, ids, "record", body, subjects=subjects)
            records = reader.several(body).instances
            if 0 < len(records) <= MAX_INSTANCES:
                tensors, ids, subjects = reader.encode(records)
                return Asked(tensors, False, ids, "instances", body, subjects=subjects)
        except Refusals:
            pass
        return read_patiently(live, body)

    def write(self, live: LiveRelease, _request: Request, asked: Asked, answers: Answers) -> Reply:
        """``Prediction`` for one bare record, else ``Predictions``."""
        return Reply(200, _encode(_answer(live, asked, answers)))

    def refuse(self, problem: ProblemError) -> Reply:
        """RFC 9457 problem details."""
        return problem.reply()


def _answer(live: LiveRelease, asked: Asked, answers: Answers) -> dict[str, Any]:
    values, classified = answers.values.tolist(), live.manifest.task == "classification"
    content: dict[str, Any]
    if asked.single:
        content = {"prediction": values[0]}
        if classified:
            content["decision"] = values[0] >= live.manifest.threshold
        if asked.record_ids:
            content["record_id"] = asked.record_ids[0]
        content["prediction_id"] = answers.prediction_ids[0]
    else:
        content = {"predictions": values}
        if classified:
            content["decisions"] = [value >= live.manifest.threshold for value in values]
        if asked.record_ids:
            content["record_ids"] = asked.record_ids
        content["prediction_ids"] = answers.prediction_ids
    content["system"] = live.deployment.system
    content["release"] = live.digest
    content["version"] = live.deployment.version
    return content


def read_patiently(live: LiveRelease, body: bytes) -> Asked:
    """Read with pydantic: it forgives more, and its refusals name every field."""
    content, single = _parse(body)
    if single and isinstance(content[0], dict) and content[0].keys() == {"columns"}:
        return live.columns.read_json(content[0]["columns"], body)
    records = _validate(live, content, single)
    tensors = _pack(live.schema, records, single)
    key, about = live.schema.record_id.name, live.schema.about
    ids = [record.get(key) for record in records]
    return Asked(
        tensors,
        single,
        ids if any(value is not None for value in ids) else None,
        "record" if single else "instances",
        body,
        subjects=[str(record[about.name]) for record in records] if about else None,
    )


def _parse(body: bytes) -> tuple[Any, bool]:
    """The list of records in a body, and whether it is one bare record."""
    try:
        content = from_json(body, cache_strings="keys")  # else the parser keeps short texts for ever
    except (ValueError, RecursionError):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
    if not isinstance(content, dict) or content.keys() != {"instances"}:
        return [content], True
    instances = content["instances"]
    if not isinstance(instances, list) or not instances:
        fault = Fault(field="instances", reason="should be a list of at least one record")
        raise unprocessable([fault], 1)
    if len(instances) > MAX_INSTANCES:
        raise ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"{len(instances)} instances; at most {MAX_INSTANCES} in one request: send several",
        )
    return instances, False


def _validate(live: LiveRelease, content: Any, single: bool) -> list[dict[str, Any]]:
    try:
        return [vars(record) for record in live.requests.validate_python(content)]
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise refused(errors, tuple(live.request_model.model_fields), batch=not single) from None


def _pack(schema: RecordSchema, records: Sequence[dict[str, Any]], single: bool) -> Tensors:
    """Pack the records; a number that is too large for the model's float32 is refused."""
    try:
        with np.errstate(over="ignore"):
            tensors = encode_records(schema, records)
        if not np.isinf(tensors.numbers).any():
            return tensors
    except OverflowError:
        pass  # an integer too large for a float, or a time that UTC cannot hold
    raise unprocessable([_overflow(schema, records, single)], 1)


def _overflow(schema: RecordSchema, records: Sequence[dict[str, Any]], single: bool) -> Fault:
    """The first field whose value the model cannot represent."""
    reason = "is beyond what the model can represent (float32)"
    for position, record in enumerate(records):
        for spec in schema.features:
            try:
                with np.errstate(over="ignore"):
                    alone = encode_records(RecordSchema(name=schema.name, fields=(spec,)), [record])
                sound = not np.isinf(alone.numbers).any()
            except OverflowError:
                sound = False
            if not sound:
                return Fault(field=spec.name, instance=None if single else position, reason=reason)
    return Fault(field="", reason=reason)
