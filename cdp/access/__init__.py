"""Sources, API keys and their roles."""

from cdp.access.hands import one_hand
from cdp.access.model import UNLIMITED, Limits, Principal, Role, Source, SourceKind
from cdp.access.service import OPERATOR_NAME, OPERATOR_ROLES, AccessService, hash_key

__all__ = [
    "OPERATOR_NAME",
    "OPERATOR_ROLES",
    "UNLIMITED",
    "AccessService",
    "Limits",
    "Principal",
    "Role",
    "Source",
    "SourceKind",
    "hash_key",
    "one_hand",
]
