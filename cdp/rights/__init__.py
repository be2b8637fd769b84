"""Rights of the person: the requests that they make, and the links by which they reach their own choices."""

from cdp.rights.acts import Acts
from cdp.rights.links import Link, LinkKind, Links, Pending
from cdp.rights.model import KINDS, Channel, RequestKind, RequestState, RightsRequest
from cdp.rights.service import RightsService

__all__ = [
    "KINDS",
    "Acts",
    "Channel",
    "Link",
    "LinkKind",
    "Links",
    "Pending",
    "RequestKind",
    "RequestState",
    "RightsRequest",
    "RightsService",
]
