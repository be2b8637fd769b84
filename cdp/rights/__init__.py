"""Rights of the person: the requests that they make, and the links by which they reach their own choices."""

from cdp.rights import opendsr
from cdp.rights.acts import Acts
from cdp.rights.links import Link, LinkKind, Links, Pending
from cdp.rights.model import (
    KINDS,
    NOBODY,
    OPEN,
    STATES,
    TRANSITIONS,
    Channel,
    Denied,
    Fulfilled,
    Fulfiller,
    RequestKind,
    RequestState,
    RightsRequest,
)
from cdp.rights.service import RightsService

__all__ = [
    "KINDS",
    "NOBODY",
    "OPEN",
    "STATES",
    "TRANSITIONS",
    "Acts",
    "Channel",
    "Denied",
    "Fulfilled",
    "Fulfiller",
    "Link",
    "LinkKind",
    "Links",
    "Pending",
    "RequestKind",
    "RequestState",
    "RightsRequest",
    "RightsService",
    "opendsr",
]
