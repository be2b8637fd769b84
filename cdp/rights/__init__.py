"""Rights of the person: the requests that they make, and the links by which they reach their own choices."""

from cdp.rights.acts import Acts
from cdp.rights.archive import HEADERS as ARCHIVE_HEADERS
from cdp.rights.archive import Archive, Archives, Download, Stages
from cdp.rights.archive import schema as archive_schema
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
    "ARCHIVE_HEADERS",
    "KINDS",
    "NOBODY",
    "OPEN",
    "STATES",
    "TRANSITIONS",
    "Acts",
    "Archive",
    "Archives",
    "Channel",
    "Denied",
    "Download",
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
    "Stages",
    "archive_schema",
]
