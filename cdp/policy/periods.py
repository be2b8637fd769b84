"""How long data is kept, and by when a person's request is answered: records, with the law behind each."""

from __future__ import annotations

from collections.abc import Iterable
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


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """Days, working days or calendar months, and the law that wants them."""

    days: int
    months: int
    working_days: bool
    source: str


class Deadline(Term, frozen=True, kw_only=True):
    """By when a request is answered, and by how much that may be put off; days or calendar months."""

    extension_days: int
    extension_months: int


class ErasureRule(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of people who were erased.

    :param keep_proof_days: for how long what proves lawful processing is kept; 0: not at all.
    :param source: the law or reason behind that.
    :param live_events: whether what somebody does after their erasure is dropped, or begins anew.
    """

    keep_proof_days: int = 0
    source: str = ""
    live_events: Literal["suppress", "begin_anew"] = "suppress"


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """``rights.yaml``: the deadlines of requests.

    :param deadlines: kind → jurisdiction, or ``*`` for the others → deadline.
    :param keep_requests_days: how long the record of a request is kept; the law behind it.
    :param time_zone: the controller's, IANA: deadlines are days there.
    :param identity_check_days: how long an identity check waits before its request expires.
    :param acknowledgements: jurisdiction → by when the receipt of a request is confirmed.
    :param no_asking: jurisdiction → for how long nobody who objected is asked to agree again.
    :param erasure: what becomes of people who were erased.
    """

    deadlines: dict[RightKind, dict[str, Deadline]] = {}
    keep_requests_days: int = 0
    keep_requests_source: str = ""
    time_zone: str = "UTC"
    identity_check_days: int = 30
    acknowledgements: dict[str, Term] = {}
    no_asking: dict[str, Term] = {}
    erasure: ErasureRule = ErasureRule()

    def binding(self, kind: RightKind, jurisdictions: Iterable[str]) -> list[Deadline]:
        """Return the deadlines of a request of somebody under several jurisdictions."""
        found = (self.deadline(kind, name) for name in jurisdictions)
        return [deadline for deadline in found if deadline is not None]

    def deadline(self, kind: RightKind, jurisdiction: str) -> Deadline | None:
        """Return the deadline of a request in a jurisdiction, None where none is declared."""
        found = self.deadlines.get(kind, {})
        return found.get(jurisdiction, found.get("*"))
