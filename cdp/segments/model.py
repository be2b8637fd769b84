"""What the segment service hands out."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.segments.definition import Definition

ListKind = Literal["white", "grey", "black"]
PURPOSE = "segmentation"
"""The purpose for which segments are evaluated."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a stored segment.

    :param source: the definition as plain data, in the shape of the YAML file.
    :param definition: None when it no longer holds; ``problem`` says why (a field was sealed since).
    """

    name: str
    version: int
    source: dict[str, Any]
    definition: Definition | None
    problem: str
    created_at: Micros
    created_by: str


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """Who is in a segment.

    :param bitmap: profile numbers at ``as_of``. A profile's number is its smallest identity, so after a
        merge or split it is still an identity: whoever uses the set later maps it, or leaves out
        profiles whose links changed since.
    :param as_of: the commit that the evaluation saw.
    :param reads: names of what the definition reads (``references.reads``); ``categories`` what they are now.
    """

    name: str
    version: int
    definition: Definition
    bitmap: BitMap
    as_of: int
    computed_at: Micros
    reads: frozenset[str]
    categories: frozenset[str]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Who entered and who exited a followed segment, at once.

    :param commit_no: of the commit that says so; 0 before it has one.
    :param as_of: every fact up to this commit was looked at.
    :param entered: profile numbers as of then; each is an identity of the person for good.
    """

    name: str
    version: int
    commit_no: int = 0
    as_of: int
    changed_at: Micros
    entered: BitMap
    exited: BitMap


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """How many people a definition finds.

    :param members: the set itself, which ``noised`` needs; never shown.
    :param as_of: the commit that the evaluation saw.
    """

    count: int
    as_of: int
    took_ms: int
    members: BitMap


class PeopleList(msgspec.Struct, frozen=True, kw_only=True):
    """A white, grey or black list.

    :param category: the data category that standing on it tells; ``user.unique_id`` for a bare list.
    :param entries: how many identities it names.
    """

    name: str
    kind: ListKind
    category: str
    entries: int
