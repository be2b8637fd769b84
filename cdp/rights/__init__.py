"""Rights of the person: the requests that they make, and the links by which they reach their own choices."""

from cdp.rights import opendsr
from cdp.rights.acts import Acts
from cdp.rights.archive import HEADERS as ARCHIVE_HEADERS
from cdp.rights.archive import Archive, Archives, Download, Stages
from cdp.rights.archive import schema as archive_schema
from cdp.rights.correct import Correction, Corrections
from cdp.rights.deadline import due_state, reminder
from cdp.rights.erase import ErasureService
from cdp.rights.links import Link, LinkKind, Links, Pending
from cdp.rights.model import (
    DENIALS,
    EXTENSIONS,
    KINDS,
    METHODS,
    NOBODY,
    OPEN,
    STATES,
    TRANSITIONS,
    Channel,
    CheckMethod,
    DenialReason,
    Denied,
    ExtensionReason,
    Fulfilled,
    Fulfiller,
    RequestKind,
    RequestState,
    RightsRequest,
    Step,
    Wanted,
)
from cdp.rights.recipients import Recipients
from cdp.rights.records import Records
from cdp.rights.retention import EVERYBODY, Hold, HoldReason, LegalHolds, Retention, Run, RunState
from cdp.rights.service import RightsService

__all__ = [
    "ARCHIVE_HEADERS",
    "DENIALS",
    "EVERYBODY",
    "EXTENSIONS",
    "KINDS",
    "METHODS",
    "NOBODY",
    "OPEN",
    "STATES",
    "TRANSITIONS",
    "Acts",
    "Archive",
    "Archives",
    "Channel",
    "CheckMethod",
    "Correction",
    "Corrections",
    "DenialReason",
    "Denied",
    "Download",
    "ErasureService",
    "ExtensionReason",
    "Fulfilled",
    "Fulfiller",
    "Hold",
    "HoldReason",
    "LegalHolds",
    "Link",
    "LinkKind",
    "Links",
    "Pending",
    "Recipients",
    "Records",
    "RequestKind",
    "RequestState",
    "Retention",
    "RightsRequest",
    "RightsService",
    "Run",
    "RunState",
    "Stages",
    "Step",
    "Wanted",
    "archive_schema",
    "due_state",
    "opendsr",
    "reminder",
]
