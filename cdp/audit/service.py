"""The audit log: append, prove, sign, verify; ``reader.py`` answers what is in it.

Invariants:

1. ``append`` is the leaf appender of ``cdp.store.commit``: it runs under the log-head lock, in the
   transaction of what it records, so indexes have no gaps and no entry exists without its deed.
2. A checkpoint is stored and committed before anybody sees it, one for each size, and only after the
   log was found to extend the newest one signed before, here and outside. A log that was put back
   from a backup, or altered, signs nothing.
3. Nobody who was erased stands in the index of subjects, also not by what is logged of them afterwards; a
   reference to them is made as long as their proof key lives, for whoever holds its secret.
4. A checkpoint outside is replaced in one step and never by a smaller one of its origin.
5. A log that fell behind its own checkpoint (a restore) goes on under a **new origin** when an officer says
   so. The first entry of that origin names the checkpoint that it fell behind, so that whoever holds it
   sees what was lost: the entries from there to its size. The tree goes on; no index is used twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from heapq import merge
from operator import attrgetter
from pathlib import Path

from cdp.audit import asking, merkle, queries
from cdp.audit.check import Head, Report, StoredCheckpoint, StoredEntry, verify
from cdp.audit.checkpoint import NoteKey, Statement, checkpoint_text, open_checkpoint, sign_note
from cdp.audit.detail import strangers
from cdp.audit.entry import encode, segment_of
from cdp.audit.model import NEW_ORIGIN, Checkpoint, Entry, Origin
from cdp.audit.reader import AuditReader
from cdp.audit.verify import LogKey, Problem
from cdp.clock import Clock, Micros
from cdp.crypto import Keyring, Signer, verify_signature
from cdp.errors import AuditError, ConflictError, InvalidInputError, UnavailableError
from cdp.store import Committer, Connection, erased, put_in_place

_NONCE_BYTES = 16
_MAX_NOTE_BYTES = 1_000_000


class AuditLog(AuditReader):
    """One log under one origin.

    :param keyring: gives the signing key and the subjects' proof secrets.
    :param origin: the log's first name: a URL without scheme, spaces and plus. ``key`` is its key.
    :param checkpoint_file: where the newest checkpoint is also written; None for nowhere.
    """

    def __init__(
        self, keyring: Keyring, origin: str, clock: Clock, checkpoint_file: Path | None = None
    ) -> None:
        super().__init__(keyring)
        self._keyring = keyring
        self._clock = clock
        self._file = checkpoint_file
        self._signer = Signer(keyring.secret("audit-signing"))
        self.key = NoteKey(origin, self._signer.public_key)

    # -- writing --------------------------------------------------------------------------------

    def append(
        self, connection: Connection, commit_no: int, now: Micros, entries: Sequence[Entry]
    ) -> list[int]:
        """Append ``entries`` to the log; the caller holds the log-head lock.

        :returns: the index of each.
        :raises InvalidInputError: an entry cannot be logged; nothing is appended.
        """
        subjects = {number for entry in entries for number in entry.subjects}
        secrets = self._keyring.proof_secrets(subjects) if subjects else {}
        lost = subjects - secrets.keys()
        if lost:
            lost -= self._keyring.destroyed(lost, "proof")
        forgotten = erased(connection, subjects) if subjects else frozenset[int]()
        head = queries.read_head(connection)
        tree = merkle.Frontier(head.size, head.frontier)
        hashes: list[bytes] = []
        rows: list[StoredEntry] = []
        concerned: list[tuple[int, int]] = []
        details: list[tuple[int, int, bytes]] = []
        for entry in entries:
            nonce = os.urandom(_NONCE_BYTES)
            sealed = self._details.seal(tree.size, entry)
            logged = encode(
                entry,
                commit_no=commit_no,
                now=now,
                nonce=nonce,
                proof_secrets=secrets,
                lost=lost,
                details=sealed.hashes,
            )
            rows.append(
                StoredEntry(
                    tree.size,
                    logged.data,
                    commit_no,
                    now,
                    entry.actor,
                    entry.action,
                    entry.outcome,
                    entry.purpose,
                    entry.destination,
                    b"".join(logged.references) or None,
                    segment_of(entry),
                    b"".join(sealed.hashes) or None,
                )
            )
            details.extend(row for row in sealed.rows if row[1] not in forgotten)
            concerned.extend((number, tree.size) for number in logged.subjects if number not in forgotten)
            hashes.extend(tree.append(merkle.leaf_hash(logged.data)))
        nodes = list(enumerate(hashes, start=merkle.position_count(head.size)))
        queries.append(connection, Head(tree.size, tree.packed()), rows, nodes, concerned)
        queries.add_details(connection, details)
        return list(range(head.size, tree.size))

    def sign_checkpoint(self, committer: Committer) -> Checkpoint:
        """Sign the log as it stands; where it has not grown, return the checkpoint it has.

        :raises AuditError: the log does not extend a checkpoint signed before; nothing is signed.
        :raises UnavailableError: the outside file cannot be read or written.
        """
        with committer.store.reading() as connection:
            checkpoint = queries.latest_checkpoint(connection)
            if checkpoint is not None and checkpoint.size != queries.read_head(connection).size:
                checkpoint = None
        if checkpoint is None:
            with committer.batch(head_first=True) as batch:
                checkpoint = self._sign(batch.connection)
        with committer.store.reading() as connection:
            origins = queries.origins(connection)
        self._publish(checkpoint, origins)
        return checkpoint

    def open_origin(self, committer: Committer, actor: str, reason: str, note: str = "") -> Checkpoint:
        """Go on under a new origin, because the log fell behind a checkpoint, and sign it.

        :param reason: a code.
        :param note: the newest checkpoint that anybody holds; the one outside when empty.
        :raises AuditError: the note is not one of this log.
        :raises ConflictError: there is none, or the log extends it: it needs no new origin.
        """
        with committer.batch(head_first=True) as batch:
            connection = batch.connection
            origins = queries.origins(connection)
            size = queries.read_head(connection).size
            note = note or self._read_file() or ""
            if not note:
                raise ConflictError("there is no checkpoint to name; give one, or set CDP_CHECKPOINT_FILE")
            closed = self._open(note, origins)
            if closed.origin != self._names(origins)[-1]:
                raise ConflictError("this checkpoint is of an origin that is closed already")
            if self._extends(connection, size, closed.size, closed.root):
                raise ConflictError("the audit log extends this checkpoint; it needs no new origin")
            opened = Origin(
                start=size,
                name=f"{self.key.name}/{len(origins) + 2}",
                closed=note,
                opened_at=self._clock.now(),
            )
            queries.add_origin(connection, opened)
            said: dict[str, str | int] = {
                "origin": opened.name,
                "closed_origin": closed.origin,
                "closed_size": closed.size,
                "closed_root": closed.root.hex(),
                "closed_signature": note.rstrip("\n").rpartition(" ")[2],
                "reason": reason,
            }
            batch.record(Entry(action=NEW_ORIGIN, actor=actor, object=said))
        return self.sign_checkpoint(committer)

    def _extends(self, connection: Connection, size: int, old: int, root: bytes) -> bool:
        return old <= size and self.root(connection, old) == root

    def _names(self, origins: Sequence[Origin]) -> list[str]:
        """Return the names that the log had, in their order."""
        return [self.key.name, *(origin.name for origin in origins)]

    def _key_of(self, name: str) -> NoteKey:
        return NoteKey(name, self.key.public_key)

    def _is_closed(self, said: Statement, origins: Sequence[Origin]) -> bool:
        """Tell whether this is the very checkpoint that a later origin named as lost."""
        return any(said == self._open(origin.closed, origins) for origin in origins)

    def _sign(self, connection: Connection) -> Checkpoint:
        latest = queries.latest_checkpoint(connection)
        head = queries.read_head(connection)
        origins = queries.origins(connection)
        pinned = [] if latest is None else [(latest.size, latest.root)]
        outside = self._outside(origins)
        if outside is not None and not self._is_closed(outside, origins):
            pinned.append((outside.size, outside.root))
        for size, root in pinned:
            if not self._extends(connection, head.size, size, root):
                raise AuditError(
                    f"the audit log does not extend its checkpoint at size {size}, so it signs no other; "
                    "run `cdp audit verify`, and after a restore `cdp audit open-origin`"
                )
        if latest is not None and latest.size == head.size:
            return latest
        root = merkle.Frontier(head.size, head.frontier).root()
        if root != self.root(connection, head.size):
            raise AuditError("the audit log's head is not that of its nodes; run `cdp audit verify`")
        key = self._key_of(self._names(origins)[-1])
        note = sign_note(checkpoint_text(Statement(key.name, head.size, root)), key, self._signer.sign)
        checkpoint = Checkpoint(size=head.size, root=root, note=note, signed_at=self._clock.now())
        queries.add_checkpoint(connection, checkpoint)
        return checkpoint

    # -- proving --------------------------------------------------------------------------------

    def root(self, connection: Connection, size: int) -> bytes:
        """Return the root over the first ``size`` entries.

        :raises InvalidInputError: the log is not that long.
        """
        return self._span_hashes(connection, size, [(0, size)])[0]

    def inclusion(self, connection: Connection, index: int, size: int) -> list[bytes]:
        """Return the proof that entry ``index`` is in the log of ``size`` entries (RFC 9162, 2.1.3).

        :raises InvalidInputError: not 0 ≤ index < size ≤ the log's size.
        """
        if not 0 <= index < size:
            raise InvalidInputError("an inclusion proof needs an index from 0 and a size above it")
        return self._span_hashes(connection, size, merkle.inclusion_spans(index, size))

    def consistency(self, connection: Connection, old: int, new: int) -> list[bytes]:
        """Return the proof that the log of ``new`` entries begins with that of ``old`` (2.1.4).

        :raises InvalidInputError: not 0 ≤ old ≤ new ≤ the log's size.
        """
        if not 0 <= old <= new:
            raise InvalidInputError("a consistency proof needs two sizes, the smaller one first")
        return self._span_hashes(connection, new, merkle.consistency_spans(old, new))

    def _span_hashes(self, connection: Connection, size: int, spans: Sequence[merkle.Span]) -> list[bytes]:
        """Return the hash of each span, from O(log n) stored nodes read in one statement."""
        if not 0 <= size <= self.size(connection):
            raise InvalidInputError("the audit log does not have this size yet")
        places = {merkle.position(*subtree) for span in spans for subtree in merkle.subtrees(span)}
        stored = queries.nodes_at(connection, sorted(places))
        if len(stored) != len(places):
            raise AuditError("the audit log has lost stored nodes; run `cdp audit verify`")
        return [
            merkle.span_hash(span, lambda level, index: stored[merkle.position(level, index)])
            for span in spans
        ]

    def verify(self, connection: Connection) -> Report:
        """Recompute the whole log and compare it with everything stored about it.

        :param connection: a fresh snapshot: the outside checkpoint is read before it, so that one
            published meanwhile does not seem to be ahead of the log.
        """
        outside = self._read_file()
        held = queries.stream_checkpoints(connection)
        origins = queries.origins(connection)
        report = verify(
            queries.read_head(connection),
            queries.stream_entries(connection),
            queries.stream_nodes(connection),
            merge(held, self._as_stored(outside, origins), key=attrgetter("size")),
            LogKey(self.key.name, self.key.public_key, verify_signature),
        )
        beside = [Problem("index", at, what) for at, what in asking.disagreements(connection)]
        foreign = strangers(queries.stream_details(connection))
        beside += [Problem("detail", at, "is not one of those that its entry has") for at in foreign]
        return report._replace(problems=(*report.problems, *beside))

    # -- the checkpoint outside -----------------------------------------------------------------

    def _publish(self, checkpoint: Checkpoint, origins: Sequence[Origin]) -> None:
        if self._file is None:
            return
        outside, names = self._outside(origins), self._names(origins)
        signed = self._open(checkpoint.note, origins)
        if outside is not None and (names.index(outside.origin), outside.size) >= (
            names.index(signed.origin),
            signed.size,
        ):
            return
        beside = self._file.with_name(f"{self._file.name}.{os.getpid()}.new")
        try:
            with beside.open("w", encoding="utf-8", newline="\n") as file:
                file.write(checkpoint.note)
            put_in_place(beside, self._file)
        except OSError as error:
            raise UnavailableError(
                f"the checkpoint file {self._file} cannot be written: {error.strerror}"
            ) from None

    def _outside(self, origins: Sequence[Origin]) -> Statement | None:
        """Return what the outside checkpoint says.

        :raises AuditError: it is not one of this log.
        """
        note = self._read_file()
        if note is None:
            return None
        try:
            return self._open(note, origins)
        except AuditError as error:
            raise AuditError(f"the checkpoint file {self._file}: {error}; move it away") from None

    def _open(self, note: str, origins: Sequence[Origin]) -> Statement:
        """Return what a checkpoint of one of the log's origins says.

        :raises AuditError: it is malformed, badly signed, or of another log.
        """
        name = note.partition("\n")[0]
        known = name if name in self._names(origins) else self.key.name
        return open_checkpoint(note, self._key_of(known), verify_signature)

    def verifier_text(self, checkpoint: Checkpoint) -> str:
        """Return the key that signed a checkpoint, as a verifier pins it."""
        return self._key_of(checkpoint.note.partition("\n")[0]).verifier_text()

    def _read_file(self) -> str | None:
        if self._file is None:
            return None
        try:
            with self._file.open("rb") as file:
                return file.read(_MAX_NOTE_BYTES).decode("utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnavailableError(
                f"the checkpoint file {self._file} cannot be read: {error.strerror}"
            ) from None

    def _as_stored(self, note: str | None, origins: Sequence[Origin]) -> Iterator[StoredCheckpoint]:
        """Yield the outside checkpoint as the verifier takes it; a broken one fails at size 0."""
        if note is None:
            return
        try:
            said = self._open(note, origins)
        except AuditError:
            yield StoredCheckpoint(0, b"", note, f"checkpoint file {self._file}")
        else:
            yield StoredCheckpoint(said.size, said.root, note, f"checkpoint file {self._file}")
