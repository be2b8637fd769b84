"""The derived states of one purpose over everybody, as columns: sets of people come from them at once.

Invariants: ``profile_nos`` ascend and are distinct; every column has a place for each. A profile about
which nothing was said of the purpose is absent. Age is applied when a set is asked for, never stored.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
_COLUMNS = (
    ("profile_nos", np.int64),
    ("states", np.int8),
    ("event_types", np.int8),
    ("notice_current", np.bool_),
    ("granted_at", np.int64),
    ("expires_at", np.int64),
    ("notice_given", np.bool_),
)


class Apart(msgspec.Struct, frozen=True, kw_only=True):
    """What profiles granted to one of several recipients for which they granted different things.

    :param profile_nos: ``(n,)``; all other columns are aligned with it, and as those of ``Standings``.
    """

    profile_nos: NDArray[np.int64]
    event_types: NDArray[np.int8]
    notice_current: NDArray[np.bool_]
    granted_at: NDArray[np.int64]
    expires_at: NDArray[np.int64]

    @staticmethod
    def gather(named: Iterable[tuple[int, Iterable[Named]]]) -> dict[str, Apart]:
        """Return recipient → what profiles granted to it, of (profile_no, what holds for each)."""
        rows: dict[str, list[tuple[int, ...]]] = {}
        for no, several in named:
            for one in several:
                ends = NEVER if one.expires_at is None else one.expires_at
                row = no, EVENT_TYPES.index(one.event_type), one.notice_current, one.granted_at, ends
                rows.setdefault(one.recipient, []).append(row)
        return {name: Apart._of(np.array(found, np.int64)) for name, found in rows.items()}

    @staticmethod
    def _of(numbers: NDArray[np.int64]) -> Apart:
        nos, kinds, current, given, ends = numbers.T
        return Apart(
            profile_nos=nos,
            event_types=kinds.astype(np.int8),
            notice_current=current.astype(np.bool_),
            granted_at=given,
            expires_at=ends,
        )

    def only(self, mask: NDArray[np.bool_]) -> Apart:
        """Return the rows where ``mask`` is True."""
        return Apart(**{name: getattr(self, name)[mask] for name in self.__struct_fields__})

    def plus(self, other: Apart) -> Apart:
        """Return the rows of both."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in self.__struct_fields__}
        return Apart(**{name: np.concatenate(pair) for name, pair in pairs.items()})


class Standings(msgspec.Struct, frozen=True, kw_only=True):
    """The states of one purpose.

    :param profile_nos: ``(n,)``, ascending; all other columns are aligned with it.
    :param states: index into ``STATES``; ``event_types`` into ``EVENT_TYPES``.
    :param notice_current: 1 or 0.
    :param granted_at: microseconds; 0 where nothing was granted.
    :param expires_at: microseconds; ``NEVER`` where nothing ends.
    :param notice_given: 1 or 0.
    :param recipients: the only recipients that grants name → the profiles whose grants name just these.
    :param apart: recipient → what holds for it, where it names one of several for which different things
        hold: there the columns above hold the oldest, the last end, the weakest.
    """

    profile_nos: NDArray[np.int64]
    states: NDArray[np.int8]
    event_types: NDArray[np.int8]
    notice_current: NDArray[np.bool_]
    granted_at: NDArray[np.int64]
    expires_at: NDArray[np.int64]
    notice_given: NDArray[np.bool_]
    recipients: Mapping[frozenset[str], BitMap]
    apart: Mapping[str, Apart]

    @staticmethod
    def of(
        numbers: NDArray[np.int64], recipients: Mapping[frozenset[str], BitMap], apart: Mapping[str, Apart]
    ) -> Standings:
        """Make columns of rows in the order of the parameters above, the profiles in any order."""
        if np.any(numbers[1:, 0] <= numbers[:-1, 0]):
            numbers = numbers[np.argsort(numbers[:, 0], kind="stable")]
        columns: dict[str, Any] = {
            name: numbers[:, at].astype(kind) for at, (name, kind) in enumerate(_COLUMNS)
        }
        return Standings(**columns, recipients=recipients, apart=apart)

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
        recipients: dict[frozenset[str], BitMap] = {}
        for no, one in states.items():
            if one.recipients:
                recipients.setdefault(frozenset(one.recipients), BitMap()).add(no)
        numbers = np.array(rows, np.int64).reshape(-1, len(_COLUMNS))
        return Standings.of(numbers, recipients, Apart.gather((no, one.named) for no, one in states.items()))

    def replaced(self, profiles: BitMap, by: Standings) -> Standings:
        """Return these states with those of ``profiles`` forgotten and the ones in ``by`` instead."""
        left = ~_in(self.profile_nos, profiles)
        places = np.searchsorted(self.profile_nos[left], by.profile_nos)
        columns: dict[str, Any] = {
            name: np.insert(getattr(self, name)[left], places, getattr(by, name)) for name, _ in _COLUMNS
        }
        recipients = {names: people - profiles for names, people in self.recipients.items()}
        for names, people in by.recipients.items():
            recipients[names] = recipients.get(names, BitMap()) | people
        apart = {name: one.only(~_in(one.profile_nos, profiles)) for name, one in self.apart.items()}
        for name, one in by.apart.items():
            apart[name] = apart[name].plus(one) if name in apart else one
        return Standings(
            **columns,
            recipients={names: people for names, people in recipients.items() if people},
            apart={name: one for name, one in apart.items() if len(one.profile_nos)},
        )

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
        rows = self._numbers()[_in(self.profile_nos, profiles)]
        own = grants[_in(grants[:, 0], profiles)]
        at = np.searchsorted(rows[:, 0], own[:, 0])
        ends = own[:, 2]
        if validity_days is not None:
            ends = np.minimum(ends, own[:, 1] + validity_days * DAY)
        by_notice = np.array([*statuses, "unknown"])[own[:, 3]]  # the last place is also the place -1
        stale = (ends <= now) | (by_notice == "superseded")
        rows[at, 1] = np.where(stale, STATES.index("stale"), STATES.index("granted"))
        rows[at, 3] = by_notice == "current"
        rows[at, 4], rows[at, 5] = own[:, 1], ends
        rows[:, 6] = _in(rows[:, 0], informed)
        return Standings.of(rows, {}, {})

    def _numbers(self) -> NDArray[np.int64]:
        return np.stack([getattr(self, name) for name, _ in _COLUMNS], axis=1)

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
        held = self._is("granted") & (self.expires_at > now)
        mask = held & self._given(self, since, event_type)
        elsewhere = (people for names, people in self.recipients.items() if recipient not in names)
        others = BitMap.union(BitMap(), *elsewhere)
        alike = self._people(mask) - others - self._spread()
        one = self.apart.get(recipient)
        if one is None:
            return alike
        own = (one.expires_at > now) & self._given(one, since, event_type)
        return alike | (_people(one.profile_nos[own]) & self._people(held))

    def stale(self, now: Micros) -> BitMap:
        """Return the people whose grant has lost its force."""
        return self._people(self._is("stale") | (self._is("granted") & (self.expires_at <= now)))

    def on_current_notice(self, recipient: str) -> BitMap:
        """Return the people whose grants rest on the notice in force: those for ``recipient`` if named."""
        alike = self._people(self.notice_current)
        one = self.apart.get(recipient)
        if one is None:
            return alike
        granted = self._people(self._is("granted")) & _people(one.profile_nos)
        return (alike - granted) | (granted & _people(one.profile_nos[one.notice_current]))

    def informed(self) -> BitMap:
        """Return the people who were given the notice as it is now."""
        return self._people(self.notice_given)

    def valid_until(self, now: Micros, ages: Iterable[Micros], people: BitMap) -> Micros | None:
        """Return when the first grant among ``people`` in force loses its force by age alone.

        :param ages: the longest that a grant may have been given, for each rule that says so.
        """
        mask = self._is("granted") & (self.expires_at > now) & _in(self.profile_nos, people)
        if not mask.any():
            return None
        held = self._people(mask)
        several = [one.only(_in(one.profile_nos, held)) for one in self.apart.values()]
        ends = [int(self.expires_at[mask].min())]
        ends += [int(one.expires_at.min(where=one.expires_at > now, initial=NEVER)) for one in several]
        given = np.concatenate([self.granted_at[mask], *(one.granted_at for one in several)])
        for age in ages:  # whose age is over already has lost its force by it
            young = given[given >= now - age]
            ends += [int(young.min()) + age + 1] if young.size else []
        first = min(ends)
        return None if first == NEVER else first

    def _spread(self) -> BitMap:
        """Return the people whose grants hold different things for different recipients."""
        return BitMap.union(BitMap(), *(_people(one.profile_nos) for one in self.apart.values()))

    @staticmethod
    def _given(
        held: Standings | Apart, since: Micros | None, event_type: EventType | None
    ) -> NDArray[np.bool_] | np.bool_:
        young = np.True_ if since is None else held.granted_at >= since
        fitting = np.True_ if event_type is None else held.event_types == EVENT_TYPES.index(event_type)
        return young & fitting

    def _is(self, state: str) -> NDArray[np.bool_]:
        return np.equal(self.states, STATES.index(state))

    def _people(self, mask: NDArray[np.bool_]) -> BitMap:
        return _people(self.profile_nos[mask])


def _people(profile_nos: NDArray[np.int64]) -> BitMap:
    return BitMap(array("I", profile_nos.astype(np.uint32).tobytes()))


def _in(profile_nos: NDArray[np.int64], people: BitMap) -> NDArray[np.bool_]:
    """Return which of ``profile_nos`` are among ``people``."""
    wanted = np.append(np.array(people.to_array(), np.int64), NEVER)  # which no profile bears
    found: NDArray[np.bool_] = wanted[np.searchsorted(wanted, profile_nos)] == profile_nos
    return found
