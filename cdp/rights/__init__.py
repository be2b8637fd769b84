"""Rights of the person: the requests that they make, and the links by which they reach their own choices."""

from cdp.rights import opendsr
from cdp.rights.acts import Acts
from cdp.rights.correct import Correction, Corrections
from cdp.rights.deadline import due_state, reminder
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
from cdp.rights.retention import EVERYBODY, Hold, HoldReason, LegalHolds, Retention, Run, RunState
from cdp.rights.service import RightsService

__all__ = [
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
    "Channel",
    "CheckMethod",
    "Correction",
    "Corrections",
    "DenialReason",
    "Denied",
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
    "RequestKind",
    "RequestState",
    "Retention",
    "RightsRequest",
    "RightsService",
    "Run",
    "RunState",
    "Step",
    "Wanted",
    "due_state",
    "opendsr",
    "reminder",
]
