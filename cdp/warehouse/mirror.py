"""The mirror: tails ``commit_no`` and keeps the declared, clear columns as Parquet.

Steps of a refresh, under the directory's writer lock:

1. Read the head of the store. Files written under another declaration, by another database or beyond
   the head (the store was restored) are not continued but rebuilt.
2. Write the identity→profile rows that changed since, up to that head. The map may therefore be newer
   than the events of a half-finished refresh, never older.
3. Walk the commits in slices of bounded size, each its own snapshot of the store; buffer the slices and,
   whenever the buffer is full and at the end, write the files and publish a manifest that names them and
   the commit reached.
4. Merge small files when there are many.

Invariants: commits are followed by ``commit_no``, which has no gaps, so nothing is lost however
transactions overlapped; sealed columns are never read; a file is deleted one merge after it was replaced.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from cdp.clock import Clock
from cdp.errors import IntegrityError, OverloadedError
from cdp.policy import FieldCatalogue
from cdp.store import Store, read_head
from cdp.warehouse import queries, shape
from cdp.warehouse.files import Directory
from cdp.warehouse.model import DATASETS, EVENTS, MEMBERS, TRAITS, File, Manifest, declared

_SLICE_COMMITS = 64
_BUFFER_ROWS = 100_000  # of one dataset, before it is written out
_FILE_ROWS = 500_000  # what a merge aims at: one such table, its sorted copy included, fits in memory
_MANY_FILES = 24
_POLL_SECONDS = 0.05
_PLACES = 4  # of those who wait: each holds a thread, and the smallest pool of the server has five
_ORDER = {
    EVENTS: [("name", "ascending"), ("occurred_at", "ascending")],
    TRAITS: [("name", "ascending"), ("identity_no", "ascending"), ("observed_at", "ascending")],
    MEMBERS: [("identity_no", "ascending"), ("commit_no", "ascending")],
}


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
        self._reached = threading.Condition()
        self._places = threading.BoundedSemaphore(_PLACES)

    def adopt(self, fields: FieldCatalogue) -> None:
        """Mirror these fields from the next refresh on; one that is withdrawn costs a rebuild."""
        self._declared = declared(fields)

    @property
    def commit_no(self) -> int:
        """The commit that readers see the store up to."""
        return self.directory.read().commit_no

    def refresh(self) -> int:
        """Bring the mirror to the head of the store; returns the commit reached.

        :raises StoreError: the store cannot be read, or the directory not be written.
        """
        with self._writing() as manifest:
            with self._store.reading() as connection:
                head, _ = read_head(connection)
                known = manifest.commit_no == 0 or (
                    manifest.commit_no <= head
                    and queries.batch_of(connection, manifest.commit_no) == manifest.batch
                )
            if not known or not self._declared.extends(manifest.declared):
                return self._rebuild(manifest)
            if head == manifest.commit_no and manifest.files and manifest.declared == self._declared:
                return head
            reached = manifest
            for reached in self._follow(manifest):
                self._publish(reached)
            if any(len(_loose(files)) > _MANY_FILES for files in reached.files.values()):
                self._compact(reached)
            return reached.commit_no

    def rebuild(self) -> int:
        """Write everything again from the store; readers see the old files until the new are complete."""
        with self.directory.writing():
            try:
                old = self.directory.read()
            except IntegrityError:
                old = Manifest()
            reached = self._rebuild(old)
            self.directory.sweep(self.directory.read())
            return reached

    def compact(self) -> None:
        """Merge small files into sorted ones and delete what the merge before replaced."""
        with self._writing() as manifest:
            self._compact(manifest)

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

    # -- under the writer lock ------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Manifest]:
        """Hold the writer lock; what a start or a failure left behind is removed first."""
        with self.directory.writing():
            manifest = self.directory.read()
            if not self._clean:
                self.directory.sweep(manifest)
            self._clean = False
            yield manifest
            self._clean = True

    def _publish(self, manifest: Manifest) -> None:
        self.directory.publish(manifest)
        with self._reached:
            self._reached.notify_all()

    def _rebuild(self, old: Manifest) -> int:
        *_, new = self._follow(Manifest())  # published only when it is complete
        replaced = tuple(name for dataset in DATASETS for name in old.names(dataset))
        self._publish(replace(new, retired=replaced))
        self.directory.remove(old.retired)
        return new.commit_no

    def _follow(self, manifest: Manifest) -> Iterator[Manifest]:
        """Yield manifests that reach further and further; the last one reaches the head."""
        files = {dataset: list(manifest.files.get(dataset, ())) for dataset in DATASETS}
        mistyped = Counter(manifest.mistyped)
        if not manifest.files or manifest.declared != self._declared:
            for dataset in DATASETS:  # an empty file carries the columns that no row has yet
                empty = shape.schema(dataset, self._declared).empty_table()
                files[dataset].append(self.directory.write(dataset, empty, ordered=True))
        with self._store.reading() as connection:
            head, _ = read_head(connection)
            with closing(queries.read_members(connection, manifest.commit_no)) as pages:
                for page in pages:
                    files[MEMBERS].append(self.directory.write(MEMBERS, shape.member_table(page)))
        buffers: dict[str, list[pa.Table]] = {EVENTS: [], TRAITS: []}
        reached = manifest.commit_no
        while True:
            upto = min(head, reached + _SLICE_COMMITS)
            batch = self._read_slice(reached, upto, buffers, mistyped)
            reached = upto
            full = any(sum(t.num_rows for t in tables) >= _BUFFER_ROWS for tables in buffers.values())
            if reached < head and not full:
                continue
            for dataset, tables in buffers.items():
                if tables:
                    files[dataset].append(self.directory.write(dataset, _joined(tables)))
                    tables.clear()
            yield Manifest(
                commit_no=reached,
                batch=batch,
                refreshed_at=self._clock.now(),
                files={dataset: tuple(listed) for dataset, listed in files.items()},
                retired=manifest.retired,
                mistyped=dict(mistyped),
                declared=self._declared,
            )
            if reached == head:
                return

    def _read_slice(
        self, after: int, upto: int, buffers: dict[str, list[pa.Table]], mistyped: Counter[str]
    ) -> int:
        """Add the rows of the commits (after, upto] to the buffers; returns the last one's batch id."""
        with self._store.reading() as connection:
            for page in queries.read_events(connection, after, upto):
                buffers[EVENTS].append(shape.event_table(page, self._declared, mistyped))
            if self._declared.traits:
                for page in queries.read_traits(connection, self._declared.traits, after, upto):
                    buffers[TRAITS].append(shape.trait_table(page, self._declared, mistyped))
            return queries.batch_of(connection, upto)

    def _compact(self, manifest: Manifest) -> None:
        """Merge until no dataset has two small files that fit into one."""
        files: dict[str, tuple[File, ...]] = {}
        replaced: list[str] = []
        for dataset in DATASETS:
            kept = list(manifest.files.get(dataset, ()))
            for group in _groups(dataset, kept):
                merged = self._merge(dataset, group)
                kept = [file for file in kept if file not in group] + [merged]
                replaced += [file.name for file in group]
            files[dataset] = tuple(kept)
        if replaced:
            self._publish(replace(manifest, files=files, retired=tuple(replaced)))
            self.directory.remove(manifest.retired)

    def _merge(self, dataset: str, group: list[File]) -> File:
        table = _joined([self.directory.load(file) for file in group]).sort_by(_ORDER[dataset])
        if dataset == MEMBERS:
            table = _newest(table)
        return self.directory.write(dataset, table, ordered=True)


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default")


def _newest(members: pa.Table) -> pa.Table:
    """Keep each identity's last row of a table sorted by identity and commit."""
    identities = members["identity_no"].to_numpy()
    last = np.append(identities[1:] != identities[:-1], [True] * min(1, len(identities)))
    return members.filter(pa.array(last))


def _loose(files: tuple[File, ...]) -> list[File]:
    return [file for file in files if not file.ordered]


def _groups(dataset: str, files: list[File]) -> list[list[File]]:
    """Cut what is worth merging into groups of about ``_FILE_ROWS`` rows.

    The map is always merged whole, because only then does each identity keep one row; empty files stay,
    because they alone carry every declared column.
    """
    files = [file for file in files if file.rows]
    if dataset == MEMBERS:
        return [files] if len(files) > 1 else []
    groups: list[list[File]] = [[]]
    rows = 0
    for file in sorted(files, key=lambda file: file.rows):
        if file.ordered and file.rows >= _FILE_ROWS // 2:
            continue
        if rows + file.rows > _FILE_ROWS and groups[-1]:
            groups.append([])
            rows = 0
        groups[-1].append(file)
        rows += file.rows
    return [group for group in groups if len(group) > 1 or any(not file.ordered for file in group)]
