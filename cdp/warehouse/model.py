"""What the mirror holds, and the manifest that says so.

Invariants: readers use only files that the manifest lists; a column exists for each declared, clear
property that is no list, and for nothing else. A property's column is ``p_<name>``, a context value's
(``context.<name>``) is ``c_<name>``, dots written as ``__``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace
from pyroaring import BitMap

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
_FORMAT = 3

Key = tuple[str | int, ...]
"""Values of a dataset's key columns (``KEYS``): where a row stands in the order of its dataset."""

KEYS = {
    EVENTS: ("name", "occurred_at", "identity_no"),
    TRAITS: ("name", "identity_no", "observed_at"),
    MEMBERS: ("identity_no",),
}
"""Dataset → the columns that a file is sorted by, and that the files of a run are cut along."""


class Scan(msgspec.Struct, frozen=True):
    """Which events a query looks at: whatever the others are, it finds the same.

    :param names: those of these names.
    :param since: of those, none that happened before it; None where the oldest count, too.
    """

    names: frozenset[str]
    since: Micros | None


class File(msgspec.Struct, frozen=True):
    """One Parquet file, whose rows are sorted by the key of its dataset.

    :param sha256: hex, of the whole file.
    :param run: files of one run follow each other: no key of one lies within another.
    :param first: key of the first row; empty where there is no row.
    """

    name: str
    rows: int
    sha256: str
    run: str = ""
    first: Key = ()
    last: Key = ()

    def may_hold(self, scan: Scan) -> bool:
        """Return whether a file of events may hold any that ``scan`` looks at."""
        if not self.rows:
            return False
        (first, *_), (last, until, *_) = self.first, self.last
        inside = [name for name in scan.names if first <= name <= last]  # type: ignore[operator]  # texts
        if inside != [last]:
            return bool(inside)
        return scan.since is None or until >= scan.since  # type: ignore[operator]  # an instant


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the field catalogue that the mirror stores: name → type, clear, no lists.

    :param properties: properties, and context values under ``context.<name>``.
    """

    properties: dict[str, ValueType] = {}
    traits: dict[str, ValueType] = {}

    def extends(self, older: Declared) -> bool:
        """True when files written under ``older`` stay right: at most, properties were added.

        A trait that is new is no such addition: its observations of before take part in the fold.
        """
        return older.properties.items() <= self.properties.items() and older.traits == self.traits

    def widened(self, newer: Declared) -> Declared:
        """Return this with what ``newer`` adds; where they differ, a file can only hold what it held."""
        return Declared(
            properties={**newer.properties, **self.properties}, traits={**newer.traits, **self.traits}
        )


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of a dataset on their way to become one.

    :param runs: what is merged.
    :param into: the run that it becomes.
    :param cuts: keys that end each of its files but the last.
    :param step: how many of the files are done; one without rows is not written.
    """

    dataset: str
    runs: tuple[str, ...]
    into: str
    cuts: tuple[Key, ...]
    step: int = 0
    files: tuple[File, ...] = ()


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """Identities on their way out of the files.

    :param identities: a serialised bitmap.
    :param done: name of a file that was looked at → what takes its place; None where nothing is left.
    """

    identities: bytes
    done: dict[str, File | None] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the mirror holds, and the work on it that is under way.

    :param commit_no: every commit up to this one is in the files.
    :param batch: batch id of that commit, which tells another database or a restored one.
    :param mapped: the identity→profile map is as of this commit, which is never an earlier one.
    :param epoch: erasures up to this ``erasure_epoch`` were looked for.
    :param retired: file that was replaced → since when, kept for readers that still use it.
    :param mistyped: column → values that had another type than declared and were left out.
    :param declared: what the files were written under.
    :param withdrawn: properties that were declared at some time and then no more.
    :param doomed: a serialised bitmap of identities that the next erasure takes.
    :param rebuild: what takes the place of all this when it is complete.
    :param seal: SHA-256 of the manifest without it, hex.
    """

    format: int = _FORMAT
    commit_no: int = 0
    batch: int = 0
    mapped: int = 0
    epoch: int = 0
    refreshed_at: Micros = 0
    files: dict[str, tuple[File, ...]] = {}
    retired: dict[str, Micros] = {}
    mistyped: dict[str, int] = {}
    declared: Declared = Declared()
    withdrawn: tuple[str, ...] = ()
    merge: Merge | None = None
    erasure: Erasure | None = None
    doomed: bytes = b""
    rebuild: Manifest | None = None
    seal: str = ""

    def names(self, dataset: str) -> tuple[str, ...]:
        """Return the file names of a dataset."""
        return tuple(file.name for file in self.files.get(dataset, ()))

    @property
    def erasing(self) -> bool:
        """True while somebody is on the way out of the files."""
        return bool(self.doomed) or self.erasure is not None

    def is_rid_of(self, epoch: int) -> bool:
        """Return whether nobody who was erased up to an ``erasure_epoch`` is in any file."""
        return not self.own() or (self.epoch >= epoch and not self.erasing)

    def listed(self) -> Iterator[tuple[str, File]]:
        """Yield (dataset, file) of what readers see and of what is being made anew."""
        for dataset, files in self.files.items():
            yield from ((dataset, file) for file in files)
        if self.rebuild is not None:
            yield from self.rebuild.listed()

    def own(self) -> set[str]:
        """Return the name of every file that this manifest needs, those of work under way included."""
        names = {file.name for _, file in self.listed()} | set(self.retired)
        if self.merge is not None:
            names |= {file.name for file in self.merge.files}
        if self.erasure is not None:
            names |= {file.name for file in self.erasure.done.values() if file is not None}
        return names

    def continues(self, declared: Declared) -> bool:
        """Return whether the files go on being right under what is declared now.

        A property that was withdrawn once and is declared again has values in the store that no file has.
        """
        return declared.extends(self.declared) and declared.properties.keys().isdisjoint(self.withdrawn)

    def dooming(self, identities: BitMap) -> Manifest:
        """Return this with more identities for the next erasure."""
        doomed = (BitMap.deserialize(self.doomed) if self.doomed else BitMap()) | identities
        return replace(self, doomed=doomed.serialize() if doomed else b"")

    def swapped(self, done: Mapping[str, File | None]) -> Manifest:
        """Return this with other files, or none, in the place of some; so in what is being made anew."""
        files = {
            dataset: tuple(new for file in files if (new := done.get(file.name, file)) is not None)
            for dataset, files in self.files.items()
        }
        return replace(
            self, files=files, rebuild=None if self.rebuild is None else self.rebuild.swapped(done)
        )


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
