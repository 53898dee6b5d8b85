"""The real sales, as an application would send them and later learn their outcome."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from lifecycle.core.params import SourceParams
from lifecycle.core.record import FieldSpec, RecordSchema


@dataclass(frozen=True)
class Sale:
    """One sale: what the application asks, and what turned out."""

    sold_on: date
    request: dict[str, Any]
    price: float


def read_sales(source: SourceParams, schema: RecordSchema, root: Path) -> list[Sale]:
    """All sales of the source, in the order they were made."""
    with gzip.open(root / str(source.path), "rt", newline="", encoding="utf-8") as stream:
        sales = [_sale(source, schema, row) for row in csv.DictReader(stream)]
    return sorted(sales, key=lambda sale: sale.sold_on)


def _sale(source: SourceParams, schema: RecordSchema, row: dict[str, str]) -> Sale:
    values = {
        spec.name: _value(spec, row[source.columns.get(spec.name, spec.name)], source.formats.get(spec.name))
        for spec in (*schema.features, schema.label)
    }
    price = values.pop(schema.label.name)
    sold_on = values["sold_on"]
    return Sale(sold_on, {**values, "sold_on": sold_on.isoformat()}, price)


def _value(spec: FieldSpec, text: str, pattern: str | None) -> Any:
    if pattern:
        return datetime.strptime(text, pattern).date()
    if not spec.is_number:
        return text
    return int(float(text)) if spec.kind == "integer" else float(text)
