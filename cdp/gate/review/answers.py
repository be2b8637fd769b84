"""What officers ask of policies, and what they are answered."""

from __future__ import annotations

import msgspec

from cdp.clock import Micros
from cdp.consent import Record, Standing
from cdp.gate.explain import Explanation
from cdp.gate.model import Terms
from cdp.gate.review.differ import Flow, affected
from cdp.gate.review.widen import Widening
from cdp.policy import Change


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate would change.

    :param base: SHA-256 of the bundle in force.
    :param permits: what the text newly permits, also where that means nobody today.
    :param warnings: what is easily overlooked, a sentence each.
    """

    base: str
    candidate: str
    changes: tuple[Change, ...]
    permits: tuple[Widening, ...]
    flows: tuple[Flow, ...]
    warnings: tuple[str, ...]

    def people(self) -> dict[str, int]:
        """Return the sums that an audit entry names."""
        return affected(self.flows)


class DecisionQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked about a person.

    :param segment: whose definition reads inputs; empty for none.
    :param fields: as for an export; None for those that the rules name.
    :param export: explain what this past export decided; it says all the rest.
    :param as_of: explain what was so at an instant; None for now.
    """

    destination: str = ""
    purpose: str = ""
    segment: str = ""
    fields: tuple[str, ...] | None = None
    export: str = ""
    as_of: Micros | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What the export itself has on record about the person.

    :param outcome: ``released``, ``changed_meanwhile`` (decided for, then taken out) or ``absent``.
    :param plan: field → transform; empty unless released.
    :param leaf: whether the manifest has the leaf that this plan makes: ``present``, ``missing``, or
        ``no_key`` once the person was erased.
    :param fetched_at: starts of the fetches that delivered the person.
    """

    outcome: str
    plan: dict[str, str]
    leaf: str
    fetched_at: tuple[Micros, ...]


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """The answer.

    :param barred: reason code of what stands against everybody's data going there; empty for nothing.
    :param because: jurisdiction → ``controller``, ``recorded`` or ``no_place_recorded``.
    :param standing: the state of consent for the purpose, and ``record`` what it rests on.
    :param instead: of one denied: the purpose's variant, when it would be permitted without any inputs.
    :param in_segment: whether the person is in the segment asked about, as last evaluated; None if none.
    :param recorded: for a past export.
    :param limits: codes of what could not be reproduced.
    """

    destination: str
    purpose: str
    segment: str
    bundle: str
    at: Micros
    ledger_position: int
    terms: Terms
    explanation: Explanation
    barred: str
    because: dict[str, str]
    standing: Standing
    record: Record | None
    instead: str
    in_segment: bool | None
    recorded: Recorded | None
    limits: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """True when a row may leave, or might have."""
        return not self.barred and self.explanation.decision.allowed

    @property
    def reason(self) -> str:
        """The reason code of the outcome."""
        return self.barred or self.explanation.decision.reason
