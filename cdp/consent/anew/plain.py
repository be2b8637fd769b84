"""The states of many people at once, as columns: pure (privacy.md, Consent, rules 1, 2, 3, 6 and 7).

For profiles of one identity, whose number they bear, about which nothing *intricate* was said of a purpose
or what lies above it: no named recipients, no ``Sec-GPC``, no restriction, no consent string. That is most
people. The steps are those of ``precedence.py`` and ``grade.py``; a property test compares them:

1. A restraint binds unless an act for its purpose or one between it and ours ranks above it; of those that
   bind the most severe decides.
2. Else the newest act for exactly this purpose that ranks above every restraint.
3. Else, where there never was a restraint, the first grant told.
4. Expired, or given on a notice that has materially changed, is stale.
5. Who was told: since the first notice that says the same as now, of a person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from cdp.clock import DAY, Micros
from cdp.consent.grade import NoticeStatus, version_status
from cdp.consent.model import Standing, State
from cdp.consent.precedence import SEVERITY
from cdp.consent.standings import EVENT_TYPES, NEVER
from cdp.policy import Purpose, lineage

INTRICATE, INFORMED, ACT, REPORT, RESTRAINT = range(5)
"""Kinds of records: an act may lift, a report is any other grant; restraints are numbered on by severity."""
_EVER = -NEVER

Numbers = NDArray[np.int64]


class Said(msgspec.Struct, frozen=True):
    """Records as columns, all ``(n,)``.

    :param purpose: place in ``purposes``; ``notice``: place in ``notices``, -1 for another.
    :param effective: when it took effect; ``ends``: its own end, ``NEVER`` where it has none.
    """

    purposes: Sequence[str]
    notices: Sequence[tuple[str, int]]
    identity: Numbers
    purpose: Numbers
    kind: Numbers
    record: Numbers
    effective: Numbers
    received: Numbers
    ends: Numbers
    notice: Numbers
    event_type: Numbers

    def where(self, mask: NDArray[np.bool_]) -> Said:
        """Return some of the records."""
        columns = (getattr(self, name)[mask] for name in self.__struct_fields__[2:])
        return Said(self.purposes, self.notices, *columns)


def states(
    purpose: Purpose, said: Said, alone: Numbers, devices: Collection[int], now: Micros
) -> tuple[dict[int, Standing], Numbers]:
    """Return (identity_no → state that is kept, those about whom it takes more than this).

    :param said: all records of some identities about the purpose and what lies above it, others too.
    :param alone: identities that are a profile by themselves, ascending.
    :param devices: those that are devices.
    """
    line = lineage(purpose.key)
    places = [place for place, key in enumerate(said.purposes) if key in line]
    said = said.where(np.isin(said.purpose, places))
    simple = np.isin(said.identity, alone, assume_unique=False)
    simple &= ~np.isin(said.identity, said.identity[said.kind == INTRICATE])
    rest = np.unique(said.identity[~simple])
    said = said.where(simple)
    found = dict(_decided(purpose, said, now))
    for number, since in _told(purpose, said, devices).items():
        held = found.get(number) or Standing(purpose=purpose.key, state="missing", reason="no_record")
        found[number] = msgspec.structs.replace(held, notice_given=since)
    return found, rest


def _decided(purpose: Purpose, said: Said, now: Micros) -> Iterator[tuple[int, Standing]]:
    heard = said.kind >= RESTRAINT if purpose.restrainable else np.zeros(len(said.kind), np.bool_)
    grants = (said.kind == ACT) | (said.kind == REPORT)
    said, heard = said.where(heard | grants), heard[heard | grants]
    numbers, whose = np.unique(said.identity, return_inverse=True)
    depth = np.array([key.count(".") for key in said.purposes], np.int64)[said.purpose]
    exact = depth == purpose.key.count(".")
    act = said.kind == ACT
    binds = np.zeros(len(whose), np.bool_)  # 1
    for level in np.unique(depth[heard]):
        lifting = act & (depth >= level)
        lifted = _latest(len(numbers), whose[lifting], said.effective[lifting])
        binds |= heard & (depth == level) & (lifted[whose] <= said.received)
    worst = _last(whose, binds, said.kind, said.received, said.record)
    for at in worst:
        state = cast("State", SEVERITY[said.kind[at] - RESTRAINT])
        yield (
            int(said.identity[at]),
            Standing(
                purpose=purpose.key,
                state=state,
                reason=state if exact[at] else state + "_above",
                since=int(said.effective[at]),
                record_id=int(said.record[at]),
            ),
        )
    free = ~np.isin(whose, whose[worst])
    floor = _latest(len(numbers), whose[heard], said.received[heard])
    chosen = _last(
        whose, free & act & exact & (said.effective > floor[whose]), said.effective, said.record
    )  # 2
    free &= ~np.isin(whose, whose[chosen])
    lifted = free & heard
    for number in np.unique(said.identity[lifted]).tolist():
        yield number, Standing(purpose=purpose.key, state="missing", reason="not_affirmed")
    free &= exact & ~np.isin(whose, whose[lifted])
    first = _last(whose, free, -said.received, -said.record)  # 3
    yield from _granted(purpose, said.where(np.concatenate([chosen, first])), now)


def _granted(purpose: Purpose, said: Said, now: Micros) -> Iterator[tuple[int, Standing]]:
    ends = said.ends  # 4
    if purpose.validity_days is not None:
        ends = np.minimum(ends, said.effective + purpose.validity_days * DAY)
    statuses = _statuses(purpose, said)
    for number, record, since, end, notice, kind in zip(
        said.identity.tolist(),
        said.record.tolist(),
        said.effective.tolist(),
        ends.tolist(),
        said.notice.tolist(),
        said.event_type.tolist(),
        strict=True,
    ):
        status = statuses[notice]
        stale = "stale_expired" if end <= now else "stale_notice" if status == "superseded" else ""
        yield (
            number,
            Standing(
                purpose=purpose.key,
                state="stale" if stale else "granted",
                reason=stale or "granted",
                since=since,
                granted_at=since,
                expires_at=None if end == NEVER else end,
                event_type=EVENT_TYPES[kind],
                notice_current=status == "current",
                record_id=record,
            ),
        )


def _told(purpose: Purpose, said: Said, devices: Collection[int]) -> Mapping[int, Micros]:
    current = [place for place, status in enumerate(_statuses(purpose, said)[:-1]) if status == "current"]
    exact = np.array([key == purpose.key for key in said.purposes], np.bool_)[said.purpose]
    told = said.where((said.kind == INFORMED) & exact & np.isin(said.notice, current))  # 5
    found: dict[int, Micros] = {}
    for number, since in zip(told.identity.tolist(), told.effective.tolist(), strict=True):
        if number not in devices:
            found[number] = min(since, found.get(number, since))
    return found


def _statuses(purpose: Purpose, said: Said) -> list[NoticeStatus]:
    """Return whether each notice says the same as now; the last place is also the place -1."""
    return [*(version_status(purpose, *notice) for notice in said.notices), "unknown"]


def _latest(count: int, whose: Numbers, at: Numbers) -> Numbers:
    """Return the latest instant of each of ``count`` people; ``_EVER`` where there is none."""
    found = np.full(count, _EVER, np.int64)
    np.maximum.at(found, whose, at)
    return found


def _last(whose: Numbers, mask: NDArray[np.bool_], *keys: Numbers) -> Numbers:
    """Return the place of each person's last row in ``mask``, by ``keys``, of which the first weighs most."""
    places = np.flatnonzero(mask)
    ordered = places[np.lexsort([*(key[places] for key in reversed(keys)), whose[places]])]
    people = whose[ordered]
    return ordered[np.flatnonzero(np.append(people[1:], -1) != people)]
