"""The gate: the one exit. It decides what may leave, row by row and field by field, and renders it.

``Gate.authorise`` and ``Gate.render`` are its verbs; ``decide`` and ``compile_sets`` are the pure core,
and read every person alike.
"""

from cdp.gate.admit import Refusal
from cdp.gate.bind import bind
from cdp.gate.compile import compile_sets
from cdp.gate.decide import PERMITTED, decide, meet
from cdp.gate.deliveries import Audience, Change, Deliveries, Holding
from cdp.gate.explain import RuleFinding, condition_word, explain
from cdp.gate.facts import Laws
from cdp.gate.inside import CONTROLLER, Admitted, View, check_inside, refusal
from cdp.gate.issue import Recall
from cdp.gate.manifest import word as transform_word
from cdp.gate.many import Readable, Wanted
from cdp.gate.model import (
    Authorisation,
    Column,
    Decision,
    Facts,
    FactSets,
    Format,
    Mode,
    Partition,
    Released,
    Rendering,
    Request,
    Revealed,
    Terms,
    Truth,
    Value,
)
from cdp.gate.prove import Proof
from cdp.gate.prove import path as proof_path
from cdp.gate.release import Gate
from cdp.gate.replay.model import Progress, Replay, Report
from cdp.gate.replay.service import Replays
from cdp.gate.review import (
    DecisionQuestion,
    Difference,
    Explained,
    Recorded,
    Review,
    check_candidate,
    judge_case,
    run_policy_tests,
)
from cdp.gate.rows import UNSUBSCRIBE_URL
from cdp.gate.subject import Answer, Delivered, HeldEvent, HeldTrait, Subject

__all__ = [
    "CONTROLLER",
    "PERMITTED",
    "UNSUBSCRIBE_URL",
    "Admitted",
    "Answer",
    "Audience",
    "Authorisation",
    "Change",
    "Column",
    "Decision",
    "DecisionQuestion",
    "Delivered",
    "Deliveries",
    "Difference",
    "Explained",
    "FactSets",
    "Facts",
    "Format",
    "Gate",
    "HeldEvent",
    "HeldTrait",
    "Holding",
    "Laws",
    "Mode",
    "Partition",
    "Progress",
    "Proof",
    "Readable",
    "Recall",
    "Recorded",
    "Refusal",
    "Released",
    "Rendering",
    "Replay",
    "Replays",
    "Report",
    "Request",
    "Revealed",
    "Review",
    "RuleFinding",
    "Subject",
    "Terms",
    "Truth",
    "Value",
    "View",
    "Wanted",
    "bind",
    "check_candidate",
    "check_inside",
    "compile_sets",
    "condition_word",
    "decide",
    "explain",
    "judge_case",
    "meet",
    "proof_path",
    "refusal",
    "run_policy_tests",
    "transform_word",
]
