"""Time and random ids, injectable.

Invariants: every instant inside the platform is an ``int`` of microseconds since 1970-01-01 UTC
(``Micros``); text and time zones exist only at the edges, and ``rfc3339`` / ``parse_rfc3339`` are
the only two doors.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

Micros = int
"""Microseconds since 1970-01-01T00:00:00Z."""

SECOND: Micros = 1_000_000
DAY: Micros = 86_400 * SECOND

_JUMP = 3600 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


class Clock(Protocol):
    """Where the platform learns what time it is."""

    def now(self) -> Micros:
        """Return the current instant."""
        ...

    def passed(self) -> Micros:
        """Return how much time has passed since some instant, whatever the clock is set to."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> Micros:
        """Return the current instant."""
        return time.time_ns() // 1000

    def passed(self) -> Micros:
        """Return how much time has passed since some instant, whatever the clock is set to."""
        return time.monotonic_ns() // 1000


class FixedClock:
    """A clock that stands still until told otherwise (tests, replay)."""

    def __init__(self, at: Micros) -> None:
        self.at = at
        self._jumped: Micros = 0

    def now(self) -> Micros:
        """Return the instant it was set to."""
        return self.at

    def advance(self, by: Micros) -> None:
        """Move the clock by ``by`` microseconds (negative moves it back), which is how much time passes."""
        self.at += by

    def passed(self) -> Micros:
        """Return how much time has passed."""
        return self.at - self._jumped

    def jump(self, by: Micros) -> None:
        """Set the clock forward or back while no time passes."""
        self.at += by
        self._jumped += by


class SteadyClock:
    """What time it surely is: for what cannot be undone, such as destroying what has been kept for its time.

    Where the clock jumps by more than an hour, this one goes on by the time that passes, until the other has
    held to its new time for a day. It never says that it is later than the other one does.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sure = self._jumped = self._read()

    def now(self) -> Micros:
        """Return the current instant, never later than the other clock has it."""
        return min(self._both())

    def latest(self) -> Micros:
        """Return the later of what both clocks say: what is kept from then on is kept for all of its time."""
        return max(self._both())

    def _both(self) -> tuple[Micros, Micros]:
        with self._lock:
            now, passed = self._read()
            expected = self._sure[0] + passed - self._sure[1]
            since, then = self._jumped
            if abs(now - expected) <= _JUMP:
                self._sure = self._jumped = (now, passed)
            elif abs(now - (since + passed - then)) > _JUMP:  # it has jumped just now
                self._jumped = (now, passed)
            elif passed - then >= DAY:
                self._sure = (now, passed)
                return now, now
            return now, expected

    def passed(self) -> Micros:
        """Return how much time has passed."""
        return self._clock.passed()

    def sure(self) -> bool:
        """Return whether the other clock is believed: it has not jumped within a day."""
        return self._clock.now() - self.now() <= _JUMP

    def _read(self) -> tuple[Micros, Micros]:
        return self._clock.now(), self._clock.passed()


def micros(moment: datetime) -> Micros:
    """Return ``moment`` as microseconds; a naive one is read as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def day(at: Micros) -> date:
    """Return the day in UTC on which ``at`` lies."""
    return _EPOCH.date() + timedelta(days=at // DAY)


def rfc3339(at: Micros) -> str:
    """Return ``at`` as RFC 3339 text in UTC, e.g. ``2026-01-02T03:04:05.000006Z``."""
    text = (_EPOCH + timedelta(microseconds=at)).isoformat()
    return text.replace("+00:00", "Z")


def parse_rfc3339(text: str) -> Micros:
    """Return the instant that RFC 3339 / ISO 8601 ``text`` names; without a zone it is UTC.

    :raises ValueError: the text is not a date or time, or lies outside years 1–9999 in UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.fromisoformat(text.upper())  # RFC 3339 section 5.6: "t" and "z" are as good
    at = micros(moment)
    if not _FIRST <= at <= _LAST:  # the zone moved it out of the years that can be written
        raise ValueError("date out of range")
    return at


def random_id() -> int:
    """Return a time-ordered positive 63-bit id: 41 bits of milliseconds, 22 random bits.

    Ordered ids keep index inserts at the end of the tree.
    """
    milliseconds = time.time_ns() // 1_000_000
    return (milliseconds & ((1 << 41) - 1)) << 22 | int.from_bytes(os.urandom(3)) & ((1 << 22) - 1)
