"""The one error tree.

::

    CdpError
    ├── ConfigurationError          a setting, file or part is wrong or absent; nothing was started
    │   ├── PolicyError             a policy file is wrong: names file, line and fix
    │   └── MissingExtraError       an optional part is not installed: names the install line
    ├── InvalidInputError           the caller's input is wrong
    │   ├── MalformedBodyError      a body that cannot be read at all
    │   ├── TooLargeError           a body, event or value over its limit
    │   ├── UnsupportedMediaError   a body in a format that is not read here
    │   └── DefinitionError         a definition or plan that cannot be understood or is refused
    ├── NotAuthenticatedError       no key, or one that is unknown, expired or revoked
    ├── NotPermittedError           the key is known and may not do this
    ├── NotFoundError               there is no such thing, or the caller may not know of it
    ├── ConflictError               the state changed, or the name is taken
    ├── UnavailableError            try again later (``retry_after`` seconds)
    │   ├── StoreError              the database cannot be read or written
    │   │   └── RefusedValueError   it can, and refuses a value that was to be written
    │   ├── KeyAccessError          a key cannot be reached or does not open what it should
    │   ├── JournalError            the journal cannot be written: nothing that restrains is taken
    │   ├── NotRecoveredError       the database came out of a backup and its journal is not replayed
    │   ├── OverloadedError         the caller is over a limit, or the queue is full
    │   └── OutOfMemoryError        a query needs more memory than the warehouse may use
    └── IntegrityError              stored data does not verify
        ├── SealError               a sealed value does not open in its place
        └── AuditError              the audit log does not verify: names the entry

Invariants: a message says what happened, where, and what to do; it never contains clear personal
data, so nobody formats a *value* into one, only names, types, sizes and places. Core code raises
these and knows nothing of HTTP; ``cdp/api/errors.py`` maps them.
"""

from __future__ import annotations

from typing import TypeVar

_E = TypeVar("_E", bound="CdpError")


class CdpError(Exception):
    """Something went wrong in the platform.

    :cvar on_record: a refusal that stands in the audit log already; whoever records one sets it (``noted``).
    """

    on_record = False

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        super().__init__(self.message)


def noted(error: _E) -> _E:
    """Return ``error`` as one that stands in the audit log."""
    error.on_record = True
    return error


class ConfigurationError(CdpError):
    """A setting, file or part is wrong or absent."""


class PolicyError(ConfigurationError):
    """A policy file is wrong."""

    def __init__(self, message: str, *, file: str, line: int | None = None) -> None:
        self.file = file
        self.line = line
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {message}")


class MissingExtraError(ConfigurationError):
    """An optional part is not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs an optional part: pip install 'cdp[{extra}]'")


class InvalidInputError(CdpError):
    """The input is not valid."""


class MalformedBodyError(InvalidInputError):
    """The body cannot be read."""


class TooLargeError(InvalidInputError):
    """The body is over its limit."""


class UnsupportedMediaError(InvalidInputError):
    """The body is in a format that is not read here."""


class DefinitionError(InvalidInputError):
    """The definition cannot be understood."""


class NotAuthenticatedError(CdpError):
    """A valid key is needed."""


class NotPermittedError(CdpError):
    """This key may not do this."""


class NotFoundError(CdpError):
    """There is no such thing."""


class ConflictError(CdpError):
    """The state changed in the meantime."""


class UnavailableError(CdpError):
    """Try again later."""

    def __init__(self, message: str | None = None, *, retry_after: int = 5) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class StoreError(UnavailableError):
    """The database cannot be read or written."""


class RefusedValueError(StoreError):
    """The database refuses a value that was to be written: the rest of it may be written without."""


class KeyAccessError(UnavailableError):
    """A key cannot be reached."""


class JournalError(UnavailableError):
    """The journal cannot be written."""


class NotRecoveredError(UnavailableError):
    """The database came out of a backup and its journal is not replayed yet."""


class OverloadedError(UnavailableError):
    """Too much was sent, or is waiting."""


class OutOfMemoryError(UnavailableError):
    """The query needs more memory than the warehouse may use."""


class IntegrityError(CdpError):
    """Stored data does not verify."""


class SealError(IntegrityError):
    """A sealed value does not open in this place."""


class AuditError(IntegrityError):
    """The audit log does not verify."""
