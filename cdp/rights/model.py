"""A request of a person about their own data, and where it stands.

States: ``received → identity_check → in_progress → fulfilled | denied | cancelled | expired``. A request
and its changes of state are appended; the newest state holds.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from cdp.clock import Micros

RequestKind = Literal["access", "portability", "rectification", "erasure", "restriction", "objection"]
RequestState = Literal[
    "received", "identity_check", "in_progress", "fulfilled", "denied", "cancelled", "expired"
]
Channel = Literal["preference_page", "officer"]
KINDS: tuple[RequestKind, ...] = get_args(RequestKind)


class RightsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    :param identity_no: whose it is: the identity that was verified, never its profile.
    :param channel: where it was made.
    :param due_at: by when the law wants an answer (``rights.yaml``).
    :param state_at: since when it is in ``state``.
    """

    request_id: str
    identity_no: int
    kind: RequestKind
    channel: Channel
    opened_at: Micros
    due_at: Micros
    state: RequestState
    state_at: Micros
