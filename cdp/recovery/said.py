"""What a journal says, boiled down: of everything that can be taken back only the last word.

Invariants: a word that lifts is the last one only where it stands after every one that restrains the same
subject. Instants of lines are in the order of commits (``Committer``), so no host's clock can put a lift
behind a restraint; where two stand at one instant the restraint is the last word. Lines of before there was
such an order are dated by hosts' clocks: those that lift count for nothing, and of policies each may be the
last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from cdp.clock import Micros
from cdp.journal import (
    ORDERED,
    Apart,
    Consent,
    Erasure,
    Line,
    Listed,
    Numbers,
    Ordered,
    Readmission,
    Segment,
    Switched,
    Thing,
    lifts,
)

COUNTER = "identity_no"
Subject = TypeVar("Subject")
Word = TypeVar("Word", bound=Ordered)


class Said(msgspec.Struct):
    """A journal's content but for its consent records, which are many and read page by page.

    :param below: identity numbers below it may have been handed out.
    :param latest: the last instant that a line was given.
    :param tags: of everybody whom a line is about.
    :param listed: (black list, person) → the last line about them.
    :param switched: (thing, which) → the last line about it.
    :param apart: every line about links, in no order.
    :param policies: the tags of the bundles that may be the one last in force.
    """

    lines: int = 0
    below: int = 0
    latest: Micros = 0
    tags: set[str] = msgspec.field(default_factory=set)
    erased: dict[str, Erasure | Readmission] = msgspec.field(default_factory=dict)
    listed: dict[tuple[str, str], Listed] = msgspec.field(default_factory=dict)
    switched: dict[tuple[Thing, str], Switched] = msgspec.field(default_factory=dict)
    apart: list[Apart] = msgspec.field(default_factory=list)
    policies: set[str] = msgspec.field(default_factory=set)
    _policies_at: Micros = 0
    _ordered: bool = False

    @staticmethod
    def of(lines: Iterable[Line]) -> Said:
        """Return what lines say, in whatever order their segments come; each segment begins with its head."""
        said = Said()
        for line in lines:
            said.lines += 1
            said._hear(line)
        return said

    @property
    def dead(self) -> list[Erasure]:
        """Who was erased, and not admitted again."""
        return [line for line in self.erased.values() if isinstance(line, Erasure)]

    def ended(self, thing: Thing, tag: str) -> bool:
        """True when the last word about something is that it was put out of use."""
        last = self.switched.get((thing, tag))
        return last is not None and not last.on

    def _hear(self, line: Line) -> None:
        if isinstance(line, Segment):
            self._ordered = line.format >= ORDERED
        elif isinstance(line, Numbers):
            if line.counter == COUNTER:
                self.below = max(self.below, line.below)
        elif isinstance(line, Consent):
            self.tags.add(line.tag)
        else:
            self._weigh(line)

    def _weigh(self, line: Ordered) -> None:
        self.latest = max(self.latest, line.at)
        if isinstance(line, Apart):
            self.tags.update(line.some, line.others)
            self.apart.append(line)
            return
        if not isinstance(line, Switched):
            self.tags.add(line.tag)
        if lifts(line) and not self._ordered:
            return
        if isinstance(line, Listed):
            _keep(self.listed, (line.black_list, line.tag), line)
        elif isinstance(line, Erasure | Readmission):
            _keep(self.erased, line.tag, line)
        elif line.thing == "policies":
            at = line.at if self._ordered else 0
            if at > self._policies_at:
                self.policies.clear()
            if at >= self._policies_at:
                self.policies.add(line.tag)
                self._policies_at = at
        else:
            _keep(self.switched, (line.thing, line.tag), line)


def _keep(words: dict[Subject, Word], subject: Subject, line: Word) -> None:
    """Keep the later of two words; of two at one instant the one that restrains."""
    held = words.get(subject)
    if held is None or (held.at, not lifts(held)) < (line.at, not lifts(line)):
        words[subject] = line
