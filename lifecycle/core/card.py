"""The model card: what a reviewer must know of a system beyond its numbers, declared beside its record."""

from __future__ import annotations

from pydantic import Field

from lifecycle.core.disclosure import SMALLEST_CELL
from lifecycle.core.params import SystemParams
from lifecycle.core.values import Value


class ModelCard(Value):
    """Intended use, limits and duties; it travels inside every release and is shown with every version.

    The sections of Mitchell et al., Model Cards for Model Reporting (FAT* 2019), that nothing can compute;
    the others are measured.

    Attributes:
        intended_use: What for, by whom.
        not_for: What it must not be used for.
        limits: What is known to be wrong or missing, a sentence each.
        identifiers: Field -> letter of the identifier that it is by HIPAA's safe harbor, 45 CFR
            164.514(b)(2)(i).
        regulation: Rule -> what follows from it here.
    """

    intended_use: str
    not_for: str = ""
    limits: tuple[str, ...] = ()
    identifiers: dict[str, str] = Field({})
    regulation: dict[str, str] = Field({})


_SMALL = (
    f"no figure about answers or outcomes is shown of fewer than {SMALLEST_CELL} records; neighbouring cells "
    "are joined until they hold that many."
)


def card_sections(
    card: ModelCard | None, params: SystemParams, *, sealed: bool
) -> list[tuple[str, list[str]]]:
    """Titles and their paragraphs: what was declared, and the rules by which something is withheld.

    Args:
        card: As declared, if it was.
        params: Of the system.
        sealed: Whether its records are.

    Example:
        >>> card = ModelCard(intended_use="To plan.", identifiers={"born": "C", "name": "A"})
        >>> _declared(card)[-1]
        ('Safe-harbor identifiers, 45 CFR 164.514(b)(2)(i)', ['A: name. C: born.'])
    """
    told = _declared(card) if card else []
    told.append(("Abstains", [_abstains(params)]))
    if sealed:
        told.append(("Small cells", [_SMALL]))
    told.append(("Duties", [params.requirements.notes]))
    if card:
        told.append(("Regulation", [f"{rule}: {here}." for rule, here in card.regulation.items()]))
    return [(title, texts) for title, texts in told if any(texts)]


def _declared(card: ModelCard) -> list[tuple[str, list[str]]]:
    letters: dict[str, list[str]] = {}
    for field, letter in sorted(card.identifiers.items(), key=lambda item: item[1]):
        letters.setdefault(letter, []).append(field)
    listed = " ".join(f"{letter}: {', '.join(fields)}." for letter, fields in letters.items())
    return [
        ("Intended use", [card.intended_use]),
        ("Not for", [card.not_for]),
        ("Limits", list(card.limits)),
        ("Safe-harbor identifiers, 45 CFR 164.514(b)(2)(i)", [listed]),
    ]


def _abstains(params: SystemParams) -> str:
    """The rule of Chow for answers in doubt, and that for records unlike any that were learnt from."""
    explain = params.batch.explain
    if explain is None:
        return ""
    rules = []
    if explain.doubt:
        rules.append(f"within {explain.doubt:g} of the threshold {params.evaluation.threshold:g}")
    if explain.max_outside is not None:
        rules.append(f"for a record with more than {explain.max_outside} fields beyond what training saw")
    return f"a batch makes no decision {', or '.join(rules)}; it says why instead." if rules else ""
