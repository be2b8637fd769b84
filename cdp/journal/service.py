"""Writes and reads the journal's files.

Invariants:

1. What restrains is on disk (fsync) before its batch commits; what lifts is written after its batch has
   committed. So a crash in between always errs on the restraining side. Lines of batches that
   rolled back stay: they restrain somebody who wanted it, and none of them lifts anything.
2. Every process writes segments of its own, append only, so several never meet in one file. A segment on
   which a write or flush failed is not used again: after a failed fsync nobody knows what is on disk.
3. A batch without restraints costs nothing here.
4. A tag is HMAC-SHA-256(tag key, blind index), 16 bytes. The blind index already binds workspace,
   identifier type and normaliser version, so replay needs no clear value; an identity that is indexed
   under two versions gets a line for each, one that is erased (no index) gets none.
5. What restrains a person is refused where it cannot be journalled. Putting a key, source or destination out
   of use is not: a full disk must not keep a leaked key alive. It is done, and the log says what is missing.
"""

from __future__ import annotations

import hmac
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from cdp.clock import Clock, Micros, random_id
from cdp.crypto import derive, pae
from cdp.errors import IntegrityError, JournalError
from cdp.journal.model import (
    FORMAT,
    Apart,
    Consent,
    Fact,
    Line,
    Listed,
    Numbers,
    Ordered,
    Position,
    Segment,
    Switched,
    Thing,
    lifts,
)
from cdp.journal.read import START, read_segment, write_line
from cdp.store import Batch, Connection, flush, has_room

IndexesOf = Callable[[Connection, Sequence[int]], Mapping[int, Sequence[bytes]]]
"""(connection, identity numbers) → the blind indexes of each."""

log = structlog.get_logger()
_SUFFIX = ".journal"
_SEGMENT_BYTES = 64 * 1024 * 1024
_PLACE = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")  # ISO 3166
_CONFIRMING = frozenset({"double_opt_in", "preference_page"})  # as consent, which stands above, calls them
_FROM_RECORD = tuple(name for name in Consent.__struct_fields__ if name != "tag")
_taken = attrgetter(*_FROM_RECORD)


class Journal:
    """The journal of one workspace, in a folder that belongs on another disk than the database.

    :param root: 32 bytes (``Keyring.secret("journal")``); tag key and chain key are derived from it.
    :param segment_bytes: size above which a new segment is begun.
    """

    def __init__(
        self,
        folder: Path,
        root: bytes,
        clock: Clock,
        indexes_of: IndexesOf,
        *,
        segment_bytes: int = _SEGMENT_BYTES,
    ) -> None:
        self.folder = folder
        self._tag_key = derive(root, b"cdp/journal/tag/v1")
        self._chain_key = derive(root, b"cdp/journal/chain/v1")
        self._clock = clock
        self._indexes_of = indexes_of
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0
        self._check = START

    # -- writing --------------------------------------------------------------------------------

    def hold(self, batch: Batch, records: Iterable[Any]) -> None:
        """Give a batch the lines of consent records that restrain, and of acts that may lift a restraint.

        An act that grants to named recipients may take the place of one for whomever, and lifts. What has to
        be on disk before the commit is the first alone, so its line says a withdrawal of the moment before: a
        replay ends what was held until then, and a grant that the database holds itself stands all the same.
        A stamp lifts nothing, so its line names the recipients that it leaves.

        :param records: ``consent.Record``, read by attribute, as consent stands above this stage. A stamp
            that grants only where it leaves out recipients.
        """
        for record in records:
            if record.state == "informed":
                continue
            if record.state == "granted" and record.recipients and record.act:
                batch.facts.append(Fact(identity_no=record.identity_no, line=_narrowing(record)))
                continue
            line = Consent(tag="", **dict(zip(_FROM_RECORD, _taken(record), strict=True)))
            line = msgspec.structs.replace(
                line,
                signal=line.signal if line.signal == "gpc" else "",
                method=line.method if line.method in _CONFIRMING else "",
                notice_id=line.notice_id if line.notice_sha256 else "",
                jurisdiction=line.jurisdiction if _PLACE.fullmatch(line.jurisdiction) else "",
                recipients=line.recipients if line.state == "granted" else (),
            )
            batch.facts.append(Fact(identity_no=record.identity_no, line=line))

    def write(
        self, connection: Connection, facts: Sequence[Fact], instant: Callable[[], Micros]
    ) -> Callable[[], None]:
        """Write what restrains and flush it; returns what to call once the batch has committed.

        :param instant: says when the batch is, in the order of commits; asked only where that counts.
        :raises JournalError: it is not on disk, so the batch must not commit.
        """
        about = {fact.identity_no for fact in facts if fact.tags is None and fact.identity_no}
        about.update(number for fact in facts for group in fact.between for number in group)
        found = self.tags(connection, sorted(about)) if about else {}
        restraining: list[Line] = []
        installation: list[Line] = []
        lifting: list[Line] = []
        at = instant() if any(isinstance(fact.line, Ordered) for fact in facts) else 0
        for fact in facts:
            line = fact.line
            if isinstance(line, Ordered):
                line = msgspec.structs.replace(line, at=at)
            kept = installation if isinstance(line, Switched) else restraining
            (lifting if lifts(line) else kept).extend(self._tagged(line, fact, found))
        if restraining:
            self._append(restraining, flush=True)
        if installation:
            self._try(installation, flush=True)
        return lambda: self._try(lifting, flush=False)

    def _tagged(
        self, line: Consent | Ordered, fact: Fact, found: Mapping[int, Sequence[str]]
    ) -> Sequence[Line]:
        """Return a fact's line once for each tag of whom, or what, it is about; of links once for all.

        :param found: identity_no → its tags.
        """
        if isinstance(line, Apart):
            some, others = (tuple(tag for no in group for tag in found.get(no, ())) for group in fact.between)
            return [msgspec.structs.replace(line, some=some, others=others)] if some and others else []
        if isinstance(line, Switched):
            tags: Sequence[str] = (self.tag_of(line.thing, fact.name),)
        else:
            tags = found.get(fact.identity_no, ()) if fact.tags is None else fact.tags
        if isinstance(line, Listed):
            line = msgspec.structs.replace(line, black_list=self.tag_of("black_list", fact.name))
        return [msgspec.structs.replace(line, tag=tag) for tag in tags]

    def numbers(self, counter: str, below: int) -> None:
        """Write that numbers below ``below`` may be handed out, before any of them is.

        :raises JournalError: it is not on disk.
        """
        self._append([Numbers(counter=counter, below=below)], flush=True)

    def begin(self) -> None:
        """Begin a journal where there is none; from then on an empty folder means that it was lost."""
        if not self.segments():
            self._append([], flush=True)

    def check_room(self) -> None:
        """Let pass, or refuse because what restrains could not be written.

        :raises JournalError: the journal's disk is full, or not there.
        """
        if not has_room(self.folder):
            raise JournalError(f"the disk of the journal in {self.folder} is full, or not there")

    def close(self) -> None:
        """Close the segment in hand."""
        with self._lock:
            self._abandon()

    def _try(self, lines: Sequence[Line], *, flush: bool) -> None:
        """Write what nobody has to wait for: what lifts (its loss restrains too much), and invariant 5."""
        if not lines:
            return
        try:
            self._append(lines, flush=flush)
        except JournalError:
            log.warning("not in the journal: a restore does not know of it", lines=len(lines))

    def _append(self, lines: Sequence[Line], *, flush: bool) -> None:
        with self._lock:
            try:
                if self._file is None or self._size >= self._segment_bytes:
                    self._abandon()
                    self._open()
                self._put(lines, flush=flush)
            except OSError as error:
                self._abandon(at_size=self._size)
                raise JournalError(
                    f"the journal in {self.folder} cannot be written ({error.strerror}); what restrains "
                    "somebody is refused until it can"
                ) from None

    def _put(self, lines: Sequence[Line], *, flush: bool) -> None:
        assert self._file is not None  # noqa: S101  # _append has opened it
        check, written = self._check, []
        for line in lines:
            text, check = write_line(self._chain_key, check, line)
            written.append(text)
        rest = memoryview(b"".join(written))
        size = self._size + len(rest)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        if flush:
            os.fsync(self._file)
        self._check, self._size = check, size

    def _open(self) -> None:
        """Begin a segment that names those before it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = {found: self._first(found) for found in self.segments()}
        named = {name for first in opened.values() if first is not None for name in first.after}
        name = f"{random_id():016x}"
        path = self.folder / f"{name}{_SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._size, self._check = 0, START
        heads = sorted(found for found, first in opened.items() if first is not None and found not in named)
        first = Segment(format=FORMAT, name=name, opened_at=self._clock.now(), after=tuple(heads))
        try:
            self._put([first], flush=True)
            flush(self.folder)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def _abandon(self, at_size: int | None = None) -> None:
        """Let go of the segment in hand, without the part of a line that a failure left at its end."""
        if self._file is None:
            return
        try:
            if at_size is not None:
                os.ftruncate(self._file, at_size)
        except OSError:
            pass  # then its last line is torn, which a reader drops
        finally:
            os.close(self._file)
            self._file = None

    # -- reading --------------------------------------------------------------------------------

    def tag(self, blind_index: bytes) -> str:
        """Return the tag of a blind index, hex."""
        return hmac.digest(self._tag_key, blind_index, "sha256")[:16].hex()

    def tag_of(self, kind: Thing | Literal["black_list"], name: str) -> str:
        """Return the tag of something that is no person; no blind index is as long as what is hashed here."""
        return self.tag(pae(b"cdp/journal/thing/v1", kind.encode(), name.encode()))

    def tags(self, connection: Connection, identity_nos: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """Return identity_no → its tags, one for each blind index."""
        found = self._indexes_of(connection, identity_nos)
        return {number: tuple(self.tag(index) for index in indexes) for number, indexes in found.items()}

    def segments(self) -> list[str]:
        """Return the names of the segments, in the order in which they were begun."""
        return segments(self.folder)

    def lines(self, least: Mapping[str, Position] | None = None) -> Iterator[Line]:
        """Yield every line of every segment.

        :param least: positions that the journal had reached once; it must still hold them.
        :raises IntegrityError: a line was altered, or a segment or a part of one is missing.
        """
        wanted = dict(least or {})
        names = self.segments()
        for name in names:
            at = wanted.pop(name, None)
            for line, position in self._read(name):
                if isinstance(line, Segment) and (line.name != name or not set(line.after) <= set(names)):
                    raise IntegrityError(
                        f"journal segment {name} follows one that is missing, or is another one renamed; "
                        "put back the journal as it was"
                    )
                if at is not None and position.lines == at.lines:
                    at = None if position == at else at
                yield line
            if at is not None:
                raise IntegrityError(
                    f"journal segment {name} is not the one that it was: it held {at.lines} lines once"
                )
        if wanted:
            raise IntegrityError(
                f"{len(wanted)} journal segments are missing, the first of them {min(wanted)}; "
                f"put them back into {self.folder}"
            )

    def positions(self) -> dict[str, Position]:
        """Return how far every segment goes now, after checking all of it.

        :raises IntegrityError: a line was altered.
        """
        found = {}
        for name in self.segments():
            for _, position in self._read(name):
                found[name] = position
        return found

    def _read(self, name: str) -> Iterator[tuple[Line, Position]]:
        try:
            with (self.folder / f"{name}{_SUFFIX}").open("rb") as file:
                yield from read_segment(name, file, self._chain_key)
        except OSError as error:
            raise JournalError(f"journal segment {name} cannot be read ({error.strerror})") from None

    def _first(self, name: str) -> Segment | None:
        """Return how a segment begins; None where its first line was never finished."""
        line, _ = next(self._read(name), (None, None))
        return line if isinstance(line, Segment) else None


def segments(folder: Path) -> list[str]:
    """Return the names of the segments in a folder, in the order in which they were begun."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in folder.glob(f"*{_SUFFIX}"))


def _narrowing(grant: Any) -> Consent:
    """Return the withdrawal that stands for a grant to named recipients, just before it."""
    before = min(grant.event_time, grant.received_at) - 1
    return Consent(
        tag="",
        record_id=grant.record_id,
        purpose=grant.purpose,
        state="withdrawn",
        act=True,
        event_time=before,
        received_at=before,
        source_kind=grant.source_kind,
        source_id=grant.source_id,
        verified=grant.verified,
    )
