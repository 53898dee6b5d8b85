"""The "try it" form of a record type: one input per field, filled with a made-up example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.synthetic import synthetic_records

Control = Literal["number", "text", "date", "datetime-local", "checkbox", "select"]
_CONTROLS: dict[str, Control] = {
    "number": "number",
    "integer": "number",
    "text": "text",
    "date": "date",
    "datetime": "datetime-local",
    "boolean": "checkbox",
}
_ACRONYMS = {"ape", "auc", "id", "mae", "mape", "mse", "rmse"}
_UNITS = {"ft2": "ft²", "m2": "m²", "km2": "km²", "ft3": "ft³", "m3": "m³"}


@dataclass(frozen=True)
class FormField:
    """One input.

    Attributes:
        name: The field's name in the request.
        label: The same for people.
        kind: Of the value, as in the schema.
        control: The kind of input.
        required: Whether a request must hold it.
        unit: Of measure.
        hint: Its description and bounds, in words.
        choices: What a select offers.
        low: The lowest value, as text; empty: none.
        high: The highest value.
        step: Of a number: ``1`` or ``any``.
        max_length: Of a text; None: any.
        example: A value to begin with, as the input holds it.
        value: The same, as JSON holds it; None: left out.
    """

    name: str
    label: str
    kind: str
    control: Control
    required: bool
    unit: str
    hint: str
    choices: tuple[str, ...]
    low: str
    high: str
    step: str
    max_length: int | None
    example: str
    value: Any


def form_fields(schema: RecordSchema) -> tuple[FormField, ...]:
    """The inputs of a request: features in the order of the record, then its keys.

    Args:
        schema: Of the live release.
    """
    [example] = synthetic_records(schema, 1)
    return tuple(_form_field(spec, example[spec.name]) for spec in (*schema.features, *schema.keys))


def in_words(name: str) -> str:
    """A name of the code, for people.

    Example:
        >>> [in_words(name) for name in ("living_area", "x", "median_ape")]
        ['Living area', 'X', 'Median APE']
    """
    words = [word.upper() if word in _ACRONYMS else word for word in name.split("_") if word]
    text = " ".join(words)
    return text[:1].upper() + text[1:] if text else name


def _form_field(spec: FieldSpec, value: Any) -> FormField:
    control = _CONTROLS[spec.kind]
    if spec.choices or (spec.kind == "boolean" and spec.optional):
        control = "select"
    number = spec.kind in ("number", "integer")
    value = _as_json(spec, value)
    return FormField(
        name=spec.name,
        label=in_words(spec.name),
        kind=spec.kind,
        control=control,
        required=not spec.optional,
        unit=_UNITS.get(spec.unit, spec.unit),
        hint=" · ".join(part for part in (spec.description, _bounds(spec)) if part),
        choices=spec.choices or (("true", "false") if control == "select" else ()),
        low=_plain(spec.ge if spec.ge is not None else spec.gt) if number else "",
        high=_plain(spec.le if spec.le is not None else spec.lt) if number else "",
        step="1" if spec.kind == "integer" else "any",
        max_length=spec.max_length,
        example=_as_input(spec, value),
        value=value,
    )


def _as_json(spec: FieldSpec, value: Any) -> Any:
    """The example as JSON holds it; a number with as few digits as its bounds allow."""
    if value is None:
        return None
    if spec.kind == "number":
        short = float(f"{value:.3g}")
        return short if _within(spec, short) else value
    if spec.kind == "datetime":
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value.isoformat() if spec.kind == "date" else value


def _within(spec: FieldSpec, value: float) -> bool:
    return not (
        (spec.ge is not None and value < spec.ge)
        or (spec.gt is not None and value <= spec.gt)
        or (spec.le is not None and value > spec.le)
        or (spec.lt is not None and value >= spec.lt)
    )


def _as_input(spec: FieldSpec, value: Any) -> str:
    if value is None:
        return ""
    if spec.kind == "boolean":
        return "true" if value else "false"
    if spec.kind == "datetime":
        return str(value).removesuffix("Z")
    return _plain(value) if spec.kind in ("number", "integer") else str(value)


def _plain(number: float | None) -> str:
    """A number as an input takes it: no thousands, no trailing zero."""
    if number is None:
        return ""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e15 else repr(number)


def _bounds(spec: FieldSpec) -> str:
    """The bounds in words: ``100 to 20,000``, ``more than 0, at most 5``."""
    if spec.kind == "text" and spec.max_length is not None and not spec.choices:
        return f"at most {spec.max_length} characters"
    if spec.kind == "datetime":
        return "UTC"
    if spec.ge is not None and spec.le is not None:
        return f"{_spoken(spec.ge)} to {_spoken(spec.le)}"
    words = (
        ("at least", spec.ge),
        ("more than", spec.gt),
        ("at most", spec.le),
        ("less than", spec.lt),
    )
    return ", ".join(f"{word} {_spoken(bound)}" for word, bound in words if bound is not None)


def _spoken(number: float) -> str:
    """A number for people; thousands apart only where there are many digits, so that a year reads as one."""
    plain = _plain(number)
    return f"{int(plain):,}" if abs(number) >= 10_000 and plain.lstrip("-").isdigit() else plain
