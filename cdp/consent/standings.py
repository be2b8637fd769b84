"""The derived states of one purpose over everybody, as columns: sets of people come from them at once.

Invariants: ``profile_nos`` ascend and are distinct; every column has a place for each. A profile about
which nothing was said of the purpose is absent. Age is applied when a set is asked for, never stored.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from cdp.clock import DAY, Micros
from cdp.consent.grade import NoticeStatus
from cdp.consent.model import RESTRAINING, EventType, Named, Standing

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
    :param notice_given: 1 or 0.
    :param recipients: profile_no → the only recipients that grants name, where they name some.
    :param named: profile_no → what holds for each of them, where that differs: there the columns hold the
        oldest, the last end, the weakest.
    """

    profile_nos: NDArray[np.int64]
    states: NDArray[np.int8]
    event_types: NDArray[np.int8]
    notice_current: NDArray[np.bool_]
    granted_at: NDArray[np.int64]
    expires_at: NDArray[np.int64]
    notice_given: NDArray[np.bool_]
    recipients: Mapping[int, frozenset[str]]
    named: Mapping[int, tuple[Named, ...]]

    @staticmethod
    def of(
        numbers: NDArray[np.int64],
        recipients: Mapping[int, frozenset[str]],
        named: Mapping[int, tuple[Named, ...]],
    ) -> Standings:
        """Make columns of rows in the order of the parameters above, the profiles in any order."""
        ordered = numbers[np.argsort(numbers[:, 0], kind="stable")]
        return Standings(
            profile_nos=ordered[:, 0].copy(),
            states=ordered[:, 1].astype(np.int8),
            event_types=ordered[:, 2].astype(np.int8),
            notice_current=ordered[:, 3].astype(np.bool_),
            granted_at=ordered[:, 4].copy(),
            expires_at=ordered[:, 5].copy(),
            notice_given=ordered[:, 6].astype(np.bool_),
            recipients=recipients,
            named=named,
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
                one.notice_given is not None,
            )
            for no, one in states.items()
        ]
        return Standings.of(
            np.array(rows, np.int64).reshape(-1, 7),
            {no: frozenset(one.recipients) for no, one in states.items() if one.recipients},
            {no: one.named for no, one in states.items() if one.named},
        )

    def replaced(self, profiles: BitMap, by: Standings) -> Standings:
        """Return these states with those of ``profiles`` forgotten and the ones in ``by`` instead."""
        kept = ~np.isin(self.profile_nos, np.array(profiles.to_array()))
        numbers = np.concatenate([self._numbers()[kept], by._numbers()])
        recipients = {no: names for no, names in self.recipients.items() if no not in profiles}
        named = {no: several for no, several in self.named.items() if no not in profiles}
        return Standings.of(numbers, {**recipients, **by.recipients}, {**named, **by.named})

    def regraded(
        self,
        profiles: BitMap,
        grants: NDArray[np.int64],
        statuses: Sequence[NoticeStatus],
        validity_days: int | None,
        informed: BitMap,
        now: Micros,
    ) -> Standings:
        """Return the states of ``profiles`` by other notices and another validity, as ``grade.py`` would.

        :param grants: ``(n, 4)``, as ``queries.resting_grants`` returns them; one for each profile.
        :param statuses: of each notice that a grant may be on.
        :param informed: profiles that were given the notice as it is now.
        """
        wanted = np.array(profiles.to_array(), np.int64)
        rows = self._numbers()[np.isin(self.profile_nos, wanted)]
        own = grants[np.isin(grants[:, 0], wanted)]
        at = np.searchsorted(rows[:, 0], own[:, 0])
        ends = own[:, 2]
        if validity_days is not None:
            ends = np.minimum(ends, own[:, 1] + validity_days * DAY)
        by_notice = np.array([*statuses, "unknown"])[own[:, 3]]  # the last place is also the place -1
        stale = (ends <= now) | (by_notice == "superseded")
        rows[at, 1] = np.where(stale, STATES.index("stale"), STATES.index("granted"))
        rows[at, 3] = by_notice == "current"
        rows[at, 4], rows[at, 5] = own[:, 1], ends
        rows[:, 6] = np.isin(rows[:, 0], np.array(informed.to_array(), np.int64))
        return Standings.of(rows, {}, {})

    def _numbers(self) -> NDArray[np.int64]:
        return np.stack(
            [
                self.profile_nos,
                self.states,
                self.event_types,
                self.notice_current,
                self.granted_at,
                self.expires_at,
                self.notice_given,
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
        apart = self._people(mask) & BitMap(self.named)
        if since is not None:
            mask &= self.granted_at >= since
        if event_type is not None:
            mask &= self.event_types == EVENT_TYPES.index(event_type)
        others = (no for no, names in self.recipients.items() if recipient not in names)
        alike = self._people(mask) - BitMap(others) - apart
        return alike | self._apart(
            apart,
            recipient,
            lambda one: (
                (one.expires_at is None or one.expires_at > now)
                and (since is None or one.granted_at >= since)
                and event_type in {None, one.event_type}
            ),
        )

    def stale(self, now: Micros) -> BitMap:
        """Return the people whose grant has lost its force."""
        return self._people(self._is("stale") | (self._is("granted") & (self.expires_at <= now)))

    def on_current_notice(self, recipient: str) -> BitMap:
        """Return the people whose grants rest on the notice in force: those for ``recipient`` if named."""
        named = (no for no in self.named if recipient in self.recipients[no])
        apart = self._people(self._is("granted")) & BitMap(named)
        alike = self._people(self.notice_current) - apart
        return alike | self._apart(apart, recipient, lambda one: one.notice_current)

    def informed(self) -> BitMap:
        """Return the people who were given the notice as it is now."""
        return self._people(self.notice_given)

    def valid_until(self, now: Micros, ages: Iterable[Micros], people: BitMap) -> Micros | None:
        """Return when the first grant among ``people`` in force loses its force by age alone.

        :param ages: the longest that a grant may have been given, for each rule that says so.
        """
        mask = self._is("granted") & (self.expires_at > now)
        if len(people) < len(self.profile_nos):
            mask &= np.isin(self.profile_nos, np.array(people.to_array()))
        if not mask.any():
            return None
        several = [one for no in self._people(mask) & BitMap(self.named) for one in self.named[no]]
        ends = [int(self.expires_at[mask].min())]
        ends += [one.expires_at for one in several if one.expires_at is not None and one.expires_at > now]
        given = np.append(self.granted_at[mask], [one.granted_at for one in several]).astype(np.int64)
        for age in ages:  # whose age is over already has lost its force by it
            young = given[given >= now - age]
            ends += [int(young.min()) + age + 1] if young.size else []
        first = min(ends)
        return None if first == NEVER else first

    def _apart(self, people: BitMap, recipient: str, holds: Callable[[Named], bool]) -> BitMap:
        """Return those of ``people`` of whose grant for ``recipient`` something holds."""
        return BitMap(
            no for no in people if any(one.recipient == recipient and holds(one) for one in self.named[no])
        )

    def _is(self, state: str) -> NDArray[np.bool_]:
        return np.equal(self.states, STATES.index(state))

    def _people(self, mask: NDArray[np.bool_]) -> BitMap:
        return BitMap(array("I", self.profile_nos[mask].astype(np.uint32).tobytes()))
