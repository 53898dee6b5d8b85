"""Made-up records as a job finds them: in sealed files, if the record is sealed."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from lifecycle.core.ports import Vault
from lifecycle.core.record import SUBJECT_REF, RecordSchema
from lifecycle.core.scoring import CHUNK_ROWS, Reading
from lifecycle.core.synthetic import synthetic_records
from lifecycle.data.parsing import DTYPES
from lifecycle.data.scoring.inputs import Inputs, asked_schema, open_inputs, sealed_inputs

_DISTINCT = 5_000
"""Records that are drawn; more rows repeat them, each time as other people."""


def write_sample(schema: RecordSchema, rows: int, folder: Path, vault: Vault | None) -> Inputs:
    """Write so many records into files, each of a person of its own, ready to be read.

    Args:
        schema: Of the record.
        rows: How many.
        folder: Where; empty.
        vault: Seals and opens the files; None where nothing in the record is sensitive.
    """
    asked = asked_schema(schema)
    drawn = pl.DataFrame(
        synthetic_records(asked, min(rows, _DISTINCT)),
        schema={field.name: DTYPES[field.kind] for field in asked.fields},
    )
    people = schema.subject_id.name if schema.subject_id and schema.is_sealed else None
    paths = []
    for start in range(0, rows, CHUNK_ROWS):
        count = min(CHUNK_ROWS, rows - start)
        table = pl.concat([drawn] * -(-count // drawn.height)).head(count)
        if people:
            names = [str(person) for person in range(start, start + count)]  # a text or an integer alike
            table = table.with_columns(pl.Series(people, names).cast(DTYPES[asked[people].kind]))
        paths.append(folder / f"sample-{start:08}.parquet")
        if vault is None:
            table.write_parquet(paths[-1])
        else:
            refs = pl.Series(SUBJECT_REF, vault.admit(names), dtype=pl.Binary)
            vault.seal(table.with_columns(refs).rechunk().to_arrow(), paths[-1])
    if vault is None:
        return open_inputs(schema, [path.name for path in paths], Reading(), folder)
    vault.close(folder)
    return sealed_inputs(asked, vault, paths)
