"""The faces: REST and GraphQL over one set of verbs, under one guard."""

from cdp.api.application import attach, create_app
from cdp.api.auth import OPEN, WRITE_KEY, Access, Caller, allow
from cdp.api.limits import Asking
from cdp.api.services import Services

__all__ = [
    "OPEN",
    "WRITE_KEY",
    "Access",
    "Asking",
    "Caller",
    "Services",
    "allow",
    "attach",
    "create_app",
]
