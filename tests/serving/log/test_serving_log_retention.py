"""What can be relied on when days of the compacted log expire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lifecycle.core.errors import StorageError
from lifecycle.serving.log.retention import RECORD, announce_deletion, deleted_days, first_day_kept

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@dataclass
class Part:
    kind: str
    day: str
    rows: int = 10
    bytes: int = 100


@given(
    some.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=some.just(UTC)),
    some.integers(1, 4000),
)
def test_no_moment_younger_than_the_retention_has_expired(as_of, days):
    youngest_kept = as_of - timedelta(days=days)
    first = datetime.fromisoformat(first_day_kept(as_of, days)).replace(tzinfo=UTC)
    assert first <= youngest_kept < first + timedelta(days=1)


def test_days_are_those_of_utc_wherever_the_moment_was_taken():
    tokyo = datetime(2026, 3, 2, 8, tzinfo=timezone(timedelta(hours=9)))  # 23:00 the day before, in UTC
    assert first_day_kept(tokyo, 1) == "2026-02-28"


def test_each_expired_day_is_written_down_with_what_it_held(tmp_path):
    parts = [
        Part("predictions", "2026-02-28"),
        Part("predictions", "2026-02-27"),
        Part("outcomes", "2026-02-27", rows=3),
        Part("predictions", "2026-02-27", rows=5),
        Part("predictions", "2026-03-02"),
    ]
    told = announce_deletion(tmp_path, parts, NOON, 2)
    assert [(day.kind, day.day, day.files, day.rows, day.bytes) for day in told] == [
        ("outcomes", "2026-02-27", 1, 3, 100),
        ("predictions", "2026-02-27", 2, 15, 200),
    ]
    assert deleted_days(tmp_path) == told
    later = announce_deletion(tmp_path, parts[:1], NOON + timedelta(days=1), 2)
    assert deleted_days(tmp_path) == told + later
    assert later[0].as_of == "2026-03-03T12:00:00+00:00"


def test_when_nothing_has_expired_nothing_is_written(tmp_path):
    assert announce_deletion(tmp_path, [Part("outcomes", "2026-02-28")], NOON, 2) == []
    assert deleted_days(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_down_is_not_to_be_deleted(tmp_path):
    (tmp_path / RECORD).mkdir()
    with pytest.raises(StorageError, match="nothing was deleted"):
        announce_deletion(tmp_path, [Part("outcomes", "2026-01-01")], NOON, 2)
