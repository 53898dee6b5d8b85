"""The release: one content-addressed, signed folder that is deployed everywhere.

The folder holds the model's files, ``manifest.json`` and ``manifest.sig``. Its name is the SHA-256 of the
manifest, the manifest names the SHA-256 of every other file, and the signature covers the manifest.
Nothing else may lie in it. This layout follows the manifest-and-detached-signature idea of OpenSSF model
signing; the format is our own, so that a server needs no more than ``hashlib`` and one public key.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Literal

from pydantic import ValidationError, model_validator

from lifecycle.core.card import ModelCard
from lifecycle.core.errors import IntegrityError
from lifecycle.core.params import ServingParams
from lifecycle.core.ports import Signer
from lifecycle.core.record import RecordSchema
from lifecycle.core.values import EngineChoice, Lineage, Parity, Release, Value

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
MODEL = "model.onnx"
SKOPS = "model.skops"
ROW_BY_ROW = "lifecycle.row_by_row"
"""Metadata of an ONNX model: ``yes`` if its graph cannot answer a row otherwise beside other rows."""
SCHEMA = "schema.json"
REFERENCE = "reference.json"
ENGINE = "engine.json"
"""Of a model folder, beside the files of the release that is made of it: the ``EngineChoice``."""
_HINT = "do not serve it; fetch the release again, or roll back to one that verifies"


class FileEntry(Value):
    """Digest and size of one file of a release."""

    sha256: str
    size: int


class Manifest(Value):
    """What a release is made of. Its canonical JSON is what the digest names and the signature covers.

    Attributes:
        format: Version of this layout.
        system: Name of the system.
        task: ``regression`` or ``classification``.
        threshold: Decision threshold (classification).
        files: Every other file of the folder.
        lineage: Where it comes from.
        metrics: The candidate's metrics on its test window.
        parity: Of the ONNX model against the estimator; None where the estimator itself answers.
        engine: What runs the model: ``onnx``, or ``skops`` for the scikit-learn estimator.
        engine_reason: Why it is not ONNX; empty if it is.
        trusted_types: Full names of the user's own types that may be built from ``model.skops``. They stand
            here because the signature covers them; the file itself is never asked what to trust.
        serving: How it is served.
        logging: Which predictions are logged.
        logging_share: Share of requests logged where ``logging`` is ``sampled``.
        card: Intended use, limits and duties; None if the system declares none.
    """

    format: Literal[1] = 1
    system: str
    task: Literal["regression", "classification"]
    threshold: float
    files: dict[str, FileEntry]
    lineage: Lineage
    metrics: dict[str, float]
    parity: Parity | None
    engine: Literal["onnx", "skops"] = "onnx"
    engine_reason: str = ""
    trusted_types: tuple[str, ...] = ()
    serving: ServingParams = ServingParams()
    logging: Literal["all", "sampled", "none"] = "all"
    logging_share: float = 0.1
    card: ModelCard | None = None

    @model_validator(mode="after")
    def _accounted_for(self) -> Manifest:
        _ = self.choice  # which checks itself
        return self

    @property
    def choice(self) -> EngineChoice:
        """What runs the model, and why."""
        return EngineChoice(
            task=self.task,
            engine=self.engine,
            reason=self.engine_reason,
            parity=self.parity,
            trusted_types=self.trusted_types,
        )


def write_release(files: dict[str, Path], facts: dict[str, object], home: Path, signer: Signer) -> Release:
    """Assemble, sign and publish a release folder, in one rename.

    Args:
        files: Name inside the release -> file to copy.
        facts: The manifest's other fields.
        home: The folder that holds releases by digest.
        signer: Signs the manifest.

    Returns:
        The release; one that is already there and verifies is left as it is.
    """
    entries = {name: file_entry(path) for name, path in sorted(files.items())}
    manifest = Manifest.model_validate({**facts, "files": entries})
    # Without a card, a release is known by what it always was.
    unsaid = None if manifest.card else {"card"}
    content = manifest.model_dump_json(indent=1, exclude=unsaid).encode()
    digest = hashlib.sha256(content).hexdigest()
    target = home / digest
    if not target.exists():
        home.mkdir(parents=True, exist_ok=True)
        draft = home / f".draft-{digest[:12]}-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            for name, path in files.items():
                shutil.copyfile(path, draft / name)
            (draft / MANIFEST).write_bytes(content)
            (draft / SIGNATURE).write_bytes(signer.sign(content))
            publish(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Release(system=manifest.system, digest=digest, uri=target.as_uri())


def publish(draft: Path, target: Path) -> None:
    """Rename a finished folder into place; if another process was first, keep its copy."""
    try:
        draft.rename(target)
    except OSError:
        if not target.exists():
            raise


def verify_release(folder: Path, digest: str, signer: Signer) -> Manifest:
    """Check a release folder against the digest that was promised, its signature and every file.

    Raises:
        IntegrityError: Anything is missing, changed, added or not signed by a trusted key.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        signature = (folder / SIGNATURE).read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(
            f"release {digest[:12]}: {Path(error.filename).name} is missing", hint=_HINT
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise IntegrityError(f"release {digest[:12]}: the manifest's digest is {found[:12]}", hint=_HINT)
    signer.verify(content, signature)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise IntegrityError(
            f"release {digest[:12]}: the manifest is of another format", hint=_HINT
        ) from error
    present = {path.name for path in folder.iterdir()} - {MANIFEST, SIGNATURE}
    if present != set(manifest.files):
        odd = ", ".join(sorted(present ^ set(manifest.files)))
        raise IntegrityError(f"release {digest[:12]}: missing or unexpected files: {odd}", hint=_HINT)
    for name, entry in manifest.files.items():
        if not (folder / name).is_file() or file_entry(folder / name) != entry:
            raise IntegrityError(f"release {digest[:12]}: {name} was changed", hint=_HINT)
    return manifest


def read_schema(folder: Path) -> RecordSchema:
    """The record schema inside a (verified) release folder."""
    return RecordSchema.model_validate_json((folder / SCHEMA).read_bytes())


def read_engine(folder: Path) -> EngineChoice | None:
    """What runs the model of a (verified) release, or of a model folder as training leaves it.

    Returns:
        The choice; None in a folder where training has not made it yet.

    Raises:
        IntegrityError: It is of another format.
    """
    try:
        if (folder / MANIFEST).exists():
            return Manifest.model_validate_json((folder / MANIFEST).read_bytes()).choice
        if (folder / ENGINE).exists():
            return EngineChoice.model_validate_json((folder / ENGINE).read_bytes())
    except ValidationError as error:
        raise IntegrityError(
            f"{folder.name[:12]} does not say what runs its model: the format is another", hint=_HINT
        ) from error
    return None


def file_entry(path: Path) -> FileEntry:
    """Digest and size of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(sha256=digest, size=path.stat().st_size)
