"""A sealed segment gives back the table that went in to whoever holds the keys, and nothing to others."""

from __future__ import annotations

import traceback
from datetime import date
from decimal import Decimal
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import (
    CommitmentError,
    ConfigError,
    DeclarationError,
    EnvelopeError,
    ErasedError,
    KeyMissingError,
    LifecycleError,
    SealError,
    SourceError,
    StorageError,
    TamperedError,
    TruncatedError,
)
from lifecycle.records.columns import empty
from lifecycle.records.derivation import Suite
from lifecycle.records.plan import UNCLASSIFIED, Plan
from lifecycle.records.sealing import seal_segment
from lifecycle.records.segment import SealedSegment
from tests.simulators.keyring import KeyRingSimulator

ID = UUID(int=7)
REFS = [bytes([n]) * 16 for n in (9, 3, 9, 5, 3, 9)]
GROUPS = {"name": "identifiers", "born": "identifiers", "pulse": "clinical", "sex": "clinical"}
PLAN = Plan("patients", "ref", GROUPS, {"sex": ("f", "m")})
ALL = ("identifiers", "clinical", UNCLASSIFIED)


def patients():
    return pa.table(
        {
            "name": ["Ann", "Bob", None, "Ann-Marie Zürcher", "", "Ann"],
            "ref": pa.array(REFS, pa.binary(16)),
            "born": pa.array([date(1950, 1, n) for n in range(1, 6)] + [None], pa.date32()),
            "pulse": [71.5, 80.0, None, 66.2, 59.1, 1e300],
            "sex": ["f", "m", "f", None, "m", "f"],
            "visits": pa.array([1, 2, 300, 4, 5, -1]),
        }
    )


def ring(*refs):
    return KeyRingSimulator().register(*(refs or REFS))


def sealed(folder, table=None, plan=PLAN, keys=None, name="part.parquet", **more):
    table = patients() if table is None else table
    path = folder / name
    seal_segment([table], table.schema, path, plan=plan, keys=keys or ring(), **{"segment": ID} | more)
    return path


@pytest.mark.parametrize("suite", list(Suite))
def test_the_table_comes_back_in_its_own_order(tmp_path, suite):
    plan = Plan("patients", "ref", GROUPS, PLAN.choices, suite)
    opened = SealedSegment(sealed(tmp_path, plan=plan)).read(ring(), ALL)
    assert opened.table.equals(patients())
    assert opened.dropped == 0


def test_only_the_groups_that_are_asked_for_are_opened(tmp_path):
    segment = SealedSegment(sealed(tmp_path))
    assert segment.sealed.groups == ("clinical", "identifiers", UNCLASSIFIED)
    clinical = segment.read(ring(), ["clinical"]).table
    assert clinical.equals(patients().select(["ref", "pulse", "sex"]))
    assert segment.read(ring(), ALL, ["visits"]).table.equals(patients().select(["ref", "visits"]))
    with pytest.raises(ConfigError, match="'name'"):
        segment.read(ring(), ["clinical"], ["name"])
    with pytest.raises(ConfigError, match="'secrets'"):
        segment.read(ring(), ["secrets"])
    with pytest.raises(ConfigError, match="none"):
        segment.read(ring(), [])


def test_a_group_that_is_broken_does_not_matter_to_who_opens_another(tmp_path):
    path = sealed(tmp_path)
    tampered = rewritten(path, **{"sealed:identifiers": lambda column: column.take(pa.array([1, 0, 2]))})
    assert SealedSegment(tampered).read(ring(), ["clinical"]).table.num_rows == 6
    with pytest.raises(SealError):
        SealedSegment(tampered).read(ring(), ["identifiers"])


def test_erased_subjects_are_dropped_and_counted_and_a_missing_key_is_an_error(tmp_path):
    segment, keys = SealedSegment(sealed(tmp_path)), ring()
    keys.erase(REFS[0])
    opened = segment.read(keys, ALL)
    assert opened.table.equals(patients().take([1, 3, 4]))
    assert opened.dropped == 3
    keys.erase(REFS[1])
    keys.erase(REFS[3])
    opened = segment.read(keys, ALL)
    assert opened.table.equals(patients().slice(0, 0))
    assert opened.dropped == 6
    keys.lose(REFS[0])
    with pytest.raises(KeyMissingError):
        segment.read(keys, ALL)


def test_nothing_is_sealed_for_the_erased_or_unknown_and_no_file_is_left(tmp_path):
    keys = ring()
    keys.erase(REFS[0])
    with pytest.raises(ErasedError):
        sealed(tmp_path, keys=keys)
    with pytest.raises(KeyMissingError):
        sealed(tmp_path, keys=KeyRingSimulator())
    assert list(tmp_path.iterdir()) == []


def test_older_generations_still_open(tmp_path):
    keys = ring()
    first = sealed(tmp_path, keys=keys, name="first.parquet")
    keys.rotate(REFS[0])
    second = sealed(tmp_path, keys=keys, name="second.parquet")
    for path in (first, second):
        assert SealedSegment(path).read(keys, ALL).table.equals(patients())
    with pytest.raises(KeyMissingError, match="generation 2"):
        SealedSegment(second).read(ring(), ALL)


def test_the_subjects_are_told_without_any_key(tmp_path):
    (chunks,) = SealedSegment(sealed(tmp_path)).subjects()
    assert dict(zip(chunks.each(), chunks.counts.tolist(), strict=True)) == {
        bytes([3]) * 16: 2,
        bytes([5]) * 16: 1,
        bytes([9]) * 16: 3,
    }


def test_long_tables_are_sealed_and_opened_block_by_block(tmp_path):
    path = sealed(tmp_path, block_rows=4)
    blocks = [block.table for block in SealedSegment(path).open(ring(), ALL)]
    assert [block.num_rows for block in blocks] == [4, 2]
    assert pa.concat_tables(blocks).equals(patients())
    batches = patients().to_batches(max_chunksize=1)
    seal_segment(batches, patients().schema, path, plan=PLAN, keys=ring(), segment=ID, block_rows=4)
    assert SealedSegment(path).read(ring(), ALL).table.equals(patients())


def test_a_table_of_many_columns_that_have_nulls_or_are_bits_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("lifecycle.records.rows._PIECE", 100)
    monkeypatch.setattr("lifecycle.records.segment._CHUNKS", 2)
    rows, bits = 40, np.random.default_rng(3).random((40, 60)) < 0.5
    columns = {"ref": pa.array([REFS[row % 6] for row in range(rows)], pa.binary(16))}
    for at in range(20):
        flags, gone, more = bits[:, at], bits[:, 20 + at], bits[:, 40 + at]
        columns[f"flag_{at}"] = pa.array(flags, mask=gone)
        columns[f"value_{at}"] = pa.array(np.arange(rows) / 3, mask=more)
        columns[f"text_{at}"] = pa.array(["é" * at] * rows, mask=flags)
    table = pa.table(columns)
    keys = ring()
    segment = SealedSegment(sealed(tmp_path, table, Plan("patients", "ref"), keys))
    assert segment.read(keys, [UNCLASSIFIED]).table.equals(table)
    some = ["ref", "text_3", "flag_9", "value_17"]
    assert segment.read(keys, [UNCLASSIFIED], some).table.equals(table.select(some))
    keys.erase(REFS[0])
    left = table.filter(pa.array([REFS[row % 6] != REFS[0] for row in range(rows)]))
    assert segment.read(keys, [UNCLASSIFIED]).table.equals(left)


def test_what_was_opened_before_a_broken_chunk_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr("lifecycle.records.segment._CHUNKS", 1)
    path, taken = sealed(tmp_path), []

    def kept(*args):
        taken.append(empty(*args))
        return taken[-1]

    monkeypatch.setattr("lifecycle.records.rows.empty", kept)
    SealedSegment(path).read(ring(), ["identifiers"])
    assert any(values.view(np.uint8).any() for values in taken)
    taken.clear()

    def last_byte(column):
        *others, last = column.to_pylist()
        return pa.array([*others, last[:-1] + bytes([last[-1] ^ 1])], column.type)

    path = rewritten(path, **{"sealed:identifiers": last_byte})
    with pytest.raises(TamperedError):
        SealedSegment(path).read(ring(), ["identifiers"])
    assert taken
    assert not any(values.view(np.uint8).any() for values in taken)


def test_a_wide_block_is_cut_shorter(tmp_path, monkeypatch):
    monkeypatch.setattr("lifecycle.records.sealing.BLOCK_BYTES", 3 * patients().nbytes // 6)
    blocks = [block.table for block in SealedSegment(sealed(tmp_path)).open(ring(), ALL)]
    assert len(blocks) > 1
    assert pa.concat_tables(blocks).equals(patients())


def test_tables_of_no_rows_or_no_columns(tmp_path):
    empty = patients().slice(0, 0)
    opened = SealedSegment(sealed(tmp_path, empty)).read(ring(), ALL)
    assert opened.table.equals(empty)
    only = patients().select(["ref"])
    plan = Plan("patients", "ref")
    segment = SealedSegment(sealed(tmp_path, only, plan))
    assert segment.sealed.groups == (UNCLASSIFIED,)
    assert segment.read(ring(), [UNCLASSIFIED]).table.equals(only)


def test_the_same_rows_make_the_same_file_with_the_deterministic_suite(tmp_path):
    plan = Plan("patients", "ref", GROUPS, PLAN.choices, Suite.AES_256_SIV)
    one, two = (sealed(tmp_path, plan=plan, name=name).read_bytes() for name in ("a.parquet", "b.parquet"))
    assert one == two
    assert sealed(tmp_path).read_bytes() != sealed(tmp_path, name="b.parquet").read_bytes()


TYPES = {
    pa.int8(): st.integers(-128, 127),
    pa.uint16(): st.integers(0, 65535),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats() | st.decimals(-999, 999, places=1).map(float),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=20),
    pa.large_string(): st.text(max_size=20),
    pa.string_view(): st.text(max_size=20),
    pa.binary(): st.binary(max_size=20),
    pa.binary_view(): st.binary(max_size=20),
    pa.binary(5): st.binary(min_size=5, max_size=5),
    pa.date32(): st.dates(),
    pa.date64(): st.dates(),
    pa.time64("us"): st.times(),
    pa.timestamp("us", "UTC"): st.integers(-(2**55), 2**55),
    pa.timestamp("ns"): st.integers(-(2**63) + 1, 2**63 - 1),
    pa.duration("ms"): st.integers(-(2**40), 2**40),
    pa.decimal128(12, 2): st.integers(-(10**9), 10**9).map(lambda cents: Decimal(cents) / 100),
    pa.null(): st.none(),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["a", "bb", "ccc"]),
    pa.dictionary(pa.int32(), pa.large_string(), ordered=True): st.sampled_from(["a", "bb", "ccc"]),
    pa.dictionary(pa.int16(), pa.int64()): st.integers(0, 9),
}


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 30))
    chosen = draw(st.lists(st.sampled_from(list(TYPES)), max_size=8))
    refs = draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows))
    columns = {"ref": pa.array([bytes([ref]) * 16 for ref in refs], pa.binary(16))}
    for number, kind in enumerate(chosen):
        values = st.none() | TYPES[kind] if draw(st.booleans()) else TYPES[kind]
        found = draw(st.lists(values, min_size=rows, max_size=rows))
        if pa.types.is_dictionary(kind):
            columns[f"c{number}"] = pa.array(found, kind.value_type).dictionary_encode().cast(kind)
        else:
            columns[f"c{number}"] = pa.array(found, kind)
    table = pa.table(columns)
    return table.slice(draw(st.integers(0, 3)))


@settings(max_examples=80, deadline=None)
@given(tables(), st.sampled_from(list(Suite)), st.integers(1, 40), st.randoms())
def test_any_table_comes_back(tmp_path_factory, table, suite, block_rows, random):
    groups = {name: random.choice(["a", "b"]) for name in table.column_names if name != "ref"}
    plan = Plan("any", "ref", groups, suite=suite)
    keys = KeyRingSimulator().register(*(bytes([ref]) * 16 for ref in range(6)))
    path = sealed(tmp_path_factory.getbasetemp(), table, plan, keys, block_rows=block_rows)
    segment = SealedSegment(path)
    opened = segment.read(keys, segment.sealed.groups).table
    opened.validate(full=True)
    assert opened.schema.equals(table.schema)
    assert comparable(opened) == comparable(table)


def comparable(table):
    """Values as text, so that NaN and -0.0 count; the numbers of a dictionary's words may change."""
    plain = [c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    integers = [
        c.cast(pa.int64()) if pa.types.is_timestamp(c.type) or pa.types.is_duration(c.type) else c
        for c in plain
    ]
    return repr([column.to_pylist() for column in integers])


def test_declared_choices_come_back_in_any_text_type_and_others_are_refused(tmp_path):
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        index = patients().schema.get_field_index("sex")
        table = patients().set_column(index, "sex", patients()["sex"].cast(kind))
        assert SealedSegment(sealed(tmp_path, table)).read(ring(), ALL).table["sex"].to_pylist() == [
            "f", "m", "f", None, "m", "f"
        ]  # fmt: skip
    table = patients().set_column(index, "sex", pa.array(["marker-7f"] * 6))
    with pytest.raises(DeclarationError, match="6 values") as caught:
        sealed(tmp_path, table)
    assert "marker-7f" not in str(caught.value)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.month_day_nano_interval()]
)
def test_what_cannot_be_sealed_is_refused_before_anything_is_written(tmp_path, kind):
    table = patients().append_column("odd", pa.nulls(6, kind))
    with pytest.raises(DeclarationError, match="'odd'"):
        sealed(tmp_path, table)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'weight'"):
        sealed(tmp_path, plan=Plan("patients", "ref", {"weight": "clinical"}))
    with pytest.raises(ConfigError, match="lower-case"):
        Plan("patients", "ref", {"name": "Free text"})
    with pytest.raises(SourceError, match="'name'"):
        sealed(tmp_path, plan=Plan("patients", "name"))
    table = patients().set_column(1, "ref", pa.array([*REFS[:5], None], pa.binary(16)))
    with pytest.raises(SourceError, match="belongs to nobody"):
        sealed(tmp_path, table)
    with pytest.raises(ConfigError, match="one schema"):
        seal_segment(
            [patients().select(["ref"])],
            patients().schema,
            tmp_path / "x",
            plan=PLAN,
            keys=ring(),
            segment=ID,
        )
    with pytest.raises(StorageError):
        sealed(tmp_path / "nowhere")


def rewritten(path, metadata=None, rows=None, **columns):
    """The segment with some columns changed, or its row group's rows taken anew."""
    file = pq.ParquetFile(path)
    table, told = file.read(), file.metadata.metadata
    for name, change in columns.items():
        table = table.set_column(
            table.schema.get_field_index(name), table.schema.field(name), change(table[name])
        )
    table = table if rows is None else table.take(pa.array(rows))
    out = path.with_name("changed.parquet")
    with pq.ParquetWriter(out, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(
            {k: v for k, v in told.items() if k.startswith(b"lifecycle")} | (metadata or {})
        )
    return out


@pytest.mark.parametrize("rows", [[0, 1], [1, 2], [0, 0, 1, 2], [1, 0, 2], [2, 1, 0]])
def test_dropped_repeated_and_reordered_chunks_are_caught(tmp_path, rows):
    path = rewritten(sealed(tmp_path), rows=rows)
    with pytest.raises(SealError):
        SealedSegment(path).read(ring(), ALL)


def test_chunks_of_another_segment_dataset_or_version_are_caught(tmp_path):
    path = sealed(tmp_path)
    named = {f"sealed:{group}" for group in ALL}
    other = Plan("staff", "ref", GROUPS, PLAN.choices)
    for plan, segment, error in ((PLAN, UUID(int=8), TamperedError), (other, ID, CommitmentError)):
        source = pq.read_table(sealed(tmp_path, plan=plan, segment=segment, name="other.parquet"))
        changed = rewritten(
            path, **{name: lambda _, name=name, source=source: source[name] for name in named}
        )
        with pytest.raises(error):
            SealedSegment(changed).read(ring(), ALL)
    narrower = patients().slice(0, 5).append_column("more", pa.array([1] * 5))
    source = pq.read_table(sealed(tmp_path, narrower, name="other.parquet"))
    changed = rewritten(path, **{name: lambda _, name=name: source[name] for name in named})
    with pytest.raises(TamperedError):
        SealedSegment(changed).read(ring(), ALL)


def test_swapped_groups_and_counts_are_caught(tmp_path):
    path = sealed(tmp_path)
    table = pq.read_table(path)
    changed = rewritten(path, **{"sealed:clinical": lambda _: table["sealed:identifiers"]})
    with pytest.raises(CommitmentError):
        SealedSegment(changed).read(ring(), ["clinical"])
    changed = rewritten(path, n=lambda _: pa.chunked_array([pa.array([1, 2, 3], pa.uint32())]))
    with pytest.raises(TamperedError):
        SealedSegment(changed).read(ring(), ALL)


@pytest.mark.parametrize(
    ("old", "new"), [(b'"name":"identifiers"', b'"name":"clinical"'), (b'["f","m"]', b'["m","f"]')]
)
def test_the_schema_of_a_segment_cannot_be_changed(tmp_path, old, new):
    path = sealed(tmp_path)
    told = pq.ParquetFile(path).metadata.metadata[b"lifecycle.schema"]
    assert old in told
    changed = rewritten(path, {b"lifecycle.schema": told.replace(old, new)})
    with pytest.raises(SealError):
        SealedSegment(changed).read(ring(), ["clinical"])


def test_every_cut_file_and_every_flipped_byte_is_refused_or_harmless(tmp_path):
    """Bytes that say nothing (padding of pages, Parquet's own hints) may change; no value ever does."""
    whole, expected = sealed(tmp_path).read_bytes(), comparable(patients())
    path = tmp_path / "broken.parquet"
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            found = comparable(SealedSegment(path).read(ring(), ALL).table)
        except LifecycleError:
            continue
        assert found == expected, at
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(TruncatedError):
            SealedSegment(path).read(ring(), ALL)


def test_a_plain_file_and_an_unknown_format_are_not_opened(tmp_path):
    path = tmp_path / "plain.parquet"
    pq.write_table(patients(), path)
    with pytest.raises(EnvelopeError, match="not a sealed segment"):
        SealedSegment(path)
    told = pq.ParquetFile(sealed(tmp_path)).metadata.metadata[b"lifecycle.schema"]
    for old, new, what in (
        (b'"format":1', b'"format":2', "format 2"),
        (b'"suite":1', b'"suite":3', "malformed"),
    ):
        changed = rewritten(tmp_path / "part.parquet", {b"lifecycle.schema": told.replace(old, new)})
        with pytest.raises(EnvelopeError, match=what):
            SealedSegment(changed)


def test_a_planted_marker_is_in_no_byte_of_the_file_and_in_no_traceback(tmp_path):
    marker = "MARKER-e3b0c442"
    count = 64
    table = pa.table(
        {
            "ref": pa.array([bytes([n % 7]) * 16 for n in range(count)], pa.binary(16)),
            "name": [marker] * count,
            "word": pa.array([marker] * count).dictionary_encode(),
            "raw": pa.array([marker.encode()] * count, pa.binary()),
            "fixed": pa.array([marker.encode()] * count, pa.binary(15)),
            "number": np.full(count, 0x4D41524B45523031, np.int64),  # "MARKER01"
        }
    ).replace_schema_metadata({"pandas": marker})
    keys = KeyRingSimulator().register(*(bytes([n]) * 16 for n in range(7)))
    path = sealed(tmp_path, table, Plan("patients", "ref", {"name": "identifiers"}), keys)
    content = path.read_bytes()
    for planted in (marker.encode(), b"MARKER01", b"10REKRAM"):
        assert planted not in content
    told = ""
    for at in range(200, len(content), 211):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            SealedSegment(path).read(keys, ["identifiers", UNCLASSIFIED])
        except LifecycleError as error:
            told += "".join(traceback.format_exception(error))
    assert told
    assert "MARKER" not in told
