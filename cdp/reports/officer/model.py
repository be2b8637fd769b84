"""What waits for an officer, and its place in the queue."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from cdp.clock import Micros

Severity = Literal["late", "soon", "ok"]
SEVERITIES: tuple[Severity, ...] = ("late", "soon", "ok")
Kind = Literal[
    "rights_request",
    "late_recalls",
    "contract",
    "stale_notice",
    "quarantine",
    "proposal",
    "destination_off",
    "log_unsigned",
    "witness",
    "key_rotation",
]


class Place(NamedTuple):
    """Where something stands: the most urgent first, then what is due first.

    :param rank: place in ``SEVERITIES``.
    :param due: what has no end stands by when it began.
    :param name: which one of its kind.
    """

    rank: int
    due: Micros
    kind: str
    name: str


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be done.

    :param name: which one of its kind: an id, a destination, a purpose.
    :param what: a sentence without personal data.
    :param due: when it is late; None where no time is set.
    :param command: what to run, or ``route`` what to call, to deal with it.
    """

    kind: Kind
    name: str
    severity: Severity
    what: str
    since: Micros
    due: Micros | None
    command: str
    route: str

    @property
    def place(self) -> Place:
        """Where it stands in the queue."""
        at = self.since if self.due is None else self.due
        return Place(SEVERITIES.index(self.severity), at, self.kind, self.name)
