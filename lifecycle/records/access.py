"""Who may read which columns for what, and who administers: one policy file, and the gate that all pass."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lifecycle.core.errors import AccessDeniedError, ConfigError
from lifecycle.core.roles import AccessGroup
from lifecycle.core.suggest import nearest
from lifecycle.records.audit import AuditTrail
from lifecycle.records.entries import Act, Read, Verb

_NO_TEXT = frozenset({"true", "false", "yes", "no", "on", "off", "null"})
"""What YAML takes for something else than text."""


class Policy(BaseModel):
    """The policy file: what is not allowed in it is denied.

        format: 1
        actors:
          nightly-scoring:
            scoring: [clinical]
          physician:
            care: [identifiers, clinical]
        administration:
          privacy-officer: [consent, erase, look-up, register]

    Attributes:
        format: Of the file.
        actors: Per actor and purpose, the access groups that may be opened.
        administration: Per actor, what they may do about people and keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    actors: Mapping[str, Mapping[str, tuple[AccessGroup, ...]]]
    administration: Mapping[str, tuple[Verb, ...]] = Field(default_factory=dict)

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

    def objection_to(self, actor: str, act: str) -> str:
        """Why an actor may not do this; empty if it may."""
        acts = self.administration.get(actor)
        if acts is None:
            return f"the policy lets {actor!r} administer nothing{nearest(actor, self.administration)}"
        return "" if act in acts else f"actor {actor!r} may not {act}"

    def remedy(self, asked: Read | Act) -> str:
        """Where to write what, so that this would be allowed; the order of words in lists says nothing."""
        actor = _plain(asked.actor)
        if isinstance(asked, Act):
            acts = {*self.administration.get(asked.actor, ()), asked.act}
            return f"below administration: {actor}: {_listed(acts)}"
        purposes = self.actors.get(asked.actor)
        groups = {*(purposes or {}).get(asked.purpose, ()), *asked.groups}
        line = f"{_plain(asked.purpose)}: {_listed(groups)}"
        return f"below actors: {actor}: {{{line}}}" if purposes is None else f"below actors, {actor}: {line}"


class Gate:
    """Lets through what is allowed once it is on record; plaintext is released after that, never before.

    Args:
        policy: What is allowed.
        audit: Where everything that is asked is recorded, allowed or denied.
        file: The policy's, for messages.
    """

    def __init__(self, policy: Policy, audit: AuditTrail, file: Path = Path("access.yaml")) -> None:
        self._policy = policy
        self._audit = audit
        self._file = file

    def admit(self, asked: Read | Act) -> None:
        """Return when this is allowed and committed to the audit trail.

        Raises:
            AccessDeniedError: The policy does not allow it; that is on record too.
            StateError, StorageError, UnavailableError: It could not be recorded: nothing may be done.
        """
        self.check(asked)
        self._audit.record(asked)

    def check(self, asked: Read | Act) -> None:
        """Return when this would be allowed; nothing is recorded, for nothing happens.

        Raises:
            AccessDeniedError: The policy does not allow it; that is on record.
            StorageError, UnavailableError: It is denied, and that could not be recorded.
        """
        if objection := self._objection(asked):
            self._audit.record(asked, denied=objection)
            raise AccessDeniedError(
                objection,
                hint=f"if they may, write in {self._file}, {self._policy.remedy(asked)}\n"
                "    or set LIFECYCLE_ACTOR to somebody who may",
            )

    def _objection(self, asked: Read | Act) -> str:
        if isinstance(asked, Act):
            return self._policy.objection_to(asked.actor, asked.act)
        return self._policy.objection(asked.actor, asked.purpose, asked.groups)


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
            hint="write one, as docs/privacy.md says: without it nothing is opened, and nobody administers",
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
            hint="actors: {ACTOR: {PURPOSE: [identifiers, clinical, free text]}}, "
            f"administration: {{ACTOR: [{', '.join(get_args(Verb))}]}}",
        ) from None


def _listed(words: Iterable[str]) -> str:
    return f"[{', '.join(sorted(words))}]"


def _plain(word: str) -> str:
    """A word as YAML takes it for text."""
    bare = re.fullmatch(r"[A-Za-z_][\w.@-]*", word) and word.lower() not in _NO_TEXT
    return word if bare else json.dumps(word)
