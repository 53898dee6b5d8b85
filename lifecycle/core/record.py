"""One record type, used everywhere: what a user declares once, and the schema everything else reads."""

from __future__ import annotations

import hashlib
import types
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from lifecycle.core import roles
from lifecycle.core.errors import DeclarationError

Kind = Literal["number", "integer", "boolean", "text", "date", "datetime"]
_KINDS: dict[type, Kind] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    date: "date",
    datetime: "datetime",
}
_ROLE_NAMES = {roles.RecordId: "record_id", roles.SubjectId: "subject_id", roles.EventTime: "event_time"}
_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")
_TYPES: dict[Kind, type] = {kind: type_ for type_, kind in _KINDS.items()}


SUBJECT_REF, RECORD_REF = "#subject", "#record"
"""Columns of a sealed table: 16 random bytes for the subject, and what stands for the record's id."""

SCORED_RECORD = "record_id"
"""The column of scores that holds the record's id."""

MAX_TEXT = 10_000
"""Longest text of a request, characters, where the record sets no shorter limit."""


class Record(BaseModel):
    """Base of a user's record: annotate each field with its role and constraints.

    Example:
        >>> class Sale(Record):
        ...     sale_id: Annotated[str, roles.RecordId()]
        ...     sold_on: Annotated[date, roles.EventTime()]
        ...     area: Annotated[float, roles.Feature(unit="ft2"), Field(ge=100)]
        ...     price: Annotated[float, roles.Label(unit="USD", delay=timedelta(days=30))]
        >>> schema_of(Sale).label.delay.days
        30
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldSpec(BaseModel):
    """One field of a record, free of Python types, so that it travels inside a release."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    description: str = ""
    unit: str = ""
    optional: bool = False
    record_id: bool = False
    subject_id: bool = False
    event_time: bool = False
    feature: bool = False
    label: bool = False
    delay: timedelta = timedelta(0)
    sensitive: str | None = None
    consent: str | None = None
    choices: tuple[str, ...] | None = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None

    @property
    def is_number(self) -> bool:
        """Whether the model sees this field as a number (dates count: days since 1970-01-01)."""
        return self.kind != "text"

    def annotation(self) -> Any:
        """The pydantic type of this field, with its constraints, unit and bounds for the API page."""
        base: Any = Literal[self.choices] if self.choices else _TYPES[self.kind]
        limits: dict[str, Any] = {}
        if self.kind in ("number", "integer"):
            limits |= {name: getattr(self, name) for name in ("ge", "gt", "le", "lt")}
        if self.kind == "text" and not self.choices:
            limits |= {n: getattr(self, n) for n in ("min_length", "max_length", "pattern")}
            limits["max_length"] = self.max_length or MAX_TEXT
        if self.kind == "number":
            limits["allow_inf_nan"] = False
        text = f"{self.description} [{self.unit}]".strip() if self.unit else self.description
        extra = {"unit": self.unit} if self.unit else None
        info = Field(description=text or None, json_schema_extra=extra, **limits)  # type: ignore[arg-type]
        return Annotated[base | None if self.optional else base, info]


class RecordSchema(BaseModel):
    """The fields of a record type in declaration order; the one schema behind every other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    fields: tuple[FieldSpec, ...]

    def __getitem__(self, name: str) -> FieldSpec:
        return next(field for field in self.fields if field.name == name)

    @cached_property
    def record_id(self) -> FieldSpec:
        """The field that names a record."""
        return next(field for field in self.fields if field.record_id)

    @cached_property
    def event_time(self) -> FieldSpec:
        """The field that says when it happened."""
        return next(field for field in self.fields if field.event_time)

    @cached_property
    def label(self) -> FieldSpec:
        """The field to predict."""
        return next(field for field in self.fields if field.label)

    @cached_property
    def subject_id(self) -> FieldSpec | None:
        """The field that names the subject, where there is one."""
        return next((field for field in self.fields if field.subject_id), None)

    @cached_property
    def features(self) -> tuple[FieldSpec, ...]:
        """The inputs of the model, in declaration order."""
        return tuple(field for field in self.fields if field.feature)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Names of the features the model sees as float32, in the order of the packed input ``numbers``."""
        return tuple(field.name for field in self.features if field.is_number)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Names of the features the model sees as text, in the order of the packed input ``categories``."""
        return tuple(field.name for field in self.features if not field.is_number)

    @cached_property
    def sensitive(self) -> tuple[str, ...]:
        """Names of the fields that must never rest in clear."""
        return tuple(field.name for field in self.fields if field.sensitive)

    @cached_property
    def is_sealed(self) -> bool:
        """Whether its records are sealed: all of a record is, as soon as one of its fields is sensitive."""
        return bool(self.sensitive)

    @cached_property
    def access_groups(self) -> dict[str, str]:
        """The access group of every field of a sealed record; one that is not classified is clinical."""
        return {field.name: field.sensitive or "clinical" for field in self.fields}

    @cached_property
    def keys(self) -> tuple[FieldSpec, ...]:
        """What a request carries beside the features: the record's id if known, and ``about``."""
        keys = {self.record_id.name: self.record_id.model_copy(update={"optional": True})}
        if (about := self.about) is not None:
            keys[about.name] = about
        return tuple(key for key in keys.values() if not key.feature)

    @cached_property
    def about(self) -> FieldSpec | None:
        """The field by which a request must name its subject; None where records are not sealed."""
        if not self.is_sealed or self.subject_id is None:
            return None
        least = max(1, self.subject_id.min_length or 0) if self.subject_id.kind == "text" else None
        return self.subject_id.model_copy(update={"optional": False, "min_length": least})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the schema's canonical JSON."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def request_model(self, *, keys: bool = True) -> type[BaseModel]:
        """The pydantic model of a prediction request.

        Args:
            keys: Whether it has the keys beside the features.
        """
        fields: dict[str, Any] = {
            spec.name: (spec.annotation(), None if spec.optional else ...)
            for spec in (*self.features, *(self.keys if keys else ()))
        }
        config = ConfigDict(frozen=True, extra="forbid")
        return create_model(f"{self.name}Request", __config__=config, __doc__=self.description, **fields)


def schema_of(record: type[Record]) -> RecordSchema:
    """Derive the schema of a record type.

    Raises:
        DeclarationError: A role is missing, given twice or unfit for its field; all faults are listed.
    """
    faults: list[str] = []
    specs = []
    for name, info in record.model_fields.items():
        try:
            specs.append(_field_spec(name, info))
        except DeclarationError as error:
            faults.append(error.message)
    schema = RecordSchema(
        name=record.__name__, description=(record.__doc__ or "").strip(), fields=tuple(specs)
    )
    faults += _role_faults(schema)
    if faults:
        raise DeclarationError(
            f"record {record.__name__} is declared wrongly:\n"
            + "\n".join(f"  - {fault}" for fault in faults),
            hint="give each field one role, as in docs/your-own-system.md",
        )
    return schema


def _field_spec(name: str, info: FieldInfo) -> FieldSpec:
    base, optional = _unwrap_optional(info.annotation)
    choices: tuple[str, ...] | None = None
    if get_origin(base) is Literal:
        choices = get_args(base)
        if not all(isinstance(choice, str) and choice for choice in choices):
            raise DeclarationError(f"{name}: choices must be non-empty text")
        base = str
    if base not in _KINDS:
        known = ", ".join(type_.__name__ for type_ in _KINDS)
        raise DeclarationError(
            f"{name}: type {base!r} is not one of {known}, Literal, or one of these | None"
        )
    spec: dict[str, Any] = {"name": name, "kind": _KINDS[base], "optional": optional, "choices": choices}
    spec["description"] = info.description or ""
    for item in info.metadata:
        spec |= _from_metadata(item)
    return FieldSpec(**spec)


def _unwrap_optional(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        args = [arg for arg in get_args(annotation) if arg is not type(None)]
        return (args[0] if len(args) == 1 else annotation), True
    return annotation, False


def _from_metadata(item: object) -> dict[str, Any]:
    """What one piece of an annotation says: a role, or bounds of annotated-types and pydantic."""
    match item:
        case roles.RecordId() | roles.SubjectId() | roles.EventTime():
            return {_ROLE_NAMES[type(item)]: True}
        case roles.Feature():
            return {"feature": True, "unit": item.unit}
        case roles.Label():
            return {"label": True, "unit": item.unit, "delay": item.delay}
        case roles.Sensitive():
            return {"sensitive": item.group}
        case roles.Consent():
            return {"consent": item.purpose}
        case _:
            bounds = {name: getattr(item, name, None) for name in _BOUNDS}
            return {name: bound for name, bound in bounds.items() if bound is not None}


def _role_faults(schema: RecordSchema) -> list[str]:
    faults = []
    for role in ("record_id", "event_time", "label"):
        names = [field.name for field in schema.fields if getattr(field, role)]
        if len(names) != 1:
            given = f"{len(names)}: {', '.join(names)}" if names else "none"
            faults.append(f"exactly one field must be the {role.replace('_', ' ')}; found {given}")
    if not schema.features:
        faults.append("no field is a Feature")
    for field in schema.fields:
        if field.event_time and field.kind not in ("date", "datetime"):
            faults.append(f"{field.name}: an event time is a date or a datetime, not {field.kind}")
        if field.label and field.kind not in ("number", "integer", "boolean"):
            faults.append(f"{field.name}: a label is a number or a boolean, not {field.kind}")
        if (field.record_id or field.subject_id) and field.kind not in ("text", "integer"):
            faults.append(f"{field.name}: an id is text or an integer, not {field.kind}")
        if field.label and field.feature:
            faults.append(f"{field.name}: the label cannot be a feature")
        if field.consent and field.kind != "boolean":
            faults.append(f"{field.name}: consent is a boolean, not {field.kind}")
        if field.sensitive and field.sensitive not in get_args(roles.AccessGroup):
            known = ", ".join(get_args(roles.AccessGroup))
            faults.append(f"{field.name}: access group {field.sensitive!r} is not one of {known}")
    if schema.is_sealed and schema.subject_id is None:
        faults.append("a record with sensitive fields needs a SubjectId: whom its rows are about")
    return faults
