"""House prices in Lucas County, Ohio: a slow drift of the mapping from house to price."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from lifecycle.core.record import Record
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.system import System


def build_model(seed: int) -> Any:
    """An unfitted estimator of the price; scikit-learn is loaded only when one is wanted."""
    from systems.house_prices import model

    return model.build_model(seed)


class Sale(Record):
    """One recorded house sale in Lucas County, Ohio."""

    sale_id: Annotated[str, RecordId()]
    sold_on: Annotated[date, EventTime(), Feature()]
    year_built: Annotated[int, Feature(unit="year"), Ge(1800), Le(2100)]
    stories: Annotated[
        Literal["one", "one+half", "two", "two+half", "three", "bilevel", "multilvl"], Feature()
    ]
    living_area: Annotated[float, Feature(unit="ft2"), Ge(100), Le(20_000)]
    wall: Annotated[
        Literal["brick", "ccbtile", "metlvnyl", "partbrk", "stone", "stucdrvt", "wood"], Feature()
    ]
    beds: Annotated[int, Feature(), Ge(0), Le(30)]
    baths: Annotated[int, Feature(), Ge(0), Le(30)]
    half_baths: Annotated[int, Feature(), Ge(0), Le(30)]
    rooms: Annotated[int, Feature(), Ge(0), Le(60)]
    garage: Annotated[Literal["no garage", "attached", "detached", "basement", "carport"], Feature()]
    garage_area: Annotated[float, Feature(unit="ft2"), Ge(0), Le(20_000)]
    frontage: Annotated[float, Feature(unit="ft"), Ge(0), Le(10_000)]
    depth: Annotated[float, Feature(unit="ft"), Ge(0), Le(10_000)]
    lot_size: Annotated[float, Feature(unit="ft2"), Gt(0), Le(10_000_000)]
    x: Annotated[float, Feature(unit="m"), Ge(450_000), Le(560_000)]
    y: Annotated[float, Feature(unit="m"), Ge(180_000), Le(250_000)]
    price: Annotated[float, Label(unit="USD", delay=timedelta(days=30)), Gt(0)]


SYSTEM = System(
    name="house-prices",
    record=Sale,
    task="regression",
    build_model=build_model,
    metrics=("median_ape", "mae", "rmse", "bias"),
    primary="median_ape",
)
