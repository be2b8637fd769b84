"""Everybody's identifiers under this version of the normaliser, in the background: a *pass* over all of them.

The steps:

1. **Begin**: somebody is indexed under version 1, and no pass brought them here yet.
2. **Page**: identities of version 1 in their order; their values are opened in memory and normalised anew. In
   one commit each gets its new index; those who turn out to be one value are linked (``index.py``), their
   consent is derived anew, who waits under a new index is found, and how far the pass has come is stored.
3. **End**: nobody is left. From then on events are looked up under version 2 alone.

Invariants: ingest goes on meanwhile, and whoever it meets first it indexes itself; a kill loses at most the
page at hand; rows of version 1 stay (``index.py``). A page that was read before somebody was erased is read
again. A value whose key is lost keeps the index it has. Two processes may work at one pass: the state of the
pass is changed by whoever read it last, and the other stores nothing.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.crypto import BlindIndex, Keyring
from cdp.identity import queries
from cdp.identity.anew import queries as passes
from cdp.identity.anew.apply import relinks
from cdp.identity.anew.components import opened
from cdp.identity.anew.queries import Pass
from cdp.identity.identifiers import EARLIER, VERSION
from cdp.identity.index import same_value
from cdp.identity.model import Resolved
from cdp.identity.resolve import fitting
from cdp.identity.service import IdentityService
from cdp.store import Batch, Committer, read_head, retrying

_PAGE = 500
_TURN_SECONDS = 5.0
_ACTOR = "system"


class _LostError(Exception):
    """The page was read before something changed, or another process did it."""


class IndexPass:
    """Brings everybody's identifiers under this version of the normaliser.

    :param arrived: takes what waits for those that were given an index; returns whose consent it changed.
    :param waiting: whether consent waits for anybody, so that whoever is indexed has to be locked.
    """

    def __init__(
        self,
        committer: Committer,
        identity: IdentityService,
        keyring: Keyring,
        blind: BlindIndex,
        arrived: Callable[[Batch, Resolved], Collection[int]],
        waiting: Callable[[], bool],
        clock: Clock,
        *,
        page: int = _PAGE,
    ) -> None:
        self._committer = committer
        self._identity = identity
        self._keyring = keyring
        self._blind = blind
        self._arrived = arrived
        self._waiting = waiting
        self._clock = clock
        self._size = page

    def look(self) -> Pass | None:
        """Have the identity stage look up no more versions than it has to; returns the pass to work at."""
        indexes = self._identity.indexes
        with self._committer.store.reading() as connection:
            indexes.kept = queries.any_of_version(connection, EARLIER)
            newest = next(iter(passes.passes(connection, 1, "index")), None)
        if newest is not None and newest.target != _target():
            newest = None
        indexes.passing = indexes.kept and (newest is None or newest.state != "done")
        return newest if indexes.passing else None

    def advance(self) -> bool:
        """Do pages for a few seconds; True while something is left."""
        if not self._identity.indexes.passing:
            return False
        until = time.monotonic() + _TURN_SECONDS
        held = self.look()
        if held is None and self._identity.indexes.passing:
            held = retrying(self._begin)
        while held is not None and (started := time.monotonic()) < until:
            try:
                held = self._page(held)
            except _LostError:
                return True
            time.sleep((time.monotonic() - started) / 6)  # beside ingest, which shares the rest with it
        return held is not None

    def _begin(self) -> Pass:
        with self._committer.batch() as batch:
            connection = batch.connection
            passes.hold(connection)
            newest = passes.passes(connection, 1, "index")
            if newest and newest[0].target == _target():
                return newest[0]
            total, upto = queries.version_extent(connection, EARLIER)
            made = Pass(
                kind="index",
                target=_target(),
                upto=upto,
                total=total,
                actor=_ACTOR,
                started_at=self._clock.now(),
            )
            made = msgspec.structs.replace(made, pass_no=passes.begin(connection, made))
            batch.record(_entry("begin", made, {"identities": total}))
        return made

    def _page(self, held: Pass) -> Pass | None:
        """Do the next page; returns the pass after it, None at its end.

        :raises _LostError: nothing of it is stored.
        """
        with self._committer.store.reading() as connection:
            _, epoch = read_head(connection)
            numbers = queries.version_page(connection, EARLIER, held.position, held.upto, self._size)
            found = list(passes.values(connection, numbers))
        indexed = [
            (self._blind(kind, self._identity.normalise.anew(kind, value), VERSION), number)
            for number, kind, value in opened(self._keyring, found)
        ]
        now = msgspec.structs.replace(held, changed_at=max(self._clock.now(), held.changed_at + 1))
        if numbers:
            done = held.done + len(numbers)
            now = msgspec.structs.replace(now, position=numbers[-1], done=done)
        else:
            now = msgspec.structs.replace(now, state="done", done=held.total)
        now = retrying(lambda: self._store(held, now, indexed, epoch))
        if now.state == "done":
            self._identity.indexes.passing = False
            return None
        return now

    def _store(self, held: Pass, now: Pass, indexed: Collection[tuple[bytes, int]], epoch: int) -> Pass:
        with self._committer.batch() as batch:
            connection = batch.connection
            if batch.epoch != epoch or not passes.advance(connection, held, now):
                raise _LostError
            alike: dict[bytes, set[int]] = defaultdict(set)
            for index, number in indexed:
                alike[index].add(number)
            rows = sorted((index, min(numbers)) for index, numbers in alike.items())
            claimed = queries.claim_indexes(connection, rows, VERSION)
            for index, number in queries.find(connection, alike.keys() - claimed).items():
                alike[index].add(number)
            given = {index: number for index, number in rows if index in claimed}
            merged = self._link(batch, alike, given)
            now = msgspec.structs.replace(now, merged=held.merged + merged)
            passes.advance(connection, now, now)
            people = {"identities": len(indexed), "merged": merged}
            batch.record(_entry("done" if now.state == "done" else "page", now, people))
        return now

    def _link(self, batch: Batch, alike: dict[bytes, set[int]], given: dict[bytes, int]) -> int:
        """Link those who are one value and take what waits; returns how many profiles came together."""
        connection, identity = batch.connection, self._identity
        told = same_value(alike, self._clock.now())
        locked = {number for candidate in told for number in candidate.pair}
        if self._waiting():
            locked.update(given.values())
        before = identity.lock(connection, locked) if locked else {}
        resolved = Resolved(identity_of={}, created=(), arrived=lambda: given)
        concerned = set(self._arrived(batch, resolved)) if given else set()
        cluster_of = {number: cluster for number, (_, cluster) in before.items()}
        fit = fitting(told, cluster_of, Counter(cluster_of.values()), identity.rules.component_cap)
        relinked, gone = frozenset[int](), frozenset[int]()
        if fit:
            queries.add_candidates(connection, fit, batch.id)
            touched = {number for candidate in fit for number in candidate.pair}
            relinked, gone, *_ = identity.decide(batch, before, touched, fit)
        after = queries.profiles_of(connection, before)
        spoken = {after[number] for number in concerned}
        if relinked or gone or spoken:
            identity.refresh_consent(batch, relinked | spoken, gone)
        return relinks({number: home for number, (home, _) in before.items()}, after)[0]


def _target() -> str:
    return f"v{VERSION}"


def _entry(act: str, about: Pass, people: dict[str, int]) -> Entry:
    said: dict[str, str | int] = {"pass": about.pass_no, "version": VERSION}
    return Entry(action=f"identity.index.{act}", actor=about.actor, object=said, people=people)
