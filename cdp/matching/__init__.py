"""People who are probably one: found by their traits, linked with evidence or put before a steward."""

from cdp.matching.choose import Chooser
from cdp.matching.kinds import fields_of, kind_of
from cdp.matching.match import match
from cdp.matching.model import FieldKind, Matched, MatchField, MatchSettings, Model, Pair, Step
from cdp.matching.outcome import Settler
from cdp.matching.queries import forget as forget_pairs
from cdp.matching.rejected import reject_again
from cdp.matching.review import Decision, Place, Reviewed, ReviewQueue
from cdp.matching.runs import Evidence, PairState, Progress, Proposal, Run, RunState
from cdp.matching.service import Matching
from cdp.matching.watch import Large, Watch

__all__ = [
    "Chooser",
    "Decision",
    "Evidence",
    "FieldKind",
    "Large",
    "MatchField",
    "MatchSettings",
    "Matched",
    "Matching",
    "Model",
    "Pair",
    "PairState",
    "Place",
    "Progress",
    "Proposal",
    "ReviewQueue",
    "Reviewed",
    "Run",
    "RunState",
    "Settler",
    "Step",
    "Watch",
    "fields_of",
    "forget_pairs",
    "kind_of",
    "match",
    "reject_again",
]
