"""A bundle: one archive from which anybody verifies a period of the log offline, trusting nobody.

1. The request is recorded, and the log signed: the bundle leads up to that checkpoint, of size N.
2. The entries of the period are [first, end), with one beyond each end of it, so that a reader sees that
   nothing of the period is left out. Entries that opened an origin come along wherever they are.
3. What is not shipped is covered by the hashes of complete subtrees, so that the root at N, and at every
   checkpoint inside, can be computed. A checkpoint pinned elsewhere, of a size outside, gets a consistency
   proof (RFC 9162, 2.1.4).
4. The files, in the order in which they are written::

       verify.py, README.txt     what checks the rest
       entries/F                 entries from F on, each behind its length (2 bytes)
       references/F, details/F   for each of them, how many references to subjects it has, or hashes of
                                 sealed details (4 bytes), and those (32 bytes each)
       tree                      hashes of what is not shipped, left to right, the fewest there are
       checkpoints.jsonl         signed notes with cosignatures, by size
       consistency.json          size → hashes, base64
       manifests/E               leaves of export E, position ‖ value, sorted; E.taken_out likewise
       bundle.json, SHA256SUMS   what is here

Invariants: nothing below N ever changes, so each piece is read in a short snapshot of its own, and the same
N and period give the same bytes. Nothing personal is in it, and no more of it in memory than a piece.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from importlib.resources import files

import msgspec

from cdp.audit import merkle
from cdp.audit import queries as log_queries
from cdp.audit.entry import decode
from cdp.audit.model import Entry
from cdp.audit.outside import queries
from cdp.audit.outside.public import _base64
from cdp.audit.service import AuditLog
from cdp.audit.verify import FORMAT, INDEX, cover
from cdp.clock import Micros, rfc3339
from cdp.errors import AuditError, InvalidInputError
from cdp.store import Committer, Store

ENTRIES_A_FILE = 4096
_FILE_BYTES = 64 << 20  # a file of entries ends early when its references are many
_READ_AT_ONCE = 256
_DATE = (1980, 1, 1, 0, 0, 0)
_README = """\
This bundle shows what the audit log recorded in a period. Check it with Python 3.11 or newer alone:

    python3 -I verify.py --key KEY --pinned CHECKPOINT

KEY is the log's verifier key and CHECKPOINT an earlier signed checkpoint, both from a place that the log's
keeper cannot change; so is the SHA-256 of verify.py, which `sha256sum verify.py` shows. Without them it
shows only that the bundle is consistent with itself.
"""


class Manifest(msgspec.Struct, frozen=True):
    """The manifest of an export: its leaves, sorted, position(32) ‖ value(32).

    :param taken_out: those taken out while it was decided; None when that can no longer be shown.
    """

    export_id: str
    decided: bytes
    taken_out: bytes | None


Manifests = Callable[[Iterable[str]], Iterable[Manifest]]
"""Ids of exports → their manifests."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a bundle.

    :param size: of the log that it leads up to.
    :param ranges: entries [first, end) that are shipped, ascending; the period's last among them.
    :param period: (first, end) of those of the period.
    :param bytes: about how many it has.
    """

    since: Micros | None
    until: Micros | None
    size: int
    ranges: tuple[tuple[int, int], ...]
    period: tuple[int, int]
    consistency: dict[str, list[str]]
    bytes: int


def verifier() -> bytes:
    """Return ``verify.py`` as it is put into bundles."""
    return files("cdp.audit").joinpath("verify.py").read_bytes()


def verifier_sha256() -> str:
    """Return the SHA-256 by which ``verify.py`` is pinned, hex."""
    return sha256(verifier()).hexdigest()


class Bundler:
    """Makes bundles; each request is on record.

    :param manifests: reads the manifests of exports, which are kept further up.
    """

    def __init__(self, store: Store, committer: Committer, audit: AuditLog, manifests: Manifests) -> None:
        self._store = store
        self._committer = committer
        self._audit = audit
        self._manifests = manifests

    def request(
        self, actor: str, since: Micros | None, until: Micros | None, pinned: Sequence[int] = ()
    ) -> Plan:
        """Record the request, sign the log, and return what the bundle will hold.

        :param since: not before this instant; ``until``: before this one; None: no limit.
        :param pinned: sizes of checkpoints that the reader holds.
        :raises InvalidInputError: the period ends before it begins, or the log never had such a size.
        :raises AuditError: the log contradicts a checkpoint, and signs nothing.
        """
        if since is not None and until is not None and until <= since:
            raise InvalidInputError("the period ends before it begins")
        with self._store.reading() as connection:
            size = self._audit.size(connection)
        if any(not 0 <= pin <= size for pin in pinned):
            raise InvalidInputError(
                f"the log has {size} entries, fewer than a pinned checkpoint covers: it was put back, or the "
                "checkpoint is of another log"
            )
        given = {"from": since, "to": until}
        about: dict[str, str | int] = {name: rfc3339(at) for name, at in given.items() if at is not None}
        with self._committer.batch() as batch:
            batch.record(Entry(action="audit.bundle", actor=actor, object=about))
        return self.plan(self._audit.sign_checkpoint(self._committer).size, since, until, pinned)

    def plan(self, size: int, since: Micros | None, until: Micros | None, pinned: Sequence[int] = ()) -> Plan:
        """Return what a bundle leading up to the checkpoint of ``size`` holds."""
        with self._store.reading() as connection:
            first, end = queries.period(connection, since, until, size)
            first, end = max(first - 1, 0), min(end + 1, size)
            opened = {origin.start for origin in log_queries.origins(connection)}
            outside = sorted(start for start in opened if start < size and not first <= start < end)
            ranges = [(start, start + 1) for start in outside] + [(first, end)]
            proofs = {
                str(pin): [_base64(node) for node in self._audit.consistency(connection, pin, size)]
                for pin in sorted(set(pinned))
                if not first <= pin <= end
            }
            length = sum(queries.bytes_between(connection, *each) for each in ranges)
        return Plan(
            since=since,
            until=until,
            size=size,
            ranges=tuple(sorted(each for each in ranges if each[0] < each[1])),
            period=(first, end),
            consistency=proofs,
            bytes=length + 10 * (end - first),
        )

    def write(self, plan: Plan) -> Iterator[bytes]:
        """Yield the archive (ZIP, stored, not compressed), piece by piece."""
        sink = _Sink()
        index: list[str] = []
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
            for name, content in self._files(plan):
                index.append(f"{sha256(content).hexdigest()}  {name}\n")
                archive.writestr(zipfile.ZipInfo(name, _DATE), content)
                yield sink.taken()
            archive.writestr(zipfile.ZipInfo(INDEX, _DATE), "".join(index).encode())
        yield sink.taken()

    def _files(self, plan: Plan) -> Iterator[tuple[str, bytes]]:
        yield "verify.py", verifier()
        yield "README.txt", _README.encode()
        chunks: list[tuple[int, int]] = []
        exports: list[str] = []
        for first, end in plan.ranges:
            for start, shipped in self._entries(first, end):
                chunks.append((start, len(shipped)))
                entries = [one.entry for one in shipped]
                if plan.period[0] <= start < plan.period[1]:
                    exports += _allowed(start, entries)
                yield f"entries/{start:012}", b"".join(len(data).to_bytes(2) + data for data in entries)
                yield f"references/{start:012}", _counted(one.references for one in shipped)
                yield f"details/{start:012}", _counted(one.details for one in shipped)
        yield "tree", self._tree(plan)
        first, end = plan.period
        yield "checkpoints.jsonl", b"".join(self._notes(first, end, plan.size))
        if plan.consistency:
            yield "consistency.json", _json(plan.consistency)
        for found in self._manifests(exports):
            yield f"manifests/{found.export_id}", found.decided
            if found.taken_out:
                yield f"manifests/{found.export_id}.taken_out", found.taken_out
        about = {
            "format": FORMAT,
            "key": self._audit.key.verifier_text(),
            "size": plan.size,
            "from": None if plan.since is None else rfc3339(plan.since),
            "to": None if plan.until is None else rfc3339(plan.until),
            "first": first,
            "end": end,
            "chunks": chunks,
        }
        yield "bundle.json", _json(about)

    def _entries(self, first: int, end: int) -> Iterator[tuple[int, list[queries.Shipped]]]:
        """Yield (first index, entries) of each file."""
        held = 0
        shipped: list[queries.Shipped] = []
        for at in range(first, end, _READ_AT_ONCE):
            with self._store.reading() as connection:
                found = queries.entries_between(connection, at, min(at + _READ_AT_ONCE, end))
            if len(found) != min(at + _READ_AT_ONCE, end) - at:
                raise AuditError("the audit log has lost entries; run `cdp audit verify`")
            for one in found:
                shipped.append(one)
                held += sum(map(len, one))
                if len(shipped) == ENTRIES_A_FILE or held > _FILE_BYTES:
                    yield first, shipped
                    first, held, shipped = first + len(shipped), 0, []
        if shipped:
            yield first, shipped

    def _tree(self, plan: Plan) -> bytes:
        """Return the hashes of the complete subtrees between what is shipped."""
        wanted: list[tuple[int, int]] = []
        before = 0
        for first, end in (*plan.ranges, (plan.size, plan.size)):
            wanted += [(level, at >> level) for at, level in cover(before, first)]
            before = end
        places = [merkle.position(*subtree) for subtree in wanted]
        with self._store.reading() as connection:
            stored = log_queries.nodes_at(connection, places)
        if len(stored) != len(places):
            raise AuditError("the audit log has lost stored nodes; run `cdp audit verify`")
        return b"".join(stored[place] for place in places)

    def _notes(self, first: int, end: int, size: int) -> Iterator[bytes]:
        with self._store.reading() as connection:
            for found, note in queries.notes(connection, first, end):
                if found != size:
                    yield _json(note)
            for _, note in queries.notes(connection, size, size):
                yield _json(note)


def _counted(hashes: Iterable[bytes]) -> bytes:
    return b"".join((len(packed) // merkle.HASH_BYTES).to_bytes(4) + packed for packed in hashes)


def _allowed(first: int, entries: Sequence[bytes]) -> Iterator[str]:
    """Yield the exports that entries allowed."""
    for index, data in enumerate(entries, first):
        if b'"export.authorise"' in data:
            entry = decode(index, data)
            if (entry.action, entry.outcome) == ("export.authorise", "allowed"):
                yield str(entry.object["export"])


class _Sink:
    """Takes what the archive writes, until it is taken on; cannot be wound back, so none is tried."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes, /) -> int:
        """Keep a piece."""
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Do nothing: the pieces are taken when they are complete."""

    def close(self) -> None:
        """Do nothing, likewise."""

    def taken(self) -> bytes:
        """Return what came since the last time."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
