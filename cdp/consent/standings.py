"""The derived states of one purpose over everybody, as columns: sets of people come from them at once.

Invariants: ``profile_nos`` ascend and are distinct; every column has a place for each. A profile about
which nothing was said of the purpose is absent. Age is applied when a set is asked for, never stored.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.consent.model import RESTRAINING, EventType, Standing

STATES = ("granted", "stale", "missing", *sorted(RESTRAINING))
EVENT_TYPES: tuple[EventType, ...] = ("regular", "explicit", "separate")
NEVER = (1 << 63) - 1
"""Where ``expires_at`` holds nothing."""


class Standings(msgspec.Struct, frozen=True, kw_only=True):
    """The states of one purpose.

    :param profile_nos: ``(n,)``, ascending; all other columns are aligned with it.
    :param states: index into ``STATES``; ``event_types`` into ``EVENT_TYPES``.
    :param notice_current: 1 or 0.
    :param granted_at: microseconds; 0 where nothing was granted.
    :param expires_at: microseconds; ``NEVER`` where nothing ends.
    :param recipients: profile_no → the only recipients that a grant names, where it names some.
    """

    profile_nos: NDArray[np.int64]
    states: NDArray[np.int8]
    event_types: NDArray[np.int8]
    notice_current: NDArray[np.bool_]
    granted_at: NDArray[np.int64]
    expires_at: NDArray[np.int64]
    recipients: Mapping[int, frozenset[str]]

    @staticmethod
    def of(numbers: NDArray[np.int64], recipients: Mapping[int, frozenset[str]]) -> Standings:
        """Make columns of rows in the order of the parameters above, the profiles in any order."""
        ordered = numbers[np.argsort(numbers[:, 0], kind="stable")]
        return Standings(
            profile_nos=ordered[:, 0].copy(),
            states=ordered[:, 1].astype(np.int8),
            event_types=ordered[:, 2].astype(np.int8),
            notice_current=ordered[:, 3].astype(np.bool_),
            granted_at=ordered[:, 4].copy(),
            expires_at=ordered[:, 5].copy(),
            recipients=recipients,
        )

    @staticmethod
    def gather(states: Mapping[int, Standing]) -> Standings:
        """Make columns of profile_no → state."""
        rows = [
            (
                no,
                STATES.index(one.state),
                EVENT_TYPES.index(one.event_type),
                one.notice_current,
                one.granted_at or 0,
                NEVER if one.expires_at is None else one.expires_at,
            )
            for no, one in states.items()
        ]
        named = {no: frozenset(one.recipients) for no, one in states.items() if one.recipients}
        return Standings.of(np.array(rows, np.int64).reshape(-1, 6), named)

    def replaced(self, profiles: BitMap, by: Standings) -> Standings:
        """Return these states with those of ``profiles`` forgotten and the ones in ``by`` instead."""
        kept = ~np.isin(self.profile_nos, np.array(profiles.to_array()))
        numbers = np.concatenate([self._numbers()[kept], by._numbers()])
        named = {no: names for no, names in self.recipients.items() if no not in profiles}
        return Standings.of(numbers, {**named, **by.recipients})

    def _numbers(self) -> NDArray[np.int64]:
        return np.stack(
            [
                self.profile_nos,
                self.states,
                self.event_types,
                self.notice_current,
                self.granted_at,
                self.expires_at,
            ],
            axis=1,
        )

    # -- sets -----------------------------------------------------------------------------------

    def restrained(self) -> dict[str, BitMap]:
        """Return state → people, for every restraining state."""
        found = {state: self._people(self._is(state)) for state in sorted(RESTRAINING)}
        return {state: people for state, people in found.items() if people}

    def granted(
        self,
        now: Micros,
        recipient: str,
        *,
        since: Micros | None = None,
        event_type: EventType | None = None,
    ) -> BitMap:
        """Return the people with a grant in force for ``recipient``.

        :param since: only of those whose oldest grant is not older.
        :param event_type: only of those whose grants are at least of exactly this kind.
        """
        mask = self._is("granted") & (self.expires_at > now)
        if since is not None:
            mask &= self.granted_at >= since
        if event_type is not None:
            mask &= self.event_types == EVENT_TYPES.index(event_type)
        others = (no for no, names in self.recipients.items() if recipient not in names)
        return self._people(mask) - BitMap(others)

    def stale(self, now: Micros) -> BitMap:
        """Return the people whose grant has lost its force."""
        return self._people(self._is("stale") | (self._is("granted") & (self.expires_at <= now)))

    def on_current_notice(self) -> BitMap:
        """Return the people whose grants rest on the notice in force."""
        return self._people(self.notice_current)

    def valid_until(self, now: Micros, ages: Iterable[Micros], people: BitMap) -> Micros | None:
        """Return when the first grant among ``people`` in force loses its force by age alone.

        :param ages: the longest that a grant may have been given, for each rule that says so.
        """
        mask = self._is("granted") & (self.expires_at > now)
        if len(people) < len(self.profile_nos):
            mask &= np.isin(self.profile_nos, np.array(people.to_array()))
        if not mask.any():
            return None
        ends = [int(self.expires_at[mask].min())]
        oldest = int(self.granted_at[mask].min())
        ends += [oldest + age + 1 for age in ages]
        first = min(ends)
        return None if first == NEVER else first

    def _is(self, state: str) -> NDArray[np.bool_]:
        return np.equal(self.states, STATES.index(state))

    def _people(self, mask: NDArray[np.bool_]) -> BitMap:
        return BitMap(array("I", self.profile_nos[mask].astype(np.uint32).tobytes()))
