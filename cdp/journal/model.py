"""What a line of the journal says.

Invariants: no line holds a value, a name or an ``identity_no``. People appear as **tags**, keyed hashes of
their blind index: who holds the journal alone learns that somebody withdrew, never who. What a consent
record says in text of the sender's choosing (signal, language, method) stays out.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from cdp.clock import Micros

FORMAT = 2
ORDERED = 2
"""The format from which on what can be taken back is dated in the order of commits, not by a host's clock."""
LIFTING = frozenset({"granted", "restriction_lifted"})
Thing = Literal[
    "api_key",
    "destination",
    "policies",
    "proposal",
    "source",
    "source_links",
    "user_id_secret",
    "webhook",
    "write_key",
]
"""What of an installation must not come back once it was put out of use."""


class Segment(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="segment"):
    """The first line of a segment.

    :param name: of the segment; its file cannot be taken for another one.
    :param after: segments that were there before and that none of them names: a lost one is missed.
    """

    format: int
    name: str
    opened_at: Micros
    after: tuple[str, ...] = ()


class Numbers(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="numbers"):
    """Numbers of ``counter`` below ``below`` may have been handed out."""

    counter: str
    below: int


class Consent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="consent", omit_defaults=True):
    """A consent record that restrains, an act that lifts a restraint, or a stamp that narrows a grant.

    :param tag: 16 bytes as hex, whose it is.
    :param signal: ``gpc`` where it was that, as other rules hold for it; else empty.
    :param notice_id: of a notice that the policies declare; any other is the sender's text.
    :param method: by which link of ours the person confirmed a grant; any other is the sender's text. Lines
        from before there was one say none.
    :param jurisdiction: the code of a country or state, which an act that lifts a ``gpc`` needs; any other is
        the sender's text. Lines from before there was one say none.
    :param recipients: of a stamp the declared destinations that it leaves a grant to; of an act none.
    """

    tag: str
    record_id: int
    purpose: str
    state: str
    act: bool
    event_time: Micros
    received_at: Micros
    source_kind: str
    source_id: int
    verified: bool
    event_type: str = "regular"
    legal_basis: str = ""
    signal: str = ""
    expires_at: Micros | None = None
    notice_id: str = ""
    notice_version: int | None = None
    notice_sha256: str = ""
    jurisdiction: str = ""
    method: str = ""
    recipients: tuple[str, ...] = ()


class Erasure(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="erasure"):
    """Somebody was erased and must not come back.

    :param at: set when it is written, as of every line that can be taken back: see ``Ordered``.
    """

    tag: str = ""
    at: Micros = 0


class Readmission(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="readmission"):
    """Somebody who was erased may come back."""

    tag: str = ""
    at: Micros = 0


class Listed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="listed"):
    """Somebody was put on a black list, or taken off it.

    :param black_list: tag of its name.
    """

    tag: str = ""
    black_list: str = ""
    on: bool
    at: Micros = 0


class Switched(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="switched"):
    """Something of the installation was put out of use, or into use.

    :param tag: of what identifies it (``Journal.tag_of``).
    """

    thing: Thing
    tag: str = ""
    on: bool
    at: Micros = 0


class Apart(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="apart", omit_defaults=True):
    """A steward revoked the links between two groups of identifiers, or admitted them again.

    :param some: tags, and ``others`` as well; every pair across is meant, whether anything told it or not.
    :param guess: what matching guessed was rejected. It stands until its identities are one.
    """

    some: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    on: bool
    guess: bool = False
    at: Micros = 0


Ordered: TypeAlias = Erasure | Readmission | Listed | Switched | Apart
"""What can be taken back: the last line about a subject counts. They are dated in the order of commits."""
Line: TypeAlias = Segment | Numbers | Consent | Ordered


def lifts(line: Line) -> bool:
    """True of a line whose loss restrains too much, and which without its commit restrains too little."""
    if isinstance(line, Consent):
        return line.state in LIFTING and not line.recipients
    if isinstance(line, Listed | Apart):
        return not line.on
    if isinstance(line, Switched):  # of policies nobody knows which are the laxer ones
        return line.on and line.thing != "policies"
    return isinstance(line, Readmission)


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch hands over, before tags and its instant are known.

    :param identity_no: whom it is about; 0 for the installation.
    :param line: with empty tags; one that is ``Ordered`` without its instant.
    :param name: of the black list, or what identifies the thing that was switched.
    :param between: two groups of identities, where it is about links.
    :param tags: hex; where None they are those of ``identity_no`` when the batch ends (a batch that deletes
        the blind index asks ``Journal.tags`` before).
    """

    identity_no: int = 0
    line: Consent | Ordered
    name: str = ""
    between: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    tags: tuple[str, ...] | None = None


def switched(thing: Thing, name: str, *, on: bool = False) -> Fact:
    """Return the fact that something of the installation was put out of use, or into use."""
    return Fact(line=Switched(thing=thing, on=on), name=name)


class Position(msgspec.Struct, frozen=True):
    """How far a segment went at some moment: its whole lines, and the check of the last of them."""

    lines: int
    check: str
