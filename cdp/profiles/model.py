"""Trait observations and events as a profile shows them."""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import msgspec

from cdp.clock import Micros
from cdp.policy import Survivorship

CORRECTION = 0
"""The source of observations that correct what sources said of a trait; no source has this number."""
WITHDRAWN = "null"
"""The value of a correction after which there is none."""


class Observation(NamedTuple):
    """One observed trait value; a tuple, because an export reads millions of them.

    :param value: JSON of a declared, clear value; None when the value is sealed.
    :param sealed: the envelope otherwise; its row key is ``event_id``.
    """

    profile_no: int
    identity_no: int
    name: str
    value: str | None
    sealed: bytes | None
    source_id: int
    observed_at: Micros
    event_id: bytes

    def __repr__(self) -> str:
        return f"<observation of {self.name}>"


def mark(value: str | None) -> int:
    """Return 16 bits by which two things that one event says of one trait stand in order."""
    return crc32((value or "").encode()) & 0xFFFF


class Survivor(msgspec.Struct, frozen=True, kw_only=True):
    """The value that a trait has, and why: its source, its time and the rule by which it holds.

    :param observation: the one that holds; of ``sum`` and ``union`` the newest, with what was made of all.
    :param rule: by which it holds.
    :param source: the name of its source; empty where that is not known any more.
    :param sources: how many sources said something that counts.
    :param conflict: whether the last words of these sources differ; None where it cannot be told, because
        a value is sealed. What adds up (``sum``, ``union``) never conflicts.
    :param words: the last word of each source with the source's name, the newest first.
    """

    observation: Observation
    rule: Survivorship
    source: str
    sources: int
    conflict: bool | None
    words: tuple[tuple[str, Observation], ...] = ()

    def __repr__(self) -> str:
        return f"<survivor of {self.observation.name}>"


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a profile: its clear part.

    :param name: empty where it is not shown.
    :param properties: JSON of the declared, clear properties; None when there are none.
    :param more: True when the event holds more than is shown here.
    """

    event_id: bytes
    identity_no: int
    source_id: int
    type: str
    name: str
    occurred_at: Micros
    received_at: Micros
    properties: bytes | None
    more: bool

    def __repr__(self) -> str:
        return f"<event {self.type}>"
