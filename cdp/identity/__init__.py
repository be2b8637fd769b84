"""Identifiers become identities, links make them profiles, and a link can be taken back."""

from cdp.identity.identifiers import Normaliser
from cdp.identity.model import Candidate, Decision, Identifier, Plan, Resolution, Resolved
from cdp.identity.queries import blind_indexes, members_of, profiles_of
from cdp.identity.resolve import resolve
from cdp.identity.service import IdentityService
from cdp.identity.steward import Permit, Steward

__all__ = [
    "Candidate",
    "Decision",
    "Identifier",
    "IdentityService",
    "Normaliser",
    "Permit",
    "Plan",
    "Resolution",
    "Resolved",
    "Steward",
    "blind_indexes",
    "members_of",
    "profiles_of",
    "resolve",
]
