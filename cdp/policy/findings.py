"""What a check has to say: a record."""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.errors import PolicyError


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong or doubtful in a policy file.

    :param severity: ``error``: it cannot be meant; ``warning``: it may be, and should be looked at.
    :param line: of the file, from 1; None for the file as a whole.
    :param fix: what to do about it.
    """

    severity: Literal["error", "warning"]
    file: str
    line: int | None
    message: str
    fix: str

    @classmethod
    def at(cls, place: PolicyError, message: str, fix: str, *, error: bool = False) -> Finding:
        """Return a finding at a place, which is an error without words."""
        severity: Literal["error", "warning"] = "error" if error else "warning"
        return cls(severity=severity, file=place.file, line=place.line, message=message, fix=fix)

    @classmethod
    def of(cls, error: PolicyError) -> Finding:
        """Return what loading refused: its messages put the fix behind a semicolon."""
        place = error.file if error.line is None else f"{error.file}:{error.line}"
        message, _, fix = error.message.removeprefix(f"{place}: ").partition("; ")
        return cls(severity="error", file=error.file, line=error.line, message=message, fix=fix)
