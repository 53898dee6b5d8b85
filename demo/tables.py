"""What the outcomes say about the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from demo.sales import Sale

Answers = NDArray[np.float64]


def by_half_year(sales: Sequence[Sale], predicted: Answers, at_deployment: Mapping[str, float]) -> Table:
    """Error and bias of one model, half-year by half-year, below what its test window promised."""
    table = Table(title="The outcomes come in: the model grows stale", title_justify="left")
    for heading in ("", "sales", "error", "mean error, USD", "bias"):
        table.add_column(heading, justify="right")
    promised = at_deployment
    table.add_row(
        "at deployment",
        "",
        f"{promised['median_ape']:.1%}",
        f"{promised['mae']:,.0f}",
        f"{promised['bias']:.3f}",
        end_section=True,
    )
    halves = _labels(f"{sale.sold_on.year} {'H1' if sale.sold_on.month <= 6 else 'H2'}" for sale in sales)
    prices = _prices(sales)
    for half in dict.fromkeys(halves.tolist()):
        here = halves == half
        error, bias = _error_and_bias(predicted[here], prices[here])
        mean = np.abs(predicted[here] - prices[here]).mean()
        table.add_row(half, f"{here.sum():,}", error, f"{mean:,.0f}", bias)
    return table


def by_month(sales: Sequence[Sale], since: date, predicted: Mapping[str, Answers]) -> Table:
    """Error and bias of several ways to run a system, month by month, and over all months since a day."""
    table = Table(title="Month by month", title_justify="left")
    table.add_column("month")
    table.add_column("sales", justify="right")
    for name in predicted:
        table.add_column(f"error,\n{name}", justify="right")
        table.add_column(f"bias,\n{name}", justify="right")
    months, prices = _labels(f"{sale.sold_on:%Y-%m}" for sale in sales), _prices(sales)
    spans = [(month, months == month) for month in dict.fromkeys(months.tolist())]
    spans.append((f"since {since:%Y-%m}", months >= f"{since:%Y-%m}"))
    for month, here in spans:
        found = [_error_and_bias(answers[here], prices[here]) for answers in predicted.values()]
        table.add_row(month, f"{here.sum():,}", *(cell for cells in found for cell in cells))
    return table


def _labels(texts: Any) -> NDArray[np.str_]:
    return np.array(list(texts))


def _prices(sales: Sequence[Sale]) -> Answers:
    return np.array([sale.price for sale in sales])


def _error_and_bias(predicted: Answers, true: Answers) -> tuple[str, str]:
    """Median of |predicted - true| / true, and median of predicted / true."""
    ratio = predicted / true
    return f"{np.median(np.abs(ratio - 1)):.1%}", f"{np.median(ratio):.3f}"
