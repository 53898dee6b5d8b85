"""What the stages leave behind for the steps that follow."""

from __future__ import annotations

from lifecycle.core.values import Value


class Training(Value):
    """What stage ``train`` leaves beside the model: the facts a release's lineage is made of.

    What runs the model, and why, stands in ``engine.json`` beside it.

    Attributes:
        params: SHA-256 of the parameters the model follows from.
        environment: SHA-256 of the environment's lock file.
        seed: Of the estimator.
    """

    params: str
    environment: str
    seed: int


class Scores(Value):
    """What stage ``evaluate`` leaves for ``dvc metrics``: validation to tune by, test to believe."""

    validation: dict[str, float]
    test: dict[str, float]
