"""What keeps two records apart however much else agrees: a household shares nearly everything.

The weights add up as if the fields were independent, which those of a family are not: a name, an address and
a telephone number shared by many agree together. So

1. what a household shares (``shared_fields``) counts up to ``HOUSEHOLD`` only, prior included; the rest must
   come from what is somebody's own, and a pair of which nothing of one's own speaks for it is forgotten;
2. where the fields of an address (``place_fields``) together speak against a pair, they count as the one of
   them that does most: who moved has another street, postcode and town by one event;
3. a pair is not joined, and goes to a steward, when (``Own.conflicts``)
   - the given names (or, where there is only a full name, all words but one) differ, or one is
     but the other's family name: twins, couples; only the same number of an identity says otherwise;
   - the given names are but near, or one an initial, and nothing else of one's own agrees: brothers;
   - the family names differ, and nothing else of one's own agrees, nor the telephone number: namesakes;
   - the birth dates differ by more than a typo: father and son of one name; the same number, or one's own
     e-mail address with the same given name, says otherwise;
   - the numbers of identity differ, unless given name and birth date are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cdp.matching.compare import ELSE, Agreement
from cdp.matching.model import FieldKind, MatchField

_Mask = npt.NDArray[np.bool_]
_SAME_NUMBER = ("exact", "typo", "two typos")
_SAME_GIVEN = ("exact", "typo", "short form", "swapped", "initial", "near")
_SAME_FULL = ("exact", "same words", "words within", "typo", "near")
_SHARED = frozenset({
    FieldKind.family_name, FieldKind.phone, FieldKind.street, FieldKind.postal_code, FieldKind.city,
    FieldKind.region, FieldKind.number,
})  # fmt: skip
_PLACE = frozenset({
    FieldKind.street, FieldKind.postal_code, FieldKind.city, FieldKind.region, FieldKind.number,
})  # fmt: skip
HOUSEHOLD = 2.0  # log2 of the odds


def shared_fields(fields: Sequence[MatchField]) -> list[int]:
    """Return the fields that a household shares; none where there is nothing else to tell two people by."""
    found = [number for number, field in enumerate(fields) if field.kind in _SHARED]
    return found if len(found) < len(fields) else []


def place_fields(fields: Sequence[MatchField]) -> list[int]:
    """Return the fields that differ all at once when somebody has moved: it counts against once."""
    return [number for number, field in enumerate(fields) if field.kind in _PLACE]


class Own:
    """Which pairs have what of their own; ``places`` is the level of each field of each pair (-1 unknown)."""

    def __init__(
        self,
        places: npt.NDArray[np.int64],
        fields: Sequence[MatchField],
        levels: Sequence[Sequence[Agreement]],
    ) -> None:
        self._places = places
        self._kinds = [field.kind for field in fields]
        self._levels = levels
        self.number = self._met(FieldKind.id_number, *_SAME_NUMBER)
        self.address = self._met(FieldKind.email, "exact", "typo")
        self.phone = self._met(FieldKind.phone, "exact")
        self.born = self._met(FieldKind.birth_date, "exact", "exact 1 January", "typo")
        if FieldKind.given_name in self._kinds:
            self.given = self._met(FieldKind.given_name, *_SAME_GIVEN)
            self.faint = self._met(FieldKind.given_name, "near", "initial")
            self.other_given = self._met(FieldKind.given_name, ELSE) | (
                self._met(FieldKind.given_name, "swapped") & self._met(FieldKind.family_name, ELSE)
            )
        else:
            self.given = self._met(FieldKind.full_name, *_SAME_FULL)
            self.faint = self._met(FieldKind.full_name, "near")
            self.other_given = self._met(FieldKind.full_name, "one word", ELSE)

    def _met(self, kind: FieldKind, *names: str) -> _Mask:
        mask = np.zeros(len(self._places), dtype=bool)
        for number, one in enumerate(self._kinds):
            if one is kind:
                wanted = [place for place, level in enumerate(self._levels[number]) if level.name in names]
                mask |= np.isin(self._places[:, number], wanted)
        return mask

    def conflicts(self) -> _Mask:
        """Return which pairs say what cannot both be."""
        result: _Mask = (
            (self.other_given & ~self.number)
            | (self.faint & ~self.number & ~self.address & ~self.born)
            | (
                self._met(FieldKind.family_name, ELSE)
                & ~self.number
                & ~self.address
                & ~self.born
                & ~self.phone
            )
            | (self._met(FieldKind.birth_date, ELSE) & ~self.number & ~(self.address & self.given))
            | (self._met(FieldKind.id_number, ELSE) & ~(self.given & self.born))
        )
        return result
