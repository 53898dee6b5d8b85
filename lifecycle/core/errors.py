"""Every error the project raises on purpose.

    LifecycleError
    ├── TerminalError               trying again cannot help: somebody has to act
    │   ├── ConfigError             params.yaml, settings or the command line are wrong
    │   │   └── ConversionError     the model has no ONNX form
    │   ├── DeclarationError        a Record or System is declared wrongly
    │   ├── SensitiveFieldError     a record type would put a sensitive field on disk in clear
    │   ├── SourceError             a source cannot be read, or is not of the declared shape
    │   ├── QuarantineError         too many rows of a source are bad
    │   ├── ParityError             the ONNX model does not answer as the estimator does
    │   ├── IntegrityError          a digest or signature does not match
    │   │   └── SealError           a sealed record cannot be opened as what it claims to be
    │   │       ├── EnvelopeError   not an envelope that this version opens
    │   │       │   └── NotSealedError  a file in clear
    │   │       ├── TruncatedError  an envelope or its segment is cut short
    │   │       ├── CommitmentError sealed under another key than the one held
    │   │       ├── TamperedError   changed after it was sealed, or moved from where it belongs
    │   │       └── ManifestError   segments were dropped, repeated, reordered or replaced
    │   ├── KeyMissingError         a key that should be there is not: nothing it sealed can be opened
    │   ├── ErasedError             the person's keys were destroyed on request
    │   ├── AccessDeniedError       the policy does not allow this actor this purpose or these columns
    │   ├── StateError              the verb does not fit what is deployed now
    │   ├── StorageError            a disk or remote refuses to store
    │   └── StageError              a training stage failed
    └── TransientError              the same call may succeed later
        ├── BusyError               another flow holds the system
        ├── OverloadedError         more is asked than can be answered in time
        └── UnavailableError        a server does not answer

A message says what happened and with which values; ``hint`` says what to do next. Neither ever holds
a value from a user's record.
"""

from __future__ import annotations


class LifecycleError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: What happened, with the values that matter (never a record's own values).
        hint: The next step, as a command where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[LifecycleError], message: str, hint: str) -> LifecycleError:
    return kind(message, hint=hint)


class TerminalError(LifecycleError):
    """Trying again cannot help; flows never retry it."""


class ConfigError(TerminalError):
    """The configuration or the command line is wrong."""

    exit_code = 2


class ConversionError(ConfigError):
    """The model, or a part of it, has no ONNX form."""


class DeclarationError(TerminalError):
    """A Record or System is declared wrongly."""

    exit_code = 2


class SensitiveFieldError(TerminalError):
    """A record type would put a sensitive field on disk in clear."""

    exit_code = 2


class SourceError(TerminalError):
    """A source cannot be read, or does not have the declared shape."""

    exit_code = 3


class QuarantineError(TerminalError):
    """More rows were refused than the system allows."""

    exit_code = 3


class ParityError(TerminalError):
    """The ONNX model does not answer as the estimator it was converted from."""

    exit_code = 4


class StageError(TerminalError):
    """A training stage failed; the message carries its last lines."""

    exit_code = 4


class IntegrityError(TerminalError):
    """A digest or signature does not match what was promised."""

    exit_code = 5


class SealError(IntegrityError):
    """A sealed record cannot be opened as what it claims to be."""


class EnvelopeError(SealError):
    """Not an envelope that this version opens; nothing is ever read as plaintext instead."""


class NotSealedError(EnvelopeError):
    """The file holds no sealed records at all."""


class TruncatedError(SealError):
    """An envelope, or the segment around it, is cut short."""


class CommitmentError(SealError):
    """The envelope was sealed under another key than the one that is held for its subject."""


class TamperedError(SealError):
    """The envelope was changed after it was sealed, or is not where it belongs."""


class ManifestError(SealError):
    """Segments were dropped, repeated, reordered or replaced."""


class KeyMissingError(TerminalError):
    """A key that should be there is not; unlike an erased one, that is a fault."""

    exit_code = 8


class ErasedError(TerminalError):
    """What is asked for belongs to a person who was erased."""

    exit_code = 8


class AccessDeniedError(TerminalError):
    """The policy does not allow this actor this purpose, or these columns."""

    exit_code = 77  # EX_NOPERM of sysexits.h


class StateError(TerminalError):
    """The verb does not fit what is deployed now."""

    exit_code = 6


class StorageError(TerminalError):
    """A disk or remote refuses to store."""

    exit_code = 7


class TransientError(LifecycleError):
    """The same call may succeed later; flows retry it."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class BusyError(TransientError):
    """Another flow holds the system."""


class OverloadedError(TransientError):
    """More is asked than can be answered in time."""


class UnavailableError(TransientError):
    """A server does not answer."""
