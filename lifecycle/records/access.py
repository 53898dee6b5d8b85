"""Who may read which columns for what: one policy file, and the gate that every read passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lifecycle.core.errors import AccessDeniedError, ConfigError
from lifecycle.core.roles import AccessGroup
from lifecycle.core.suggest import nearest
from lifecycle.records.audit import AuditTrail, Read


class Policy(BaseModel):
    """The policy file: what is not allowed in it is denied.

        format: 1
        actors:
          nightly-scoring:
            scoring: [clinical]
          privacy-officer:
            review: [identifiers, clinical, free text]

    Attributes:
        format: Of the file.
        actors: Per actor and purpose, the access groups that may be opened.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    actors: Mapping[str, Mapping[str, tuple[AccessGroup, ...]]]

    def objection(self, actor: str, purpose: str, groups: Sequence[str]) -> str:
        """Why an actor may not open these groups for a purpose; empty if it may."""
        purposes = self.actors.get(actor)
        if purposes is None:
            return f"the policy knows no actor {actor!r}{nearest(actor, self.actors)}"
        if purpose not in purposes:
            return f"actor {actor!r} has no purpose {purpose!r}{nearest(purpose, purposes)}"
        if denied := [group for group in groups if group not in purposes[purpose]]:
            return f"actor {actor!r} may not open {', '.join(denied)} for {purpose!r}"
        return ""


class Gate:
    """Lets a read through once it is allowed and on record; plaintext is released after that, never before.

    Args:
        policy: What is allowed.
        audit: Where allowed and denied reads are recorded.
    """

    def __init__(self, policy: Policy, audit: AuditTrail) -> None:
        self._policy = policy
        self._audit = audit

    def admit(self, read: Read) -> None:
        """Return when the read is allowed and committed to the audit trail.

        Raises:
            AccessDeniedError: The policy does not allow it; that is on record too.
            StateError, StorageError, UnavailableError: It could not be recorded: nothing may be opened.
        """
        objection = self._policy.objection(read.actor, read.purpose, read.groups)
        self._audit.record(read, denied=objection)
        if objection:
            raise AccessDeniedError(objection, hint="the policy file says what is allowed; ask its owner")


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        ConfigError: It is missing, is not YAML, or has faults; all are listed.
    """
    import yaml  # not with the module: whoever seals reads no policy

    try:
        return Policy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"the access policy {path} cannot be read: {error.strerror}",
            hint="write one: without it nothing sealed is opened",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}", hint="mend the line it names") from None
    except ValidationError as error:
        faults = "\n".join(
            f"  - {'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ConfigError(
            f"{path} has faults:\n{faults}",
            hint="actors: {ACTOR: {PURPOSE: [identifiers, clinical, free text]}}",
        ) from None
