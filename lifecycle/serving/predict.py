"""From a request's bytes to an answer's bytes: no HTTP, no ledger, one live release."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from lifecycle.core.record import RecordSchema
from lifecycle.core.rows import Tensors, encode_records
from lifecycle.serving.live import LiveRelease
from lifecycle.serving.problems import Fault, ProblemError, refused, unforeseen, unprocessable

MAX_INSTANCES = 10_000
"""Records in one request."""


def answer(live: LiveRelease, body: bytes) -> bytes:
    """Predict for the record, or the ``instances``, in a JSON body.

    Args:
        live: The release that answers.
        body: ``{...one record...}`` or ``{"instances": [{...}, ...]}``.

    Returns:
        JSON of ``Prediction`` or ``Predictions``.

    Raises:
        ProblemError: The body is not JSON or does not fit the record, or the model has no answer.
    """
    try:
        content, batch = _parse(body)
        records = _validate(live, content, batch)
        predictions = live.engine.predict(_encode(live.schema, records, batch))
    except ProblemError:
        raise
    except Exception as error:  # noqa: BLE001 - its message and trace may hold values of the request
        raise unforeseen(error) from None
    if not np.isfinite(predictions).all():
        position = f" for instance {int(np.argmin(np.isfinite(predictions)))}" if batch else ""
        raise ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, f"the model has no finite answer{position}")
    return to_json(_answer(live, records, predictions.tolist(), batch))


def _parse(body: bytes) -> tuple[Any, bool]:
    """The list of records in a body, and whether the request named it ``instances``."""
    try:
        content = from_json(body)
    except ValueError:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
    if not isinstance(content, dict) or content.keys() != {"instances"}:
        return [content], False
    instances = content["instances"]
    if not isinstance(instances, list) or not instances:
        fault = Fault(field="instances", reason="should be a list of at least one record")
        raise unprocessable([fault], 1)
    if len(instances) > MAX_INSTANCES:
        raise ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"{len(instances)} instances; at most {MAX_INSTANCES} in one request: send several",
        )
    return instances, True


def _validate(live: LiveRelease, content: Any, batch: bool) -> list[dict[str, Any]]:
    try:
        return [vars(record) for record in live.requests.validate_python(content)]
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise refused(errors, tuple(live.request_model.model_fields), batch=batch) from None


def _encode(schema: RecordSchema, records: Sequence[dict[str, Any]], batch: bool) -> Tensors:
    """Pack the records; a number that is too large for the model's float32 is refused."""
    try:
        with np.errstate(over="ignore"):
            tensors = encode_records(schema, records)
        if not np.isinf(tensors.numbers).any():
            return tensors
    except OverflowError:
        pass  # an integer too large for a float, or a time that UTC cannot hold
    raise unprocessable([_overflow(schema, records, batch)], 1)


def _overflow(schema: RecordSchema, records: Sequence[dict[str, Any]], batch: bool) -> Fault:
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
                return Fault(field=spec.name, instance=position if batch else None, reason=reason)
    return Fault(field="", reason=reason)


def _answer(
    live: LiveRelease, records: list[dict[str, Any]], predictions: list[float], batch: bool
) -> dict[str, Any]:
    key = live.schema.record_id.name
    ids = [record.get(key) for record in records]
    decisions = [value >= live.manifest.threshold for value in predictions]
    content: dict[str, Any] = {"predictions": predictions} if batch else {"prediction": predictions[0]}
    if live.manifest.task == "classification":
        content |= {"decisions": decisions} if batch else {"decision": decisions[0]}
    if any(value is not None for value in ids):
        content |= {"record_ids": ids} if batch else {"record_id": ids[0]}
    origin = {
        "system": live.deployment.system,
        "release": live.digest,
        "version": live.deployment.version,
    }
    return content | origin
