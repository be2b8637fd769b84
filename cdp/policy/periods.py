"""How long data is kept, and by when a person's request is answered: records, with the law behind each."""

from __future__ import annotations

from typing import Literal

import msgspec

RightKind = Literal["access", "rectification", "erasure", "restriction", "objection", "portability"]


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """``retention.yaml``: how long data of some categories is kept; several fit, the shortest wins.

    :param purpose: with everything below it; ``*`` for any. ``basis``: ``*`` for any.
    :param jurisdictions: where it holds; empty for everywhere.
    :param days: from when the data was received.
    :param source: the law or reason behind it.
    """

    id: str
    categories: tuple[str, ...]
    purpose: str
    basis: str
    jurisdictions: frozenset[str]
    days: int
    source: str


class Deadline(msgspec.Struct, frozen=True, kw_only=True):
    """By when a request is answered, and by how much that may be put off; days or calendar months."""

    days: int
    months: int
    extension_days: int
    extension_months: int
    working_days: bool
    source: str


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """``rights.yaml``: the deadlines of requests.

    :param deadlines: kind → jurisdiction, or ``*`` for the others → deadline.
    :param keep_requests_days: how long the record of a request is kept.
    """

    deadlines: dict[RightKind, dict[str, Deadline]] = {}
    keep_requests_days: int = 0

    def deadline(self, kind: RightKind, jurisdiction: str) -> Deadline | None:
        """Return the deadline of a request in a jurisdiction, None where none is declared."""
        found = self.deadlines.get(kind, {})
        return found.get(jurisdiction, found.get("*"))
