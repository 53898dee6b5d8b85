"""The rows of the example: made up, and the same on every machine."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from random import Random

ROWS = 3000
DAYS = 730
BEGIN = datetime(2024, 1, 1, 6)
SPEED = {"bike": 15.0, "van": 32.0, "truck": 26.0}
"""Kilometres an hour in the traffic of the first day."""
TRAFFIC_GROWTH = 0.6
"""Share by which the same road takes longer after ``DAYS``: slow concept drift."""


def example_rows() -> str:
    """A CSV of made-up deliveries over two years, in which traffic grows slowly.

    Example:
        >>> rows = example_rows().splitlines()
        >>> rows[0], len(rows)
        ('delivery_id,left_at,vehicle,distance,stops,rain,minutes', 3001)
    """
    random = Random(7)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["delivery_id", "left_at", "vehicle", "distance", "stops", "rain", "minutes"])
    for number in range(ROWS):
        day = number * DAYS / ROWS
        left_at = BEGIN + timedelta(days=int(day), minutes=random.randrange(14 * 60))
        vehicle = random.choices(list(SPEED), weights=[3, 5, 2])[0]
        distance = round(min(60.0, 0.5 + random.expovariate(1 / 9)), 1)
        stops = random.randint(1, 12)
        rain = random.random() < 0.2
        road = 60 * distance / SPEED[vehicle] * (1 + TRAFFIC_GROWTH * day / DAYS) * (1.2 if rain else 1)
        minutes = (4 + road + 2.5 * stops) * random.lognormvariate(0, 0.08)
        table.writerow(
            [
                f"D{number:05}",
                left_at.isoformat(),
                vehicle,
                distance,
                stops,
                str(rain).lower(),
                f"{minutes:.1f}",
            ]
        )
    return text.getvalue()
