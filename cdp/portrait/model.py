"""What is shown of one person. No value that is kept sealed is in any of these records, but masked."""

from __future__ import annotations

from typing import Any

import msgspec

from cdp.clock import Micros
from cdp.identity import Origin
from cdp.portrait.words import why


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Why a trait has the value that it has.

    :param source: the name of the source that said so; None where that is not known any more.
    :param rule: the survivorship by which it holds.
    :param sources: how many sources said something that counts.
    :param conflict: whether these differ; None where it cannot be told, because values are sealed.
    """

    source: str | None
    observed_at: Micros
    rule: str
    sources: int
    conflict: bool | None


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """A conclusion about the person: told by somebody, or computed here.

    :param value: None where it is sealed.
    :param basis: from what it is concluded, as ``fields.yaml`` says.
    :param version: of the definition by which it is computed here; None where it was told.
    """

    name: str
    value: Any
    basis: str
    version: int | None = None

    def __repr__(self) -> str:
        return f"<tag {self.name}>"


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A segment in which the person is.

    :param version: of the definition by which they are.
    :param evaluated_at: when that was last found; since when they are is not kept.
    """

    segment: str
    version: int
    evaluated_at: Micros


class Portrait(msgspec.Struct, frozen=True, kw_only=True):
    """One profile across the stages.

    :param id: the opaque profile id (the current one, also when an older one was asked for).
    :param traits: trait name → value; None where the value is sealed.
    :param masked_fields: the names of those traits.
    :param provenance: trait name → where its value comes from, of each trait that is shown.
    :param tags: those traits that are conclusions, and the tags computed here.
    :param memberships: the segments that it is a member of, by name.
    :param identities: how many identifiers it has.
    """

    id: str
    profile_no: int
    traits: dict[str, Any]
    masked_fields: tuple[str, ...]
    provenance: dict[str, Provenance]
    tags: tuple[Tag, ...]
    memberships: tuple[Membership, ...]
    identities: int

    @property
    def segments(self) -> list[str]:
        """The names of the segments."""
        return [one.segment for one in self.memberships]

    def __repr__(self) -> str:
        return "<portrait>"


class ShownIdentifier(msgspec.Struct, frozen=True, kw_only=True):
    """One identifier of a profile.

    :param type: None where the policies do not let it be seen, nor its mask and source then.
    :param masked: its value as a person recognises their own; None where not even that may be shown.
    :param source: the name of the source by whose event it became known, where there was one.
    """

    identity_no: int
    type: str | None
    device: bool
    masked: str | None
    source: str | None
    created_at: Micros

    @property
    def masked_fields(self) -> list[str]:
        """The names of what is not shown: always the value itself."""
        return ["value"] if self.type is not None else ["type", "value"]

    def __repr__(self) -> str:
        return f"<identifier {self.type}>"


class ShownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a profile: its clear part, as far as it may be seen.

    :param name: None where the event tells too much, and so is its source then.
    :param properties: JSON; None when there are none.
    :param more: True when the event holds more than is shown here.
    """

    event_id: bytes
    type: str
    name: str | None
    source: str | None
    occurred_at: Micros
    received_at: Micros
    properties: bytes | None
    more: bool

    def __repr__(self) -> str:
        return f"<event {self.type}>"


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about two identities, and on what evidence.

    :param identities: their numbers; the other profile's where a link was set aside.
    :param types: their types; None where the policies do not let it be seen.
    :param reason: ``accepted``, or the code of what stood against it.
    :param holds: False once the pair was decided again.
    :param origin: what told it; None where the evidence was erased.
    :param event_id: the evidence: an event, of a merge and a match the id of that decision.
    :param source: the name of the source of that event.
    :param occurred_at: when that happened, by the client's clock.
    """

    identities: tuple[int, int]
    types: tuple[str | None, str | None]
    accepted: bool
    reason: str
    holds: bool
    origin: Origin | None
    event_id: bytes
    source: str | None
    occurred_at: Micros | None
    rules_version: int
    decided_at: Micros
    batch: int

    @property
    def why(self) -> str:
        """What it was decided on, in words."""
        return why(self.origin, self.reason, accepted=self.accepted)
