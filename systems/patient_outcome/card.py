"""What whoever reviews, deploys or reads this model must know; no legal advice."""

from __future__ import annotations

from lifecycle.core.card import ModelCard

CARD = ModelCard(
    intended_use=(
        "Overnight, the risk of each newly seen adult of dying within five years of the index date, for a "
        "clinician who knows the patient. A demonstration on a research cohort."
    ),
    not_for=(
        "Care as it is, triage or insurance: it is no medical device, and was tried on nobody but patients "
        "of one county who were chosen for a study of the liver."
    ),
    limits=(
        "It overstates the risk: it learns from those whose outcome is known, of whom 6.8 % died. "
        "Kaplan-Meier, which counts those lost from sight until then, puts the whole cohort at 5.1 %.",
        "Age is most of it. FIB-4 is there only above 2.67, so that its presence says more than its size.",
        "The dates are made up: no drift is in them, and none was tried.",
    ),
    identifiers={
        "name": "A",
        "address": "B",
        "birth_date": "C",
        "index_date": "C",
        "age": "C",
        "phone": "D",
        "medical_record_number": "H",
        "patient_id": "R",
        "visit_id": "R",
    },
    regulation={
        "HIPAA 45 CFR 164.514": "sealed records are no de-identified data; age counts above 89, the note may "
        "name anybody. The model sees age and no other of these fields",
        "GDPR Art. 6, 9": "trained on by explicit consent (6(1)(a), 9(2)(a)); scored for care (9(2)(h)), on "
        "the ground of Art. 6 that the controller names",
        "GDPR Art. 17": "a person is erased by destroying their key; models that knew them are listed, and "
        "trained anew",
        "GDPR Art. 22": "a person decides: each score names its reasons, and abstains where it is in doubt",
        "GDPR Art. 32": "sealed before the first byte is on a disk: snapshots, scores, the log and outcomes",
        "GDPR Art. 35": "an impact assessment is due before anybody is scored",
    },
)
