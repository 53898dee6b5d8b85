"""Values as people read them: in their unit, with as many digits as they bear."""

from __future__ import annotations

import math
from typing import Literal

from lifecycle.evaluation.metrics import find

NARROW = "\u202f"
_CURRENCIES = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


def metric_value(metric: str, value: float, unit: str = "") -> str:
    """A metric's value; ``unit`` is the label's.

    Example:
        >>> metric_value("mae", 12345.6, "USD"), metric_value("bias", 0.9754), metric_value("auc", 0.8741)
        ('$12,346', '0.975', '0.874')
    """
    kind = find(metric).unit
    if not math.isfinite(value):
        return amount(value, "")
    if kind == "share":
        return f"{value * 100:.{1 if abs(value) >= 0.01 else 2}f}{NARROW}%"
    if kind == "label":
        return amount(value, unit)
    return f"{value:.3f}"


def metric_gap(metric: str, value: float, unit: str = "") -> str:
    """A distance between two values of a metric: points of a percentage, the label's unit, or a number."""
    kind = find(metric).unit
    if not math.isfinite(value):
        return amount(value, "")
    if kind == "share":
        return f"{value * 100:.{1 if abs(value) >= 0.1 else 2}f} points"
    if kind == "label":
        return amount(value, unit)
    return f"{value:.{4 if kind == 'score' else 3}f}"


def loss_difference(metric: str, value: float, unit: str = "") -> str:
    """A difference in loss, signed.

    Example:
        >>> loss_difference("median_ape", -0.0271), loss_difference("mae", 310.0, "USD")
        ('−2.71 points', '+$310')
    """
    if not math.isfinite(value):
        return amount(value, "")
    return f"{'−' if value < 0 else '+'}{metric_gap(metric, abs(value), unit)}"


def loss_interval(metric: str, low: float, high: float, unit: str = "") -> str:
    """An interval of a difference in loss.

    Example:
        >>> loss_interval("median_ape", -0.034, -0.019)
        '−3.40 to −1.90 points'
    """
    ends = [loss_difference(metric, end, unit) for end in (low, high)]
    return f"{ends[0].removesuffix(' points')} to {ends[1]}"


def percent(value: float) -> str:
    """A share in percent, with a narrow space; below zero where an axis reaches there.

    Example:
        >>> [percent(share).replace(NARROW, " ") for share in (0.146, -0.05)]
        ['14.6 %', '−5 %']
    """
    return f"{_digits(value * 100)}{NARROW}%"


def amount(value: float, unit: str) -> str:
    """An amount in a unit; common currencies are written with their sign.

    Example:
        >>> print(amount(12345.6, "USD"), amount(3.14159, "kWh").replace(NARROW, " "))
        $12,346 3.14 kWh
    """
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else "infinite"
    text = _digits(abs(value))
    minus = "−" if value < 0 else ""
    if unit in _CURRENCIES:
        return f"{minus}{_CURRENCIES[unit]}{text}"
    return f"{minus}{text}{NARROW}{unit}" if unit else f"{minus}{text}"


def scientific(value: float) -> str:
    """A very small number.

    Example:
        >>> scientific(3.14e-6), scientific(1e-4)
        ('3.1e-6', '1e-4')
    """
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if exponent else mantissa


def miss(shown: str, gap: str, relative: float, side: Literal["over", "under"]) -> str:
    """By how much a bound is missed.

    Example:
        >>> miss("130 ms", "30 ms", 0.3, "over").replace(NARROW, " ")
        '130 ms is 30 ms (30 %) over'
    """
    share = f" ({percent(relative)})" if math.isfinite(relative) else ""
    return f"{shown} is {gap}{share} {side}"


def inside(title: str) -> str:
    """A title as it stands inside a sentence.

    Example:
        >>> inside("Area under the ROC curve"), inside("ONNX answers as the estimator")
        ('area under the ROC curve', 'ONNX answers as the estimator')
    """
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def count(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> count(1, "row"), count(25357, "row")
        ('1 row', '25,357 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _digits(value: float) -> str:
    """Three significant digits, trailing zeros dropped below 100; thousands separated; never 1e-05."""
    if value < 0:
        return f"−{_digits(-value)}"
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    places = max(0, 2 - math.floor(math.log10(value)))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
