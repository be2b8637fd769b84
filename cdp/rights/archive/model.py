"""What is inside an archive, and the record of one. These shapes *are* its published schema.

``docs/archive.schema.json`` is made from them; a field is added with a default and never given
another
meaning, since people keep their archives. Instants are RFC 3339 text in UTC. Values are as they came in.

No record of content prints what it holds.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cdp.clock import Micros

SCHEMA = "cdp/archive/v1"
ArchiveKind = Literal["access", "portability"]
ArchiveState = Literal["building", "ready"]


class _Content(msgspec.Struct, frozen=True, kw_only=True):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Identifier(_Content, frozen=True, kw_only=True):
    """By what the person is known.

    :param id: by which other files refer to it, in this archive only.
    :param value: None where its key is lost (``unreadable``).
    :param proved: the person proved that it is theirs; the others are connected with one of those by what a
        server, an import or a steward said.
    """

    id: int
    type: str
    value: Any
    device: bool
    proved: bool
    known_since: str
    unreadable: bool = False


class Trait(_Content, frozen=True, kw_only=True):
    """What holds of the person now, of all that was observed.

    :param rule: by which of several values this one holds (``most_recent``…).
    :param inferred: a conclusion, not something that was told.
    """

    name: str
    value: Any
    source: str | None
    observed_at: str
    rule: str
    identifier: int
    inferred: bool = False
    unreadable: bool = False


class Observation(_Content, frozen=True, kw_only=True):
    """One thing that a source said of the person, whether it holds or not."""

    name: str
    value: Any
    source: str | None
    observed_at: str
    identifier: int
    inferred: bool = False
    unreadable: bool = False


class Event(_Content, frozen=True, kw_only=True):
    """Something that happened, with all its properties.

    :param identifier: the identifier that it is kept under.
    :param other: what else the message held.
    :param unreadable: part of it could not be opened.
    """

    id: str
    type: str
    name: str
    occurred_at: str
    received_at: str
    source: str | None
    source_kind: str | None
    identifier: int
    properties: dict[str, Any] = {}
    context: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    other: dict[str, Any] = {}
    unreadable: bool = False


class ConsentState(_Content, frozen=True, kw_only=True):
    """How the person stands on a purpose now, and why."""

    purpose: str
    name: str
    state: str
    reason: str
    since: str | None = None
    expires_at: str | None = None


class ConsentRecord(_Content, frozen=True, kw_only=True):
    """One record of the consent ledger; ``receipt`` is the file of its signed receipt."""

    record_id: str
    identifier: int
    purpose: str
    state: str
    said_at: str
    received_at: str
    legal_basis: str
    event_type: str
    method: str
    language: str
    jurisdiction: str
    notice: str
    notice_version: int | None
    notice_sha256: str
    recipients: tuple[str, ...]
    source: str | None
    signal: str
    evidence: str | None
    receipt: str
    unreadable: bool = False


class Consents(_Content, frozen=True, kw_only=True):
    """``consents.json``."""

    states: tuple[ConsentState, ...]
    records: tuple[ConsentRecord, ...]


class Conclusion(_Content, frozen=True, kw_only=True):
    """What was concluded about the person.

    :param kind: ``trait``: told by a source that concluded it; ``tag``: computed here; ``segment``: a group
        of people that they are in.
    :param basis: from what it is drawn, as the policies say.
    :param categories: the data categories that were read to find it.
    """

    kind: Literal["trait", "tag", "segment"]
    name: str
    value: Any
    basis: str
    categories: tuple[str, ...]
    version: int | None = None
    at: str | None = None


class Recipient(_Content, frozen=True, kw_only=True):
    """A release of data to a recipient that held the person.

    :param fields: which fields left, and how: ``clear``, ``hash``, ``generalise:country``…
    :param received: when it was handed over with the person in it; empty when it never was.
    """

    export: str
    recipient: str
    name: str
    role: str
    country: str
    transfer_tool: str
    purpose: str
    purpose_name: str
    segment: str
    decided_at: str
    fields: dict[str, str]
    received: tuple[str, ...]


class Use(_Content, frozen=True, kw_only=True):
    """An entry of the audit log about the person.

    :param index: of the entry, by which it can be proved.
    :param by: who in kind, never the name of a member of staff: ``officer``, ``source shop``, ``system``…
    """

    index: int
    at: str
    action: str
    by: str
    purpose: str
    recipient: str
    outcome: str
    about: dict[str, Any]


class Asked(_Content, frozen=True, kw_only=True):
    """A request that the person made about their data."""

    id: str
    kind: str
    state: str
    since: str
    channel: str
    opened_at: str
    due_at: str


class Listed(_Content, frozen=True, kw_only=True):
    """A list that an identifier of the person stands on."""

    list: str
    kind: str
    category: str
    identifier: int


class Waiting(_Content, frozen=True, kw_only=True):
    """A message that names the person and could not be taken in; it waits to be looked at."""

    received_at: str
    source: str | None
    kind: str
    cause: str
    message: str


class Kept(_Content, frozen=True, kw_only=True):
    """How long something is kept, and why."""

    purpose: str
    days: int
    source: str


class FieldMeaning(_Content, frozen=True, kw_only=True):
    """What a field is.

    :param part: where it stands: ``trait``, ``property``, ``context``, ``identifier``, ``event``.
    :param declared: False: the policies do not say what it is, so it is kept sealed and used for nothing.
    :param protection: ``clear``, ``sealed`` or ``sealed+index``: how it is stored.
    :param sources: who said it.
    """

    part: str
    name: str
    declared: bool
    category: str
    category_name: str
    sensitive: bool
    protection: str
    basis: str
    sources: tuple[str, ...]
    kept: tuple[Kept, ...]


class PurposeMeaning(_Content, frozen=True, kw_only=True):
    """What data may be used for; ``basis`` and ``law`` by jurisdiction, ``*`` for the others."""

    purpose: str
    name: str
    description: str
    basis: dict[str, str]
    law: dict[str, str]


class Meanings(_Content, frozen=True, kw_only=True):
    """``meanings.json``."""

    fields: tuple[FieldMeaning, ...]
    purposes: tuple[PurposeMeaning, ...]
    rights: tuple[str, ...]


class Filed(_Content, frozen=True, kw_only=True):
    """One file of the archive."""

    name: str
    bytes: int
    sha256: str


class Contents(_Content, frozen=True, kw_only=True):
    """``manifest.json``: what the archive is, and what is in it.

    :param as_of: the commit as of which everything was read.
    :param scope: in words, whose data it is.
    :param left_out: in words, what is not in it, and why.
    """

    schema: str
    kind: ArchiveKind
    request: str
    controller: str
    made_at: str
    as_of: int
    scope: str
    left_out: tuple[str, ...]
    counts: dict[str, int]
    files: tuple[Filed, ...]


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one archive: never what is in it.

    :param attempt: tells one building of it from another.
    :param bucket: the name of the key that it is sealed under.
    :param done: events that were written so far, of ``total``.
    :param identity_nos: whose data it holds.
    :param proved: which of those the person proved.
    """

    request_id: str
    attempt: int
    kind: ArchiveKind
    state: ArchiveState
    bucket: str
    started_at: Micros
    expires_at: Micros
    done: int = 0
    total: int = 0
    chunks: int = 0
    bytes: int = 0
    sha256: str = ""
    ready_at: Micros | None = None
