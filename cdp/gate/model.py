"""The gate's records: what is asked, what is known of a person, what is decided, what is released.

Invariants:

1. Restraints are closed-world (absent means there is none, after the ledger was read to its head);
   every other fact is three-valued, and absent means UNKNOWN.
2. A ``FieldPlan`` is aligned with ``Terms.fields``: one transform for each field asked for.
3. ``Released`` is made in ``release.py`` and nowhere else; to hold one proves that the gate decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Literal

import msgspec
from pyroaring import BitMap

from cdp.access import Principal
from cdp.clock import Micros
from cdp.policy import Transform

Format = Literal["jsonl", "csv", "parquet"]
Mode = Literal["full", "delta"]
"""``full``: fetched whole; ``delta``: read as changes, through the feed of its audience."""
Value = str | int | float | bool | None
"""A rendered value: a scalar; a list trait is rendered as its JSON text."""

ADDRESSES = {"phone": "phone", "sms": "phone", "email": "email"}
"""Channel → type of the identifier that its messages go to: of several of a person the last one."""

FieldPlan = tuple[Transform, ...]
CLEAR = Transform("clear")
DROP = Transform("drop")

RESTRAINTS = (
    "identity_changed",  # links changed since the members were evaluated
    "black_list",
    "restricted",
    "objected",
    "opted_out",
    "withdrawn",
    "refused",
)
"""Facts that deny a row by being there, in the order in which they are given as the reason."""


class Truth(Enum):
    """A three-valued fact."""

    FALSE = 0
    UNKNOWN = 1
    TRUE = 2


class Condition(msgspec.Struct, frozen=True, order=True):
    """Something a rule needs to be so.

    :param days: for ``consent_age``: the oldest grant allowed.
    :param wanted: False for a requirement that the fact be absent, which never enables a permit.
    """

    kind: Literal[
        "consent", "consent_age", "separate_consent", "double_opt_in", "notice_given", "notice_current",
        "not_minor", "place_known", "unknown"
    ]  # fmt: skip
    days: int = 0
    wanted: bool = True


class Clause(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, with everything decided that does not depend on the person.

    :param where: jurisdiction → what must be so there; a jurisdiction that is absent is not covered.
    :param inputs: those of the definition's categories that the rule lists.
    :param plan: the rule's word on each field.
    """

    rule: str
    where: Mapping[str, tuple[Condition, ...]]
    inputs: frozenset[str] = frozenset()
    plan: FieldPlan = ()


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle bound to one (destination, purpose, inputs, fields).

    :param home: jurisdictions that bind everybody (the controller's establishment).
    :param everywhere: what somebody without any recorded place falls under; contains all others.
    :param inputs: the categories that the segment's definition reads.
    :param fields: names asked for, or those the permits name.
    :param categories: category of each field.
    """

    home: frozenset[str]
    everywhere: frozenset[str]
    permits: tuple[Clause, ...]
    forbids: tuple[Clause, ...] = ()
    limits: tuple[Clause, ...] = ()
    inputs: frozenset[str] = frozenset()
    fields: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    def unlisted(self) -> frozenset[str]:
        """Return the categories read that no permit lists, whoever the person is."""
        return self.inputs - frozenset[str]().union(*(permit.inputs for permit in self.permits))

    def conditions(self) -> tuple[Condition, ...]:
        """Return every condition that any clause needs, in the order used for reasons."""
        clauses = (*self.permits, *self.forbids, *self.limits)
        return tuple(sorted({c for clause in clauses for needed in clause.where.values() for c in needed}))


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one person.

    :param places: jurisdictions of every recorded place; None when none is recorded.
    :param restraints: those of ``RESTRAINTS`` that hold.
    :param known: conditions that are known to hold or not; absent is UNKNOWN.
    :param stale: there was a grant, and it has lost its force (it words the reason, nothing else).
    """

    places: frozenset[str] | None = None
    restraints: frozenset[str] = frozenset()
    known: Mapping[Condition, Truth] = {}
    stale: bool = False


class FactSets(msgspec.Struct, frozen=True, kw_only=True):
    """The same facts over many people: bitmaps of profile_no.

    :param places: jurisdiction → people with a recorded place in it.
    :param true: condition → people of whom it is TRUE; ``false`` likewise; all others UNKNOWN.
    :param valid_until: the first instant at which time alone takes a fact away; None for never.
    """

    people: BitMap
    places: Mapping[str, BitMap]
    restraints: Mapping[str, BitMap]
    true: Mapping[Condition, BitMap]
    false: Mapping[Condition, BitMap]
    stale: BitMap
    valid_until: Micros | None = None

    def of(self, person: int) -> Facts:
        """Return the facts of one person, for an explanation."""
        places = frozenset(name for name, people in self.places.items() if person in people)
        known = {condition: Truth.TRUE for condition, people in self.true.items() if person in people}
        known |= {condition: Truth.FALSE for condition, people in self.false.items() if person in people}
        return Facts(
            places=places or None,
            restraints=frozenset(name for name, people in self.restraints.items() if person in people),
            known=known,
            stale=person in self.stale,
        )


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided for one person.

    :param reason: ``permitted``, or the short code of what stood against it.
    :param plan: one transform for each of ``Terms.fields``; empty when not allowed.
    """

    allowed: bool
    reason: str
    plan: FieldPlan = ()


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided for many people: disjoint sets that together are all of them.

    :param facts: what it was decided by, where it is known.
    """

    classes: tuple[tuple[BitMap, FieldPlan], ...]
    withheld: Mapping[str, BitMap]
    valid_until: Micros | None = None
    facts: FactSets | None = None

    def permitted(self) -> BitMap:
        """Return everybody of whom a row may leave."""
        return BitMap.union(BitMap(), *(people for people, _ in self.classes))


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An export asked for.

    :param fields: traits or identifier types by name; None for those that the rules name.
    """

    segment: str
    destination: str
    purpose: str
    principal: Principal
    fields: tuple[str, ...] | None = None
    format: Format = "jsonl"
    mode: Mode = "full"


class Class(msgspec.Struct, frozen=True, kw_only=True):
    """One stored class of an export: the identities in it and what leaves of them."""

    identities: bytes  # a serialised BitMap of identity_no
    plan: FieldPlan


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """People in a segment, released, and withheld by reason code."""

    members: int
    released: int
    withheld: dict[str, int]


class Shown(Counts, frozen=True, kw_only=True):
    """What whoever must not single anybody out may see of an export.

    The counts have noise, and nothing else in it depends on people.

    :param fields: field → kinds of transform that the rules could give (``decide.offered``).
    """

    fields: dict[str, str] = {}


class Authorisation(msgspec.Struct, frozen=True, kw_only=True):
    """An export as decided.

    :param export_id: opaque; empty for a dry run, of which nothing is stored but its audit entry.
    :param segment_as_of: the ``commit_no`` at which the members were evaluated.
    :param ledger_position: L, the ``commit_no`` of the snapshot that was decided on.
    :param bundle: SHA-256 of the policies that were decided under.
    :param counts: exact, for officers; ``noised`` for marketers.
    :param plan: field → kind of transform that people got, for officers: where classes differ, theirs joined
        by ``|``; ``drop`` when nobody got any. It tells of a single person.
    :param manifest_root: root(M), over the identities decided for; ``changed_root``: root(D).
    :param refusal: for a dry run: why the export would be refused.
    """

    export_id: str
    segment: str
    segment_version: int
    destination: str
    purpose: str
    format: Format
    requested_by: int
    segment_as_of: int
    ledger_position: int
    created_at: Micros
    bundle: str
    counts: Counts
    noised: Shown
    fields: tuple[str, ...]
    plan: dict[str, str]
    manifest_root: bytes = b""
    changed_root: bytes = b""
    audit_index: int = -1
    valid_until: Micros | None = None
    mode: Mode = "full"
    refusal: str = ""


class Column(msgspec.Struct, frozen=True):
    """A column of a rendering; one type for all of its values, or None for absent ones."""

    name: str
    type: Literal["string", "number", "boolean"] = "string"


class Rendering(msgspec.Struct, frozen=True, kw_only=True):
    """An export while it is fetched: rows come once, sorted by ``profile_ref``.

    :param take: returns the next rows, as many as asked for at most, and none at the end. Each may leave at
        that moment, so whoever takes them passes them on before taking more.
    """

    format: Format
    columns: tuple[Column, ...]
    take: Callable[[int], list[Released]]

    @property
    def rows(self) -> Iterator[Released]:
        """The rows, one by one."""
        while piece := self.take(1):
            yield from piece


class Released(msgspec.Struct, frozen=True):
    """A row that may leave: no bytes of a person pass the gate in any other form.

    :param profile_ref: the person's pseudonym at this destination.
    :param values: aligned with ``Rendering.columns``; None where the plan drops the field, or
        nothing is known.
    """

    profile_ref: str
    values: tuple[Value, ...]

    def __repr__(self) -> str:
        return "<released>"


class Revealed(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of one profile, opened for the controller.

    :param row: aligned with ``columns``: the fields that the plan does not drop.
    :param plan: field → transform, of each field asked for.
    """

    row: Released
    columns: tuple[Column, ...]
    plan: dict[str, str]
    bundle: str

    @property
    def values(self) -> dict[str, Value]:
        """Field → value; None where nothing is known, or nothing that can be opened."""
        return {column.name: value for column, value in zip(self.columns, self.row.values, strict=True)}
