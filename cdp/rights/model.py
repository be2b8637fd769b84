"""A request of a person about their own data, and where it stands.

States::

    received ──▶ identity_check ──▶ in_progress ──▶ fulfilled
        │               │                │
        └──▶ in_progress├──▶ expired     │
                        └────────────────┴──▶ denied (reason) | cancelled

A step is appended for each change; an extension is a step that stays where it is. What has ended stays
ended. A request about somebody who is not known has ``identity_no`` 0 and looks like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import msgspec

from cdp.clock import Micros

RequestKind = Literal["access", "portability", "rectification", "erasure", "restriction", "objection"]
RequestState = Literal[
    "received", "identity_check", "in_progress", "fulfilled", "denied", "cancelled", "expired"
]
Channel = Literal["preference_page", "officer", "source", "opendsr"]
DenialReason = Literal[
    "identity_not_confirmed",
    "unfounded",
    "excessive",
    "nothing_held",
    "not_covered",
    "legal_obligation",
    "legal_claims",
    "legal_hold",
    "public_interest",
    "freedom_of_expression",
    "rights_of_others",
]
ExtensionReason = Literal["complexity", "number_of_requests"]
"""GDPR Art. 12(3)."""
CheckMethod = Literal[
    "document", "signed_in", "address_reached", "called_back", "shared_knowledge", "authorised_agent"
]
DENIALS: tuple[DenialReason, ...] = get_args(DenialReason)
EXTENSIONS: tuple[ExtensionReason, ...] = get_args(ExtensionReason)
METHODS: tuple[CheckMethod, ...] = get_args(CheckMethod)
KINDS: tuple[RequestKind, ...] = get_args(RequestKind)
STATES: tuple[RequestState, ...] = get_args(RequestState)
NOBODY = 0

TRANSITIONS: Mapping[RequestState, frozenset[RequestState]] = {
    "received": frozenset({"identity_check", "in_progress", "denied", "cancelled"}),
    "identity_check": frozenset({"in_progress", "denied", "cancelled", "expired"}),
    "in_progress": frozenset({"fulfilled", "denied", "cancelled"}),
    "fulfilled": frozenset(),
    "denied": frozenset(),
    "cancelled": frozenset(),
    "expired": frozenset(),
}
OPEN: frozenset[RequestState] = frozenset(state for state, following in TRANSITIONS.items() if following)


class RightsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    :param identity_no: whose it is: the identity that was named, never its profile; 0 when nobody has it.
    :param identity_nos: every identity that was named, that one first.
    :param channel: where it was made.
    :param opened_at: when it came in.
    :param submitted_at: when the person asked: earlier, where somebody else passed it on.
    :param due_at: by when the law wants an answer (``rights.yaml``), as extended.
    :param state_at: since when it is in ``state``; ``step`` counts the changes, from 0.
    :param regulation: under which it was made, where that was said: ``gdpr``, ``ccpa``, or empty.
    :param external_id: what whoever passed it on calls it; empty when nobody did.
    :param purpose: what an objection is to; empty for all that can be objected to.
    :param reason: the code of a denial, an extension, or how an identity check was passed; empty else.
    :param result: ids and hashes that its fulfilment gave; never personal data.
    :param begun: its work has been taken up at least once.
    :param acknowledge_by: by when its receipt is confirmed; 0 where no law asks for that.
    :param extended: ``due_at`` has been put off, which happens once.
    :param waiting: its work waits for somebody's hand.
    """

    request_id: str
    identity_no: int
    identity_nos: tuple[int, ...]
    kind: RequestKind
    channel: Channel
    opened_at: Micros
    submitted_at: Micros
    due_at: Micros
    state: RequestState
    state_at: Micros
    step: int = 0
    regulation: str = ""
    external_id: str = ""
    purpose: str = ""
    reason: str = ""
    result: dict[str, str | int] = {}
    begun: bool = False
    acknowledge_by: Micros = 0
    extended: bool = False
    waiting: bool = False

    @property
    def known(self) -> bool:
        """False for a request about somebody whom nobody knows."""
        return self.identity_no != NOBODY


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests; None: all.

    :param due: how urgent those are that have not ended.
    """

    state: RequestState | None = None
    kind: RequestKind | None = None
    due: Literal["ok", "soon", "late"] | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a request, as it was taken."""

    state: RequestState
    at: Micros
    due_at: Micros
    reason: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Something an identity check looks at.

    :param method: a ``CheckMethod``, or ``named``: the identifier that an unverified asker gave.
    """

    proof_no: int
    method: str
    at: Micros
    content: bytes

    def __repr__(self) -> str:
        return f"<proof by {self.method}>"


class Fulfilled(msgspec.Struct, frozen=True, kw_only=True):
    """What a request's fulfilment gave: ids and hashes, never personal data."""

    result: dict[str, str | int] = {}


class Denied(msgspec.Struct, frozen=True):
    """A fulfiller found that a request cannot be met: it is denied with ``reason``, a code."""

    reason: str


Fulfiller = Callable[[RightsRequest], Fulfilled | Denied | None]
"""Does the work of one kind in the background, again after a crash; None: not done yet, call again."""
