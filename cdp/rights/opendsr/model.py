"""What OpenDSR 2.0 says, as records: pure.

=========================  ==================================================================================
``request_status``         stands for (``cdp.rights.model``)
=========================  ==================================================================================
``pending``                received, or waiting for its identity check, or taken in and not yet worked on
``in_progress``            worked on; also fulfilled here while a recipient still has to do its part
``completed``              fulfilled here, and by each recipient that was told, or those are late; also
                           denied because nobody is known by what was named: nothing is held of them
``cancelled``              taken back; also denied or expired: nothing was done, and why is told elsewhere
=========================  ==================================================================================

``completed`` and ``cancelled`` are final.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from cdp.clock import Micros
from cdp.rights.model import OPEN, RightsRequest

VERSION = "2.0"
Status = Literal["pending", "in_progress", "completed", "cancelled"]
AskedKind = Literal["access", "portability", "erasure"]
Regulation = Literal["gdpr", "ccpa"]
STATUSES: tuple[Status, ...] = get_args(Status)
ASKED_KINDS: tuple[AskedKind, ...] = get_args(AskedKind)
REGULATIONS: tuple[Regulation, ...] = get_args(Regulation)
_UNKNOWN = "unknown_person"
FINAL: frozenset[Status] = frozenset({"completed", "cancelled"})

IDENTITY_TYPES: dict[str, tuple[str, ...]] = {
    "controller_customer_id": ("user_id",),
    "email": ("email",),
    "android_advertising_id": ("gaid", "aaid", "advertising_id", "external:android_advertising_id"),
    "android_id": ("external:android_id",),
    "fire_advertising_id": ("external:fire_advertising_id",),
    "ios_advertising_id": ("idfa", "advertising_id", "external:ios_advertising_id"),
    "ios_vendor_id": ("idfv", "external:ios_vendor_id"),
    "microsoft_advertising_id": ("external:microsoft_advertising_id",),
    "microsoft_publisher_id": ("external:microsoft_publisher_id",),
    "roku_publisher_id": ("external:roku_publisher_id",),
    "roku_advertising_id": ("external:roku_advertising_id",),
}
"""The standard's types (section 3) → ours, of which those count that ``identity.yaml`` declares."""


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came in, checked; in memory only, and it cannot print itself.

    :param identifiers: (our type, value) of every identity that can be looked up here; ``ignored`` counts
        the others.
    :param regulation_given: False where the request did not say it and ``gdpr`` is taken.
    :param submitted_at: when the person asked.
    """

    subject_request_id: str
    kind: AskedKind
    regulation: Regulation
    regulation_given: bool
    identifiers: tuple[tuple[str, str], ...]
    ignored: int
    submitted_at: Micros
    callbacks: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<submission of {self.kind}>"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was taken in as a processor: see ``cdp.rights.opendsr.tables.opendsr_requests``."""

    request_id: str
    key_id: int
    subject_request_id: str
    kind: AskedKind
    digest: bytes
    received_at: Micros
    expected_at: Micros
    due_at: Micros
    callbacks: bytes | None
    urls: int
    reported: Status = "pending"
    step: int = 0


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """One status that one URL is told: see ``cdp.rights.opendsr.tables.opendsr_callbacks``."""

    request_id: str
    step: int
    url_no: int
    status: Status
    state: Literal["queued", "sent", "superseded", "failed"]
    created_at: Micros
    attempts: int
    next_attempt_at: Micros
    last_error: str = ""


ChildState = Literal["queued", "pending", "in_progress", "completed", "cancelled", "refused", "failed"]
"""``queued``: still to be sent; then the recipient's own word; ``refused``: it does not take it; ``failed``:
tried for the last time, or nobody can say any more whom it is about."""

SETTLED: frozenset[ChildState] = frozenset({"completed", "cancelled", "refused", "failed"})


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient's part of a request: see ``cdp.rights.opendsr.tables.opendsr_children``.

    :param child_id: the ``subject_request_id`` under which the recipient knows it.
    :param due_at: from then on, unless settled, it is late.
    """

    child_id: str
    request_id: str
    destination: str
    state: ChildState
    payload: bytes | None
    created_at: Micros
    due_at: Micros
    state_at: Micros
    attempts: int = 0
    next_attempt_at: Micros | None = None
    last_error: str = ""
    expected_at: Micros | None = None

    @property
    def open(self) -> bool:
        """Whether the recipient has still to do its part."""
        return self.state not in SETTLED

    def late(self, now: Micros) -> bool:
        """Return whether it should have been settled by now."""
        return self.open and self.due_at <= now


def status_of(request: RightsRequest, *, waiting: bool) -> Status:
    """Return where a request stands in the words of the standard.

    :param waiting: whether a recipient that was told has still to do its part, and time to do it.
    """
    if request.state == "fulfilled" or (request.state == "denied" and request.reason == _UNKNOWN):
        return "in_progress" if waiting else "completed"
    if request.state in OPEN:
        return "in_progress" if request.begun and request.state == "in_progress" else "pending"
    return "cancelled"
