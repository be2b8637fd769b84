"""What a journal says, boiled down: of everything that can be taken back only the last word."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cdp.journal import Consent, Erasure, Line, Listed, Numbers, Readmission, Switched

COUNTER = "identity_no"


class Said(msgspec.Struct):
    """A journal's content but for its consent records, which are many and read page by page.

    :param below: identity numbers below it may have been handed out.
    :param tags: of everybody whom a line is about.
    :param listed: (black list, person) → the last line about them; of two at one instant the one that lists.
    """

    lines: int = 0
    below: int = 0
    tags: set[str] = msgspec.field(default_factory=set)
    erased: dict[str, Erasure | Readmission] = msgspec.field(default_factory=dict)
    listed: dict[tuple[str, str], Listed] = msgspec.field(default_factory=dict)
    switched: list[Switched] = msgspec.field(default_factory=list)

    @staticmethod
    def of(lines: Iterable[Line]) -> Said:
        """Return what lines say, in whatever order their segments come."""
        said = Said()
        for line in lines:
            said.lines += 1
            said._hear(line)
        return said

    @property
    def dead(self) -> list[Erasure]:
        """Who was erased, and not admitted again."""
        return [line for line in self.erased.values() if isinstance(line, Erasure)]

    def _hear(self, line: Line) -> None:
        if isinstance(line, Numbers):
            if line.counter == COUNTER:
                self.below = max(self.below, line.below)
        elif isinstance(line, Switched):
            self.switched.append(line)
        elif isinstance(line, Consent):
            self.tags.add(line.tag)
        elif isinstance(line, Listed):
            self.tags.add(line.tag)
            key, held = (line.black_list, line.tag), self.listed.get((line.black_list, line.tag))
            if held is None or (held.at, held.on) <= (line.at, line.on):
                self.listed[key] = line
        elif isinstance(line, Erasure | Readmission):
            self.tags.add(line.tag)
            if line.tag not in self.erased or self.erased[line.tag].at <= line.at:
                self.erased[line.tag] = line
