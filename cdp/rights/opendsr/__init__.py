"""OpenDSR 2.0: what controllers ask of us, and what we ask of those who received data."""

from cdp.rights.opendsr.dialogue import Dialogue
from cdp.rights.opendsr.model import Callback, Child, Taken
from cdp.rights.opendsr.processor import CERTIFICATE, OpenDsrProcessor
from cdp.rights.opendsr.queries import forget as forget_requests
from cdp.rights.opendsr.recipients import OpenDsrFanOut
from cdp.rights.opendsr.reports import Reports, Results
from cdp.rights.opendsr.say import error
from cdp.rights.opendsr.transport import MAX_BODY, Transport
from cdp.rights.opendsr.trust import Trust

__all__ = [
    "CERTIFICATE",
    "MAX_BODY",
    "Callback",
    "Child",
    "Dialogue",
    "OpenDsrFanOut",
    "OpenDsrProcessor",
    "Reports",
    "Results",
    "Taken",
    "Transport",
    "Trust",
    "error",
    "forget_requests",
]
