"""Holding what was decided again against what is on record: pure.

Three things have to agree about each person: the outcome on record, the leaves in the manifest, and the
outcome of now. The order of the steps:

1. Of somebody erased since there is nothing to decide by: their leaves are carried. Of whom one identity was
   erased only, the leaves are carried when the outcome is another one.
2. Anybody else has the outcome on record (where retention deleted facts of then: by those on record), and the
   leaf of each of their identities says just that; who was withheld has no leaf.
3. Who was taken out (D) has leaves there, was decided for, and something happened to them between the ledger
   position and the commit that says so; nobody else to whom such a thing happened is left.
4. Leaves that were found at nobody's position are those of erased people, as many with each value as there
   are erased people on record with it.
5. The root over the replayed leaves and the carried ones is the root in the audit log.

Every difference that 1 does not explain is counted under a code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec
from pyroaring import BitMap

from cdp.gate import manifest

PERMITTED = "permitted"
UNRECORDED = "unrecorded"
_CONSENT, _OBJECTED = "consent_changed", "objected"
Members = Mapping[int, Sequence[int]]
"""profile_no → its identity numbers."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one page of people.

    :param outcome: profile_no → what its leaf holds, or the reason for which it was withheld.
    :param instead: the same by the places and ages on record, of people of whom some of these are gone.
    :param gone: identities that were erased since.
    :param positions: identity_no → where its leaf stands, of those whose proof key is there.
    :param taken_out: profiles that facts say had to be taken out; ``touched``: to whom anything happened
        between the two commits.
    """

    members: Members
    outcome: Mapping[int, bytes | str]
    instead: Mapping[int, bytes | str] = {}
    gone: BitMap
    positions: Mapping[int, bytes]
    taken_out: BitMap
    touched: BitMap


class Comparison:
    """Takes page after page, then tells what came of them.

    :param decided: the leaves of M; ``taken_out`` those of D, None where they are not known.
    :param classes: (identities, what their leaves hold), as recorded.
    :param withheld: reason → profiles, as recorded; None where it was not recorded.
    :param changed: the identities of D, as recorded; ``causes`` cause → profiles, None where not recorded.

    :ivar explained: code → people; ``problems``: code → differences.
    """

    def __init__(
        self,
        decided: manifest.Leaves,
        taken_out: Mapping[bytes, bytes] | None,
        classes: Sequence[tuple[BitMap, bytes]],
        withheld: Mapping[str, BitMap] | None,
        changed: BitMap,
        causes: Mapping[str, BitMap] | None,
    ) -> None:
        self._decided = decided
        self._taken_out = taken_out
        self._classes = classes
        self._withheld = withheld
        self._changed = changed
        self._causes = causes
        self._seen = BitMap()  # places of leaves of M
        self._seen_out = set[bytes]()
        self._edits: dict[bytes, bytes | None] = {}
        self._edits_out: dict[bytes, bytes | None] = {}
        self._owed: Counter[bytes] = Counter()  # leaves of whom there is no secret
        self._owed_out = self._classed = 0
        self.people = self.reproduced = self.erased = self.carried = 0
        self.explained: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()

    # -- a page ---------------------------------------------------------------------------------

    def take(self, page: Page) -> None:
        """Compare a page of people."""
        recorded = self._recorded(page)
        for no, numbers in page.members.items():
            self._person(page, no, numbers, recorded.get(no, UNRECORDED), page.outcome[no])
        self.people += len(page.members)

    def absent(self, people: int) -> None:
        """Count people of the segment who were no profile any more when it was decided."""
        self.people += people
        self.reproduced += people

    def _recorded(self, page: Page) -> dict[int, bytes | str]:
        people, found = BitMap(page.members), dict[int, bytes | str]()
        for reason, held in (self._withheld or {}).items():
            found.update(dict.fromkeys(held & people, reason))
        own = BitMap(number for numbers in page.members.values() for number in numbers)
        inside = [(value, held & own) for held, value in self._classes]
        self._classed += sum(len(held) for _, held in inside)
        for no, numbers in page.members.items():
            mine = BitMap(numbers)
            values = [value for value, held in inside if not mine.isdisjoint(held)]
            if values:
                whole = no not in found and any(mine <= held for _, held in inside)
                found[no] = values[0] if whole else UNRECORDED
        return found

    def _person(
        self, page: Page, no: int, numbers: Sequence[int], recorded: bytes | str, replayed: bytes | str
    ) -> None:
        lost = [number for number in numbers if number in page.gone]
        expired = replayed != recorded and page.instead.get(no) == recorded
        replayed = recorded if expired else replayed
        same = replayed == recorded
        carried = bool(lost) and (len(lost) == len(numbers) or not same)
        wanted = recorded if carried else replayed
        wrong = self._leaves(page, numbers, wanted if isinstance(wanted, bytes) else None)
        if not same and not carried:
            wrong = _difference(recorded, replayed)
        wrong = wrong or self._out(page, no, numbers, lost, recorded)
        if wrong:
            self.problems[wrong] += 1
        elif carried:
            self.erased += 1
            self.explained["erased" if len(lost) == len(numbers) else "partly_erased"] += 1
        else:
            self.reproduced += 1
            self.explained["facts_expired"] += expired

    def _leaves(self, page: Page, numbers: Sequence[int], wanted: bytes | None) -> str:
        """Compare the leaves of one person in M; returns a code, empty when they are as wanted."""
        wrong = ""
        for number in numbers:
            position = page.positions.get(number)
            if position is None:
                if number not in page.gone:
                    wrong = "key_lost"
                if wanted is not None:
                    self._owed[wanted] += 1
                continue
            place = self._decided.place(position)
            found = None if place is None else self._decided.value(place)
            if place is not None:
                self._seen.add(place)
                self.carried += number in page.gone
            if found != wanted:
                self._edits[position] = wanted
                wrong = (
                    "leaf_missing" if found is None else "leaf_too_many" if wanted is None else "leaf_other"
                )
        return wrong

    def _out(
        self, page: Page, no: int, numbers: Sequence[int], lost: Collection[int], recorded: bytes | str
    ) -> str:
        """Compare whether one person was taken out; returns a code, empty when nothing is wrong."""
        held = [number for number in numbers if number in self._changed]
        wrong = self._leaves_out(page, numbers)
        if wrong or not isinstance(recorded, bytes):
            return wrong or ("taken_out_unpermitted" if held else "")
        if held and len(held) < len(numbers):
            return "taken_out_in_part"
        if lost:
            return ""
        if not held:
            return "not_taken_out" if no in page.taken_out else ""
        if self._causes is None:
            return ""
        named = {cause for cause, people in self._causes.items() if no in people}
        told = _OBJECTED not in named or no in page.taken_out
        told &= _CONSENT not in named or no in page.touched
        return "" if named and told else "taken_out_unfounded"

    def _leaves_out(self, page: Page, numbers: Sequence[int]) -> str:
        if self._taken_out is None:
            return ""
        wrong = ""
        for number in numbers:
            wanted = manifest.TAKEN_OUT if number in self._changed else None
            position = page.positions.get(number)
            if position is None:
                self._owed_out += wanted is not None
                continue
            found = self._taken_out.get(position)
            if found is not None:
                self._seen_out.add(position)
                self.carried += number in page.gone
            if found != wanted:
                self._edits_out[position] = wanted
                wrong = "taken_out_leaf"
        return wrong

    # -- in the end -----------------------------------------------------------------------------

    def end(self) -> None:
        """Count the leaves that are at nobody's position (4), and identities of nobody who was chosen."""
        strange = sum(len(held) for held, _ in self._classes) - self._classed
        if strange:
            self.problems["unrecorded"] += strange
        free = Counter(
            self._decided.value(place) for place in range(len(self._decided)) if place not in self._seen
        )
        self._carry((free - self._owed).total(), (self._owed - free).total(), free.total())
        if self._taken_out is not None:
            left = len(self._taken_out) - len(self._seen_out)
            self._carry(max(0, left - self._owed_out), max(0, self._owed_out - left), left)

    def _carry(self, unknown: int, lacking: int, left: int) -> None:
        self.carried += left - unknown
        if unknown:
            self.problems["leaf_of_nobody"] += unknown
        if lacking:
            self.problems["leaf_of_erased_missing"] += lacking

    def root(self) -> bytes:
        """Return the root over the replayed leaves of M, the carried ones included."""
        return manifest.root(_edited(self._decided, self._edits))

    def changed_root(self) -> bytes | None:
        """Return the same of D; None where its leaves are not known."""
        return None if self._taken_out is None else manifest.root(_edited(self._taken_out, self._edits_out))


def _difference(recorded: bytes | str, replayed: bytes | str) -> str:
    """Return the code of two outcomes that differ: ``recorded:replayed``."""
    if isinstance(recorded, bytes) and isinstance(replayed, bytes):
        return "other_fields"
    one, other = (PERMITTED if isinstance(word, bytes) else word for word in (recorded, replayed))
    return f"{one}:{other}"


def _edited(leaves: Mapping[bytes, bytes], edits: Mapping[bytes, bytes | None]) -> Mapping[bytes, bytes]:
    if not edits:
        return leaves
    left = {position: value for position, value in leaves.items() if position not in edits}
    return left | {position: value for position, value in edits.items() if value is not None}
