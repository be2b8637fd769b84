"""Trait observations and events as a profile shows them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cdp.clock import Micros


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
