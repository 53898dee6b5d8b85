"""Five-year outcome of patients with and without fatty liver disease: sensitive records, scored overnight."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from lifecycle.core.record import Record
from lifecycle.core.roles import Consent, EventTime, Feature, Label, RecordId, Sensitive, SubjectId
from lifecycle.core.system import System
from systems.patient_outcome.card import CARD


def build_model(seed: int) -> Any:
    """An unfitted estimator of the risk; scikit-learn is loaded only when one is wanted."""
    from systems.patient_outcome import model

    return model.build_model(seed)


IDENTIFIER = Sensitive(group="identifiers")
CLINICAL = Sensitive(group="clinical")


class Visit(Record):
    """What was known of a patient on the index date, and whether the patient lived five years longer."""

    visit_id: Annotated[str, RecordId()]
    patient_id: Annotated[str, SubjectId(), IDENTIFIER]
    index_date: Annotated[date, EventTime()]

    name: Annotated[str, IDENTIFIER]
    birth_date: Annotated[date, IDENTIFIER]
    address: Annotated[str, IDENTIFIER]
    phone: Annotated[str, IDENTIFIER]
    medical_record_number: Annotated[str, IDENTIFIER]
    note: Annotated[str | None, Sensitive(group="free text")]
    consent_training: Annotated[bool, Consent(purpose="training")]

    age: Annotated[int, Feature(unit="years"), CLINICAL, Ge(18), Le(120)]
    sex: Annotated[Literal["female", "male"], Feature(), CLINICAL]
    weight: Annotated[float | None, Feature(unit="kg"), CLINICAL, Ge(20), Le(400)]
    height: Annotated[float | None, Feature(unit="cm"), CLINICAL, Ge(100), Le(250)]
    bmi: Annotated[float | None, Feature(unit="kg/m2"), CLINICAL, Ge(8), Le(120)]
    hdl: Annotated[float | None, Feature(unit="mg/dL"), CLINICAL, Ge(1), Le(250)]
    hdl_days: Annotated[int | None, Feature(unit="days ago"), CLINICAL, Ge(0), Le(20_000)]
    sbp: Annotated[float | None, Feature(unit="mmHg"), CLINICAL, Ge(40), Le(300)]
    sbp_days: Annotated[int | None, Feature(unit="days ago"), CLINICAL, Ge(0), Le(20_000)]
    fib4: Annotated[float | None, Feature(), CLINICAL, Ge(0), Le(100)]
    fib4_days: Annotated[int | None, Feature(unit="days ago"), CLINICAL, Ge(0), Le(20_000)]
    smoker: Annotated[bool | None, Feature(), CLINICAL]
    nafld: Annotated[bool, Feature(), CLINICAL]
    diabetes: Annotated[bool, Feature(), CLINICAL]
    hypertension: Annotated[bool, Feature(), CLINICAL]
    dyslipidemia: Annotated[bool, Feature(), CLINICAL]
    ischemic_heart_disease: Annotated[bool, Feature(), CLINICAL]
    heart_failure: Annotated[bool, Feature(), CLINICAL]
    atrial_fibrillation: Annotated[bool, Feature(), CLINICAL]
    stroke: Annotated[bool, Feature(), CLINICAL]

    died_within_5_years: Annotated[bool, Label(delay=timedelta(days=1826)), CLINICAL]


SYSTEM = System(
    name="patient-outcome",
    record=Visit,
    task="classification",
    build_model=build_model,
    metrics=("log_loss", "auc", "average_precision", "brier", "calibration_error"),
    primary="log_loss",
    card=CARD,
)
