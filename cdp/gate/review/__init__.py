"""What officers ask of policies before and after they hold: tests, differences, explanations.

It asks the same core as an export does, and releases nothing: no value passes through here.
"""

from cdp.gate.review.answers import DecisionQuestion, Difference, Explained, Recorded
from cdp.gate.review.policy_tests import check_candidate, judge_case, run_policy_tests
from cdp.gate.review.service import Review

__all__ = [
    "DecisionQuestion",
    "Difference",
    "Explained",
    "Recorded",
    "Review",
    "check_candidate",
    "judge_case",
    "run_policy_tests",
]
