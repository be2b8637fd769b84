"""Identifiers become identities, links make them profiles, and a link can be taken back."""

from cdp.identity.identifiers import Normaliser
from cdp.identity.model import Candidate, Decision, Identifier, Plan, Resolution, Resolved
from cdp.identity.queries import blind_indexes
from cdp.identity.resolve import resolve
from cdp.identity.service import IdentityService

__all__ = [
    "Candidate",
    "Decision",
    "Identifier",
    "IdentityService",
    "Normaliser",
    "Plan",
    "Resolution",
    "Resolved",
    "blind_indexes",
    "resolve",
]
