"""What of an event is collected of people who refused that: records of ``intake.yaml``."""

from __future__ import annotations

from typing import Literal

import msgspec

QUARANTINE_DAYS = 30
IntakeAction = Literal["keep", "strip", "drop"]
IntakeCondition = Literal["refused", "not_granted"]


class IntakeRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule: from these sources, of people who stand so on this purpose, collect this much.

    :param names: sources by name. ``kinds``: sources by kind. One of them fitting is enough.
    :param when: ``refused`` for people with a restraint on the purpose, ``not_granted`` for everybody
        without a grant that holds, people of whom nothing is recorded among them.
    """

    names: frozenset[str]
    kinds: frozenset[str]
    purpose: str
    when: IntakeCondition
    action: IntakeAction

    def covers(self, name: str, kind: str) -> bool:
        """True when the rule is about a source of this name and kind."""
        return name in self.names or kind in self.kinds
