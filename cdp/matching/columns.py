"""Which fields of people are compared, as what: from the data categories that ``fields.yaml`` declares.

Pure. A field is compared because of its category, whatever it is called; several fields of one kind make one
column, in which the first that is known counts: traits in the order in which they are declared, then
identifiers; a trait that is an identifier is read as that. Concluded traits are never compared, nor places
that are mere hints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import pyarrow as pa

from cdp.gate import Released, Value, Wanted
from cdp.matching.model import FieldKind, MatchField
from cdp.policy import FieldCatalogue, FieldRule

_KINDS = {
    "user.name.first": FieldKind.given_name,
    "user.name.last": FieldKind.family_name,
    "user.name": FieldKind.full_name,
    "user.demographic.date_of_birth": FieldKind.birth_date,
    "user.contact.email": FieldKind.email,
    "user.contact.phone_number": FieldKind.phone,
    "user.contact.address.street": FieldKind.street,
    "user.contact.address.postal_code": FieldKind.postal_code,
    "user.contact.address.city": FieldKind.city,
    "user.contact.address.state": FieldKind.region,
}
_LONGEST = 1000  # characters of a value that are looked at


class Columns(msgspec.Struct, frozen=True):
    """What is read, and which column each makes part of.

    :param fields: the columns. ``parts``: of each the places in ``wanted``, the first that is known counts.
    """

    wanted: tuple[Wanted, ...]
    fields: tuple[MatchField, ...]
    parts: tuple[tuple[int, ...], ...]

    @property
    def traits(self) -> list[str]:
        """The traits among what is read."""
        return [one.name for one in self.wanted if not one.identifier]

    def table(self, rows: Sequence[tuple[int, Released]]) -> pa.Table:
        """Return the rows that the gate gave out as the matcher takes them: ``record_no``, and text."""
        columns: dict[str, pa.Array] = {"record_no": pa.array([number for number, _ in rows], pa.int64())}
        for field, places in zip(self.fields, self.parts, strict=True):
            values = [_first(row.values[place] for place in places) for _, row in rows]
            columns[field.name] = pa.array(values, pa.string())
        return pa.table(columns)


def columns_of(fields: FieldCatalogue) -> Columns:
    """Return what is to be compared of people whose fields are declared so."""
    wanted: list[Wanted] = []
    parts: dict[FieldKind, list[int]] = {}
    for identifier, declared in ((False, fields.traits), (True, fields.identifiers)):
        for name, rule in declared.items():
            told_of = not identifier and name in fields.identifiers  # the identifier says it, and of whom
            kind = None if told_of else _kind(rule)
            if kind is not None:
                parts.setdefault(kind, []).append(len(wanted))
                wanted.append(Wanted(name, identifier))
    return Columns(
        tuple(wanted),
        tuple(MatchField(kind.value, kind) for kind in parts),
        tuple(tuple(places) for places in parts.values()),
    )


def _kind(rule: FieldRule) -> FieldKind | None:
    if rule.inferred:
        return None
    return FieldKind.region if rule.place == "state" else _KINDS.get(rule.category)


def _first(values: Iterable[Value]) -> str | None:
    """Return the first value that is known, as text; what is no text and no number says nothing."""
    for value in values:
        if value is not None and not isinstance(value, bool):
            text = str(value).strip()[:_LONGEST]
            if text:
                return _clean(text)
    return None


def _clean(text: str) -> str:
    """Return text that Arrow takes: lone surrogates, which JSON may hold, are cut out."""
    return text.encode("utf-8", "ignore").decode()
