"""What the mirror holds, and the manifest that says so.

Invariants: readers use only files that the manifest lists; a column exists for each declared, clear
property that is no list, and for nothing else. A property's column is ``p_<name>``, a context value's
(``context.<name>``) is ``c_<name>``, dots written as ``__``.
"""

from __future__ import annotations

import msgspec

from cdp.clock import Micros
from cdp.errors import ConfigurationError
from cdp.policy import FieldCatalogue, ValueType

EVENTS = "events"
TRAITS = "traits"
MEMBERS = "members"
DATASETS = (EVENTS, TRAITS, MEMBERS)
VALUE_COLUMN: dict[ValueType, str] = {
    "string": "value_text",
    "number": "value_number",
    "boolean": "value_boolean",
    "time": "value_time",
}
"""Declared type → the column of ``traits`` that holds its values (times as ``Micros``)."""

_CONTEXT = "context."
_FORMAT = 2


class File(msgspec.Struct, frozen=True):
    """One Parquet file.

    :param ordered: its rows are sorted the way its dataset is searched.
    """

    name: str
    rows: int
    ordered: bool = False


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the field catalogue that the mirror stores: name → type, clear, no lists.

    :param properties: properties, and context values under ``context.<name>``.
    """

    properties: dict[str, ValueType] = {}
    traits: dict[str, ValueType] = {}

    def extends(self, older: Declared) -> bool:
        """True when files written under ``older`` stay right: nothing was withdrawn or retyped."""
        same_properties = older.properties.items() <= self.properties.items()
        return same_properties and older.traits.items() <= self.traits.items()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the mirror holds.

    :param commit_no: every commit up to this one is in the files.
    :param batch: batch id of that commit, which tells another database or a restored one.
    :param retired: files of the compaction before, kept for readers that still use them.
    :param mistyped: column → values that had another type than declared and were left out.
    :param declared: what the files were written under.
    """

    format: int = _FORMAT
    commit_no: int = 0
    batch: int = 0
    refreshed_at: Micros = 0
    files: dict[str, tuple[File, ...]] = {}
    retired: tuple[str, ...] = ()
    mistyped: dict[str, int] = {}
    declared: Declared = Declared()

    @property
    def current(self) -> bool:
        """True when this code wrote it."""
        return self.format == _FORMAT

    def names(self, dataset: str) -> tuple[str, ...]:
        """Return the file names of a dataset."""
        return tuple(file.name for file in self.files.get(dataset, ()))


def event_column(name: str) -> str:
    """Return the column of the property (or ``context.`` value) ``name``."""
    prefix, bare = ("c_", name.removeprefix(_CONTEXT)) if name.startswith(_CONTEXT) else ("p_", name)
    return prefix + bare.replace(".", "__")


def declared(fields: FieldCatalogue) -> Declared:
    """Return what of the catalogue is mirrored.

    :raises ConfigurationError: two names would share a column.
    """
    rules = {**fields.properties, **{_CONTEXT + name: rule for name, rule in fields.context.items()}}
    properties: dict[str, ValueType] = {
        name: rule.type for name, rule in rules.items() if rule.clear and rule.type != "list"
    }
    taken: dict[str, str] = {}
    for name in properties:
        other = taken.setdefault(event_column(name).casefold(), name)
        if other != name:
            raise ConfigurationError(f"fields.yaml: the properties {other} and {name} need distinct names")
    return Declared(
        properties=properties,
        traits={name: r.type for name, r in fields.traits.items() if r.clear and r.type != "list"},
    )
