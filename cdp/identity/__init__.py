"""Identifiers become identities, links make them profiles, and a link can be taken back."""

from cdp.identity import addresses, characters, names
from cdp.identity.anew.apply import RulesPass
from cdp.identity.anew.preview import Cluster, LinkChange, Preview, RulesPreview, Sample
from cdp.identity.anew.queries import Pass
from cdp.identity.apart import keep_apart, note_apart
from cdp.identity.characters import fold
from cdp.identity.forget import created_at, forget_identities
from cdp.identity.identifiers import MAX_LENGTH, Normaliser
from cdp.identity.lookup import AMBIGUOUS, Lookup
from cdp.identity.model import (
    Candidate,
    Decision,
    Identifier,
    Origin,
    Pair,
    Plan,
    Resolution,
    Resolved,
    reason_shown,
)
from cdp.identity.propose import Proposed, held_apart, homes, propose
from cdp.identity.queries import blind_indexes, members_of, profiles_of
from cdp.identity.reach import Reach
from cdp.identity.reindex import IndexPass
from cdp.identity.resolve import resolve
from cdp.identity.service import IdentityService
from cdp.identity.steward import Steward, Witness
from cdp.identity.watch import SetAside

__all__ = [
    "AMBIGUOUS",
    "MAX_LENGTH",
    "Candidate",
    "Cluster",
    "Decision",
    "Identifier",
    "IdentityService",
    "IndexPass",
    "LinkChange",
    "Lookup",
    "Normaliser",
    "Origin",
    "Pair",
    "Pass",
    "Plan",
    "Preview",
    "Proposed",
    "Reach",
    "Resolution",
    "Resolved",
    "RulesPass",
    "RulesPreview",
    "Sample",
    "SetAside",
    "Steward",
    "Witness",
    "addresses",
    "blind_indexes",
    "characters",
    "created_at",
    "fold",
    "forget_identities",
    "held_apart",
    "homes",
    "keep_apart",
    "members_of",
    "names",
    "note_apart",
    "profiles_of",
    "propose",
    "reason_shown",
    "resolve",
]
