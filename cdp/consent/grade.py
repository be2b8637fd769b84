"""What the grants that a profile stands on come to: pure (privacy.md, Consent, rules 5, 6 and 7).

Each identity stands on a grant for whomever, or on one for each recipient that it named. The steps:

1. Where nobody named a recipient, the weakest of what the identities hold.
2. Otherwise the recipients that all leave, and for each of them the weakest of what the identities hold for
   it: a grant matches its recipients exactly, so one that ends ends for its own alone.
3. Expired, or given on a notice that has materially changed, is stale. What is stale for one recipient leaves
   the others as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from cdp.clock import DAY, Micros
from cdp.consent.model import EventType, Named, Record, Standing, State
from cdp.policy import Purpose

WHOMEVER = ""
"""Stands for the recipient of a grant that names none."""
NoticeStatus = Literal["current", "superseded", "unknown"]
Held = Mapping[str, Record]
"""Recipient → the grant that an identity stands on for it; ``WHOMEVER`` alone, or named ones alone."""
_STRENGTH: tuple[EventType, ...] = ("regular", "explicit", "separate")


def effective_at(record: Record) -> Micros:
    """Return when a record took effect: a clock that runs ahead gains nothing."""
    return min(record.event_time, record.received_at)


def order(grant: Record) -> tuple[Micros, int]:
    """Return by what grants rank; all different."""
    return effective_at(grant), grant.record_id


def expiry(purpose: Purpose, grant: Record) -> Micros | None:
    """Return the first instant at which ``grant`` is expired; None when it never ages."""
    ends = [] if grant.expires_at is None else [grant.expires_at]
    if purpose.validity_days is not None:
        ends.append(effective_at(grant) + purpose.validity_days * DAY)
    return min(ends, default=None)


def notice_status(purpose: Purpose, grant: Record) -> NoticeStatus:
    """Return whether the notice that a grant was given on still says the same."""
    return version_status(purpose, grant.notice_id, grant.notice_version)


def version_status(purpose: Purpose, notice_id: str, given: int | None) -> NoticeStatus:
    """Return whether a version of a notice still says the same."""
    versions = {notice.version: notice for notice in purpose.notices if notice.id == notice_id}
    if given is None or given not in versions:
        return "unknown"
    later = (notice for version, notice in versions.items() if version > given)
    return "superseded" if any(notice.material for notice in later) else "current"


def held_by(grant: Record) -> Held:
    """Return what an identity holds that stands on one grant."""
    return dict.fromkeys(grant.recipients or (WHOMEVER,), grant)


def together(purpose: Purpose, held: Sequence[Held], now: Micros) -> Standing:
    """Return what the grants of all identities of a profile allow, which nothing restrains.

    :param held: what each of them stands on; at least one.
    """
    naming = [one.keys() for one in held if WHOMEVER not in one]
    if not naming:  # 1
        return _weakest(purpose, [one[WHOMEVER] for one in held], now)
    names = sorted(set(naming[0]).intersection(*naming[1:]))  # 2
    if not names:
        return Standing(purpose=purpose.key, state="missing", reason="merge_recipients")
    each = {name: _weakest(purpose, [one.get(name) or one[WHOMEVER] for one in held], now) for name in names}
    if len({msgspec.structs.replace(one, record_id=None, since=0) for one in each.values()}) == 1:
        return msgspec.structs.replace(max(each.values(), key=_shown), recipients=tuple(names))
    return _apart({name: one for name, one in each.items() if one.reason != "stale_notice"} or each)


def _apart(each: Mapping[str, Standing]) -> Standing:
    """Return the state of a profile that holds other grants for one recipient than for another (step 3)."""
    held = each.values()
    ends = [one.expires_at for one in held]
    return msgspec.structs.replace(
        max(held, key=_shown),
        granted_at=min(one.granted_at or 0 for one in held),
        expires_at=None if None in ends else max(end for end in ends if end is not None),
        event_type=min((one.event_type for one in held), key=_STRENGTH.index),
        notice_current=all(one.notice_current for one in held),
        recipients=tuple(each),
        named=tuple(
            Named(name, one.granted_at or 0, one.expires_at, one.event_type, one.notice_current)
            for name, one in each.items()
        ),
    )


def _shown(one: Standing) -> tuple[bool, Micros, int]:
    return one.state == "granted", one.since, one.record_id or 0


def _weakest(purpose: Purpose, grants: Sequence[Record], now: Micros) -> Standing:
    """Return what all ``grants`` together allow, whoever receives it."""
    grants = list({one.record_id: one for one in grants}.values())  # one often stands for all identities
    oldest, newest = min(grants, key=order), max(grants, key=order)
    expires = min((end for grant in grants if (end := expiry(purpose, grant)) is not None), default=None)
    notices = {notice_status(purpose, grant) for grant in grants}
    state, reason = _aged(expires, notices, now)
    return Standing(
        purpose=purpose.key,
        state=state,
        reason=reason,
        since=effective_at(newest),
        granted_at=effective_at(oldest),
        expires_at=expires,
        event_type=min((grant.event_type for grant in grants), key=_STRENGTH.index),
        notice_current=notices == {"current"},
        record_id=newest.record_id,
    )


def _aged(expires: Micros | None, notices: Collection[str], now: Micros) -> tuple[State, str]:
    if expires is not None and expires <= now:
        return "stale", "stale_expired"
    return ("stale", "stale_notice") if "superseded" in notices else ("granted", "granted")
