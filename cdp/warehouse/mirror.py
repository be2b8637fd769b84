"""The mirror: tails ``commit_no`` and keeps the declared, clear columns as Parquet.

Whoever holds the directory's writer lock takes a *turn*, of about half a second, which ends in a manifest
that is complete in itself:

1. Tail. Walk the commits since the last one in slices, each its own snapshot of the store, and write their
   rows. The identity→profile rows that changed come first, up to the head: the map may be newer than the
   events of a mirror that is behind, never older.
2. Look whether somebody was erased since: where ``erasure_epoch`` has moved, they are doomed, as is whoever
   ``forget`` was told of.
3. One piece of work on the files, the first of these that there is: take the doomed out of every file; make
   everything anew (``rebuild``), beside what readers see; merge runs (``rewrite.py``).

So no work, however large, keeps the tail waiting for longer than a piece; and where a process dies, the next
one goes on from the manifest. Files that were written under another declaration, by another database or
beyond the head (the store was restored) are made anew and not continued.

Invariants: commits are followed by ``commit_no``, which has no gaps, so nothing is lost however
transactions overlapped; sealed columns are never read; a rebuild or an erasure is seen whole or not at all; a
file that was replaced is deleted a minute later, and at once where an erasure replaced it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec.structs import replace
from prometheus_client import Gauge
from pyroaring import BitMap

from cdp.clock import SECOND, Clock
from cdp.errors import IntegrityError, OverloadedError
from cdp.policy import FieldCatalogue
from cdp.store import Connection, Store, erased_since, read_head
from cdp.warehouse import queries, rewrite, shape
from cdp.warehouse.files import Directory
from cdp.warehouse.model import (
    EVENTS,
    MEMBERS,
    TRAITS,
    Declared,
    Erasure,
    Manifest,
    Merge,
    declared,
)
from cdp.warehouse.writer import Writer

_TURN_SECONDS = 0.5
_YIELD_SECONDS = 0.001  # between two turns, for others who wait for the lock
_SLICE_SECONDS = 0.2
_SLICE_COMMITS = 1024  # at most, at once
_GRACE = 60 * SECOND
_POLL_SECONDS = 0.05
_PLACES = 4  # of those who wait: each holds a thread, and the smallest pool of the server has five
_MISTYPED = Gauge(
    "cdp_warehouse_mistyped",
    "Values of another type than declared, which the warehouse holds as NULL, since it was last rebuilt",
    ["column"],
)
_COMMIT = Gauge("cdp_warehouse_commit", "The commit that the warehouse holds the store up to")
_FILES = Gauge("cdp_warehouse_files", "Parquet files of the warehouse", ["dataset"])


class Mirror:
    """The one writer of the warehouse's files.

    :param directory: where the files lie; another process may hold a ``Mirror`` on it too, they wait
        for each other.
    :param fields: what is declared; only its clear fields are mirrored.
    :raises ConfigurationError: two declared names would share a column.
    """

    def __init__(self, store: Store, directory: Path, fields: FieldCatalogue, clock: Clock) -> None:
        self.directory = Directory(directory)
        self._store = store
        self.adopt(fields)
        self._clock = clock
        self._clean = False
        self._slice = max(1, _SLICE_COMMITS // 16)
        self._reached = threading.Condition()
        self._places = threading.BoundedSemaphore(_PLACES)

    def adopt(self, fields: FieldCatalogue) -> None:
        """Mirror these fields from the next refresh on; one that is withdrawn costs a rebuild."""
        self._declared = declared(fields)

    @property
    def commit_no(self) -> int:
        """The commit that readers see the store up to."""
        return self.directory.read_alone().commit_no

    def refresh(self) -> int:
        """Bring the mirror to the head of the store; returns the commit reached.

        Who was erased is out of the files afterwards, and what has to be made anew is. Of merging, a piece is
        done.

        :raises StoreError: the store cannot be read, or the directory not be written.
        :raises IntegrityError: the files are not what was written; readers are refused, ``rebuild`` heals.
        """
        with self._store.reading() as connection:
            head, _ = read_head(connection)
        return self._work(
            lambda held: held.commit_no >= head and held.rebuild is None and not held.erasing
        ).commit_no

    def rebuild(self) -> int:
        """Make everything anew from the store; returns the commit reached.

        Readers see the old files, which are kept current meanwhile, until the new ones are complete.

        :raises StoreError: as ``refresh``.
        """
        with self._writing(anew=True) as manifest:
            begun = replace(manifest, merge=None, rebuild=Manifest(declared=self._declared))
            self.directory.sweep(self._publish(manifest, begun))
        return self._work(lambda held: held.rebuild is None).commit_no

    def compact(self) -> None:
        """Merge whatever may still be merged."""
        self._work(
            lambda held: (
                held.merge is None
                and not any(rewrite.choose(files, everything=True) for files in held.files.values())
            ),
            everything=True,
        )

    def forget(self, identity_nos: Iterable[int]) -> None:
        """Take every row of these identities out of the files, and delete the files that held them.

        Call it after the commit that deleted their rows from the store. From the first instant they are on
        disk as doomed: whatever process takes a turn goes on, and ends when no file has a row of theirs,
        those written meanwhile included. Readers see all of them or, afterwards, none. A snapshot of before
        that is still held fails with an ``UnavailableError``; what it was reading it may read to its end.

        :raises StoreError: the directory cannot be written; call again, or let ``refresh`` go on.
        """
        gone = BitMap(identity_nos)
        with self._writing() as manifest:
            if gone and manifest.own():
                self._publish(manifest, manifest.dooming(gone))
        self._work(lambda held: not held.erasing)

    def is_rid_of(self, epoch: int) -> bool:
        """Return whether nobody who was erased up to an ``erasure_epoch`` is in any file."""
        return self.directory.read_alone().is_rid_of(epoch)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the few places for waiting; take it before storing what is waited for.

        :raises OverloadedError: all of them are taken.
        """
        if not self._places.acquire(blocking=False):
            raise OverloadedError(
                f"{_PLACES} calls wait for the warehouse already; nothing is stored: send it again later, or "
                "leave `wait` out",
                retry_after=1,
            )
        try:
            yield
        finally:
            self._places.release()

    def wait_for(self, commit_no: int, timeout: float) -> bool:
        """Wait until readers see ``commit_no``; False when ``timeout`` seconds were not enough.

        Refreshes of this process wake it; those of another process are noticed within 50 ms.
        """
        deadline = time.monotonic() + timeout
        with self._reached:
            while self.commit_no < commit_no:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._reached.wait(min(left, _POLL_SECONDS))
        return True

    def observe(self) -> None:
        """Bring the figures that ``/metrics`` shows up to date, whichever process wrote the files."""
        manifest = self.directory.read_alone()
        _MISTYPED.clear()
        for column, values in manifest.mistyped.items():
            _MISTYPED.labels(column).set(values)
        _COMMIT.set(manifest.commit_no)
        for dataset, files in manifest.files.items():
            _FILES.labels(dataset).set(len(files))

    # -- turns, under the writer lock -----------------------------------------------------------

    def _work(self, done: Callable[[Manifest], bool], *, everything: bool = False) -> Manifest:
        """Take turns until the manifest is as wanted."""
        while True:
            with self._writing() as manifest:
                reached = self._turn(manifest, everything=everything)
            if done(reached):
                return reached
            time.sleep(_YIELD_SECONDS)

    @contextmanager
    def _writing(self, *, anew: bool = False) -> Iterator[Manifest]:
        """Hold the writer lock; what a start or a failure left behind is removed first.

        :param anew: take a manifest that cannot be read for an empty one.
        """
        with self.directory.writing():
            try:
                manifest = self.directory.read_alone()
            except IntegrityError:
                if not anew:
                    raise
                manifest = Manifest()
            if not self._clean:
                self.directory.sweep(manifest)
            self._clean = False
            yield manifest
            self._clean = True

    def _publish(self, old: Manifest, new: Manifest) -> Manifest:
        """Put a manifest in the place of another, and delete the files that only that one needed."""
        self.directory.publish(new)
        self.directory.remove(old.own() - new.own())
        with self._reached:
            self._reached.notify_all()
        return new

    def _turn(self, manifest: Manifest, *, everything: bool) -> Manifest:
        with self._store.reading() as connection:
            head, epoch = read_head(connection)
            right = bool(manifest.files) and _known(connection, manifest, head)
        manifest = self._tail(self._expire(manifest), head, right=right)  # 1
        if right and manifest.epoch != epoch:  # 2
            dooming = replace(manifest, epoch=epoch).dooming(self._erased(manifest))
            manifest = self._publish(manifest, dooming)
        if manifest.erasing:  # 3
            return self._erase(manifest)
        if manifest.rebuild is not None:
            return self._make_anew(manifest, manifest.rebuild, head, epoch)
        return self._merge(manifest, everything=everything)

    def _tail(self, manifest: Manifest, head: int, *, right: bool) -> Manifest:
        """Bring what readers see nearer to the head; say where it has to be made anew.

        :param right: there are files, and they are of this database.
        """
        if manifest.rebuild is None and not (right and manifest.continues(self._declared)):
            anew = replace(manifest, merge=None, rebuild=Manifest(declared=self._declared))
            manifest = self._publish(manifest, anew)
        columns = self._declared
        if manifest.rebuild is not None:  # old files cannot lose what was withdrawn, but gain what is new
            columns = manifest.declared.widened(columns)
        if not right or (head == manifest.commit_no and manifest.declared == columns):
            return manifest
        return self._publish(manifest, self._follow(manifest, columns))

    def _follow(self, manifest: Manifest, columns: Declared, *, apart: bool = False) -> Manifest:
        """Write files and return a manifest that reaches further, as far as one turn goes.

        :param apart: nobody reads it as it will be, so the map goes from slice to slice too.
        """
        deadline = time.monotonic() + _TURN_SECONDS
        writer = Writer(self.directory, manifest, columns)
        mistyped, reached, mapped = Counter(manifest.mistyped), manifest.commit_no, manifest.mapped
        with self._store.reading() as connection:
            head, _ = read_head(connection)
            if not apart:
                _add_members(connection, writer, mapped, head)
                mapped = head
            batch = queries.batch_of(connection, reached)
        while reached < head:
            started = time.monotonic()
            upto = min(head, reached + self._slice)
            with self._store.reading() as connection:
                if mapped < upto:
                    _add_members(connection, writer, mapped, upto)
                    mapped = upto
                for page in queries.read_events(connection, reached, upto):
                    writer.add(EVENTS, shape.event_table(page, columns, mistyped))
                if columns.traits:
                    for page in queries.read_traits(connection, columns.traits, reached, upto):
                        writer.add(TRAITS, shape.trait_table(page, columns, mistyped))
                batch = queries.batch_of(connection, upto)
            reached = upto
            now = time.monotonic()
            fitting = self._slice * _SLICE_SECONDS / max(now - started, 0.01)
            self._slice = max(1, min(_SLICE_COMMITS, int(fitting)))
            if now > deadline:
                break
        return replace(
            manifest,
            commit_no=reached,
            batch=batch,
            mapped=mapped,
            refreshed_at=self._clock.now(),
            files=writer.finish(),
            retired={**manifest.retired, **dict.fromkeys(writer.replaced, self._clock.now())},
            mistyped=dict(mistyped),
            declared=columns,
        )

    def _expire(self, manifest: Manifest) -> Manifest:
        """Delete the files that readers had time to leave."""
        since = self._clock.now() - _GRACE
        kept = {name: at for name, at in manifest.retired.items() if at > since}
        if kept == manifest.retired:
            return manifest
        return self._publish(manifest, replace(manifest, retired=kept))

    # -- pieces of work -------------------------------------------------------------------------

    def _erased(self, held: Manifest) -> BitMap:
        """Return who was erased since these files were looked through, mapped or not."""
        with self._store.reading() as connection:
            return erased_since(connection, held.epoch)

    def _erase(self, manifest: Manifest) -> Manifest:
        """Look at as many files as one turn allows; when all were looked at, swap them."""
        deadline = time.monotonic() + _TURN_SECONDS
        job = manifest.erasure
        if job is None:
            job = Erasure(identities=manifest.doomed)
            begun = replace(manifest, merge=None, erasure=job, doomed=b"")
            manifest = self._publish(manifest, begun)
        doomed, done = BitMap.deserialize(job.identities), dict(job.done)
        for dataset, file in manifest.listed():
            if file.name not in done:
                done[file.name] = rewrite.without(self.directory, dataset, file, doomed)
                if time.monotonic() > deadline:
                    going = replace(manifest, erasure=replace(job, done=done))
                    return self._publish(manifest, going)
        return self._publish(manifest, replace(manifest.swapped(done), erasure=None, retired={}))

    def _make_anew(self, manifest: Manifest, held: Manifest, head: int, epoch: int) -> Manifest:
        """Go on with the files that will replace all others; when they are complete, they do."""
        with self._store.reading() as connection:
            known = _known(connection, held, head)
        if not known or held.declared != self._declared:
            held = Manifest(declared=self._declared)
        apart = head - held.commit_no > self._slice
        held = self._follow(held, self._declared, apart=apart)
        if apart or held.commit_no < held.mapped:
            return self._publish(manifest, replace(manifest, rebuild=held))
        if held.epoch != epoch:
            dooming = replace(manifest, rebuild=replace(held, epoch=epoch)).dooming(self._erased(held))
            return self._publish(manifest, dooming)
        now = self._clock.now()
        old = dict.fromkeys((file.name for files in manifest.files.values() for file in files), now)
        withdrawn = {*manifest.withdrawn, *manifest.declared.properties} - set(self._declared.properties)
        new = replace(held, retired={**manifest.retired, **old}, withdrawn=tuple(sorted(withdrawn)))
        return self._publish(manifest, new)

    def _merge(self, manifest: Manifest, *, everything: bool) -> Manifest:
        """Write the next files of merges, one at least; after its last, readers see a merge."""
        deadline = time.monotonic() + _TURN_SECONDS / 2
        while True:
            held, manifest = manifest, self._merge_on(manifest, everything=everything)
            if manifest is held or time.monotonic() > deadline:
                return manifest

    def _merge_on(self, manifest: Manifest, *, everything: bool) -> Manifest:
        merge = manifest.merge or self._begin(manifest, everything=everything)
        if merge is None:
            return manifest
        files = manifest.files[merge.dataset]
        merge = rewrite.advance(self.directory, merge, files)
        if not rewrite.finished(merge):
            return self._publish(manifest, replace(manifest, merge=merge))
        kept = rewrite.merged(merge, files)
        gone = sorted({file.name for file in files} - {file.name for file in kept})
        listed = {**manifest.files, merge.dataset: kept}
        retired = {**manifest.retired, **dict.fromkeys(gone, self._clock.now())}
        return self._publish(manifest, replace(manifest, files=listed, retired=retired, merge=None))

    def _begin(self, manifest: Manifest, *, everything: bool) -> Merge | None:
        for dataset, files in manifest.files.items():
            if runs := rewrite.choose(files, everything=everything):
                return rewrite.begin(self.directory, dataset, files, runs)
        return None


def _known(connection: Connection, manifest: Manifest, head: int) -> bool:
    """Return whether a manifest was made from this database as it is now."""
    return manifest.commit_no == 0 or (
        manifest.commit_no <= head and queries.batch_of(connection, manifest.commit_no) == manifest.batch
    )


def _add_members(connection: Connection, writer: Writer, after: int, upto: int) -> None:
    with closing(queries.read_members(connection, after, upto)) as pages:
        for page in pages:
            writer.add(MEMBERS, shape.member_table(page))
