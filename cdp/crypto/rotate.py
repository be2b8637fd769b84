"""Rotation of the KEK, on line: a new version, everything re-wrapped under it, the old one destroyed.

1. ``begin`` has it recorded, stores a new version and marks the old one as retired. From that commit on
   no key is stored under the old one: whoever stores a key holds the KEK that wraps it as the newest.
2. ``advance``, which the clockwork of every process calls, learns of new versions and re-wraps what lies
   under an old one, page after page in key order: read and wrapped outside a transaction, written in a
   short one, beside ingest. One process works; another takes over when that one has ended.
3. When nothing lies under the old version, ``keys.rotated`` is recorded and the moment noted.
4. As long after it as backups of the key database are kept, the version is destroyed. Its row stays.

Invariants: what is left to do follows from the rows alone, so a kill at any point loses nothing and the
next turn goes on. Data is never touched. A key destroyed while its page is re-wrapped stays destroyed.
Each step is recorded before it is taken, since the log is in another database: a crash between the two
leaves an entry whose step follows later, under a second entry.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from cdp.clock import DAY, SECOND, Clock, Micros, random_id
from cdp.crypto import kek, queries
from cdp.crypto.keys import Keyring
from cdp.errors import ConflictError, KeyAccessError
from cdp.store import Connection, Row

Record = Callable[[str, str, dict[str, int]], None]
"""(action, actor, numbers) → commits one audit entry."""
State = Literal["current", "rewrapping", "retired", "destroyed"]
_PAGE = 2000
_TURN_SECONDS = 5.0
_STALLED: Micros = 30 * SECOND
_LATER: Micros = 3600 * SECOND  # keys that did not open are tried again
_START = ((-1, ""), "")


class KekStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the KEK.

    :param destroy_at: when a retired version will be destroyed.
    :param deks: domain → keys under it.
    :param buckets: bucket keys under it.
    """

    version: int
    state: State
    created_at: Micros
    retired_at: Micros | None
    rewrapped_at: Micros | None
    destroy_at: Micros | None
    destroyed_at: Micros | None
    deks: dict[str, int]
    buckets: int


class KeyringStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What `cdp keys status` shows.

    :param provider: kind and place of the root.
    :param problem: why the root cannot be used at this moment; empty when it answers.
    :param lost: KEK version that is gone → keys that lie under it and open no more.
    """

    provider: str
    problem: str
    current: int
    versions: tuple[KekStatus, ...]
    lost: dict[int, int]


class Rotation:
    """Rotates the KEK of one keyring.

    :param record: commits an audit entry.
    :param backup_days: days for which backups of the key database are kept.
    """

    def __init__(self, keyring: Keyring, record: Record, clock: Clock, backup_days: int) -> None:
        self._keyring = keyring
        self._store = keyring.store
        self._record = record
        self._clock = clock
        self._backup = backup_days * DAY
        self._worker = random_id()
        self._after, self._bucket = _START
        self._broken = 0
        self._not_before: Micros = 0

    def begin(self, actor: str) -> int:
        """Make the next version of the KEK and let it wrap from now on; returns it (step 1).

        :raises ConflictError: a rotation is under way.
        :raises KeyAccessError: the root does not wrap the new key; nothing changed.
        """
        keks = self._keyring.keks
        keks.reload()
        old = keks.current
        if any(version.state == "rewrapping" for version in self.status(counted=False).versions):
            raise ConflictError("a rotation is under way; `cdp keys status` shows how far it is")
        held = keks.newest().wrapped
        wrapped, commitment = keks.make(old + 1)
        self._record("keys.rotate", actor, {"kek_version": old + 1})
        with self._store.writing() as connection, connection.begin():
            now = self._clock.now()
            if not queries.retire_kek(connection, old, held, now):
                raise ConflictError("another rotation has just begun, or the keys lie under another root now")
            queries.add_kek(connection, old + 1, wrapped, commitment, now)
        keks.reload()
        return old + 1

    def advance(self) -> bool:
        """Do what is due for a few seconds (steps 2 to 4); True while something is left to re-wrap.

        :raises KeyAccessError: a key does not open; what is wrapped under its KEK stays as it is.
        """
        self._keyring.keks.reload()
        now = self._clock.now()
        for version in self.status(counted=False).versions:
            if version.state == "rewrapping" and not self._rewrap(version.version):
                return True
            if version.destroy_at is not None and version.state == "retired" and now >= version.destroy_at:
                self._destroy(version.version)
        return False

    def _rewrap(self, version: int) -> bool:
        """Re-wrap pages until nothing lies under ``version`` or the turn is over; True at the end."""
        if self._clock.now() < self._not_before:
            return False
        with self._store.writing() as connection, connection.begin():
            if not self._claim(connection, version):
                return False
        until = time.monotonic() + _TURN_SECONDS
        while (started := time.monotonic()) < until:
            if not self._page(version):
                return self._end(version)
            time.sleep((time.monotonic() - started) / 6)  # beside ingest, which shares the rest with it
        return False

    def _claim(self, connection: Connection, version: int) -> bool:
        """Take or keep the work; False while another process is at it."""
        now = self._clock.now()
        return queries.claim_kek(connection, version, self._worker, now, now - _STALLED)

    def _page(self, version: int) -> bool:
        """Re-wrap one page; False when nothing is left behind the last one."""
        workspace, keks = self._keyring.workspace, self._keyring.keks
        current = keks.current
        with self._store.reading() as connection:
            rows = queries.deks_below(connection, current, self._after, _PAGE)
            buckets = [] if rows else queries.buckets_below(connection, current, self._bucket, _PAGE)
        found = [(kek.dek_context(workspace, number, domain), *key) for number, domain, *key in rows]
        found += [(kek.bucket_context(workspace, name), *key) for name, *key in buckets]
        wrapped = keks.rewrapped(found, current)
        self._broken += wrapped.count(b"")
        changed, named = (
            [(*row[:-3], current, new) for row, new in zip(page, wrapped, strict=True) if new] if page else []
            for page in (rows, buckets)
        )
        if changed or named:
            with self._store.writing() as connection, connection.begin():
                if not self._claim(connection, version):
                    raise ConflictError("the work was taken over: this process was held up for too long")
                queries.rewrap_deks(connection, changed)
                queries.rewrap_buckets(connection, named)
        if rows:
            self._after = rows[-1][:2]
        elif buckets:
            self._bucket = buckets[-1][0]
        return bool(rows or buckets)

    def _end(self, version: int) -> bool:
        broken, self._broken = self._broken, 0
        self._after, self._bucket = _START
        if broken:
            self._not_before = self._clock.now() + _LATER
            raise KeyAccessError(
                f"{broken} keys do not open and stay under KEK version {version}, which is therefore kept; "
                "restore their rows from a backup of the key database"
            )
        with self._store.reading() as connection:
            if queries.is_used(connection, version):
                return False  # a page of a process that was at it before us came to nothing
        self._record("keys.rotated", "system", {"kek_version": version})
        with self._store.writing() as connection, connection.begin():
            queries.end_rewrap(connection, version, self._clock.now())
        return True

    def _destroy(self, version: int) -> None:
        with self._store.reading() as connection:
            if queries.is_used(connection, version):
                raise KeyAccessError(f"keys lie under the retired KEK version {version}; it is not destroyed")
        self._record("keys.destroy", "system", {"kek_version": version})
        with self._store.writing() as connection, connection.begin():
            queries.destroy_kek(connection, version, self._clock.now())
        self._keyring.keks.reload()

    def status(self, *, counted: bool = True) -> KeyringStatus:
        """Return the state of every KEK version and of the root.

        :param counted: count what lies under each version and ask the root; without it only the states.
        """
        provider = self._keyring.provider
        with self._store.reading() as connection:
            rows = queries.all_keks(connection)
            deks = queries.dek_counts(connection) if counted else []
            buckets = queries.bucket_counts(connection) if counted else {}
        by_version: dict[int, dict[str, int]] = {}
        for version, domain, count in deks:
            by_version.setdefault(version, {})[domain] = count
        versions = tuple(
            KekStatus(
                version=int(row.version),
                state=_state(row),
                created_at=int(row.created_at),
                retired_at=row.retired_at,
                rewrapped_at=row.rewrapped_at,
                destroy_at=None if row.rewrapped_at is None else int(row.rewrapped_at) + self._backup,
                destroyed_at=row.destroyed_at,
                deks=dict(sorted(by_version.get(int(row.version), {}).items())),
                buckets=buckets.get(int(row.version), 0),
            )
            for row in rows
        )
        problem = self._keyring.keks.problem() if counted else ""
        held = {int(row.version) for row in rows if row.destroyed_at is None}
        return KeyringStatus(
            provider=provider.describe(),
            problem=problem,
            current=versions[-1].version,
            versions=versions,
            lost={
                version: sum(by_version.get(version, {}).values()) + buckets.get(version, 0)
                for version in sorted((by_version.keys() | buckets.keys()) - held)
            },
        )


def _state(row: Row[Any]) -> State:
    if row.destroyed_at is not None:
        return "destroyed"
    if row.retired_at is None:
        return "current"
    return "rewrapping" if row.rewrapped_at is None else "retired"
