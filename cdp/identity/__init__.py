"""Identifiers become identities, links make them profiles, and a link can be taken back."""

from cdp.identity import addresses, characters, names
from cdp.identity.anew.apply import RulesPass
from cdp.identity.anew.preview import Cluster, Preview, RulesPreview, Sample
from cdp.identity.anew.queries import Pass
from cdp.identity.characters import fold
from cdp.identity.identifiers import Normaliser
from cdp.identity.model import Candidate, Decision, Identifier, Origin, Pair, Plan, Resolution, Resolved
from cdp.identity.propose import Proposed, held_apart, homes, propose
from cdp.identity.queries import blind_indexes, members_of, profiles_of
from cdp.identity.reindex import IndexPass
from cdp.identity.resolve import resolve
from cdp.identity.service import IdentityService
from cdp.identity.steward import Steward, Witness
from cdp.identity.watch import SetAside

__all__ = [
    "Candidate",
    "Cluster",
    "Decision",
    "Identifier",
    "IdentityService",
    "IndexPass",
    "Normaliser",
    "Origin",
    "Pair",
    "Pass",
    "Plan",
    "Preview",
    "Proposed",
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
    "fold",
    "held_apart",
    "homes",
    "members_of",
    "names",
    "profiles_of",
    "propose",
    "resolve",
]
