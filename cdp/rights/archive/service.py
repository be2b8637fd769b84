"""The archives of what is kept of people: built in the background, kept sealed, handed over, ended.

Invariants:

1. Whose data an archive holds is decided by what was proved (``identity/reach``), when its building begins
   and again whenever it is handed over: where somebody in it was erased, or split off, the archive ends.
2. It is stored sealed, under a key of its own that is destroyed with it: when it expires, when its request is
   taken back or denied, when anybody in it is erased. Nothing of it is ever clear outside memory.
3. Its building and each handing over is on record with the person as its subject, before the first byte can
   be seen; the entry names the SHA-256 of what was handed over. Looking at a link is no handing over.
4. Building may end anywhere and be begun again, also by two processes: one counts, the rest is dropped.
5. A restriction does not touch it: the rights of the person cannot be restrained.

Steps of building: (1) decide whose data it is, record the use; (2) read everything at one snapshot, opened by
the
gate for the purpose ``rights``, sealing chunk by chunk; (3) see that nobody in it is gone, record what was
made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cdp.audit import Entry
from cdp.clock import DAY, Micros, random_id, rfc3339
from cdp.crypto import Keyring, Place, open_sealed, seal
from cdp.errors import CdpError, ConflictError, NotFoundError
from cdp.gate import CONTROLLER, Refusal
from cdp.rights.archive import queries
from cdp.rights.archive.build import Builder, Built, Flush
from cdp.rights.archive.context import Scope, Stages
from cdp.rights.archive.model import Archive, ArchiveKind
from cdp.rights.links import Links
from cdp.rights.model import Denied, Fulfilled, RightsRequest
from cdp.store import Batch, Committer, Connection, retrying

PURPOSE = "rights"
LIFETIME: Micros = 14 * DAY
"""How long an archive can be fetched; without any other word its key ends a day later (``RETENTION``)."""
PERSON = "person"
HEADERS = {
    "Accept-Ranges": "none",
    "Cache-Control": "no-store",
    "Content-Disposition": 'attachment; filename="your-data.zip"',
    "X-Content-Type-Options": "nosniff",
}
"""What goes with an archive over HTTP: a name that is ours, and nothing kept or guessed on the way."""
_KINDS: dict[str, ArchiveKind] = {"access": "access", "portability": "portability"}
_GONE = "there is no archive of this request, or not any more"


class Download(NamedTuple):
    """An archive being handed over.

    :param size: in bytes.
    :param pieces: its bytes; they end early, with an error, where the archive ends meanwhile.
    """

    size: int
    sha256: str
    pieces: Iterator[bytes]


class _SupersededError(ConflictError):
    """This building counts no more: another one was begun, or the archive was ended."""


class Archives:
    """Builds archives, hands them over, ends them."""

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        stages: Stages,
        links: Links,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._stages = stages
        self._links = links
        self._clock = stages.clock
        self._prefix = Place(keyring.workspace, "archive_chunks", "sealed").prefix()

    # -- building -------------------------------------------------------------------------------

    def fulfil(self, request: RightsRequest) -> Fulfilled | Denied | None:
        """Build the archive of a request, unless it is there; the fulfiller of access and portability."""
        with self._committer.store.reading() as connection:
            known = queries.find(connection, request.request_id)
        if known is not None and known.state == "ready" and known.expires_at > self._clock.now():
            return _fulfilled(known)
        begun = self._begin(request)
        if begun is None:
            return Denied("unknown_person")
        try:
            return self._build(*begun)
        except _SupersededError:
            return None

    def _begin(self, request: RightsRequest) -> tuple[Archive, Scope] | None:
        now, attempt = self._clock.now(), random_id()
        archive = Archive(
            request_id=request.request_id,
            attempt=attempt,
            kind=_KINDS[request.kind],
            state="building",
            bucket=f"archive/{rfc3339(now)[:10]}/{attempt:016x}",
            started_at=now,
            expires_at=now + LIFETIME,
        )

        def run() -> tuple[Scope, str] | None:
            with self._committer.batch() as batch:
                before = queries.find(batch.connection, request.request_id)
                scope = self._scope(batch.connection, request.identity_nos)
                if not scope.numbers:
                    return None
                queries.begin(batch.connection, batch.id, archive, scope.numbers, scope.proved)
                batch.record(self._entry("archive.begin", "system", archive, scope.numbers))
            return scope, "" if before is None else before.bucket

        found = retrying(run)
        if found is None:
            return None
        scope, left = found
        if left:
            self._keyring.destroy_buckets([left])
        return archive, scope

    def _scope(self, connection: Connection, proved: Sequence[int]) -> Scope:
        """Return whose data may be shown; whose key is destroyed is being erased, and gone already."""
        identity = self._stages.identity
        living = set(proved) - self._keyring.destroyed(proved)
        reach = identity.reach(connection, living)
        gone = self._keyring.destroyed(reach.numbers)
        numbers = tuple(number for number in reach.numbers if number not in gone)
        members: dict[int, list[int]] = {}
        for number, profile_no in sorted(identity.profiles_of(connection, numbers).items()):
            members.setdefault(profile_no, []).append(number)
        own = tuple(number for number in numbers if number in living)
        return Scope(proved=own, numbers=numbers, members=members, whole=reach.whole and not gone)

    def _build(self, archive: Archive, scope: Scope) -> Fulfilled | None:
        with self._committer.store.reading() as connection:
            if self._scope(connection, scope.proved) != scope:
                return None  # somebody came or went since; begun again at the next turn
            admitted = self._stages.gate.inside.admit(connection, PURPOSE)
            if isinstance(admitted, Refusal):
                raise admitted.error
            subject = self._stages.gate.subject(connection, admitted, scope.members)
            if isinstance(subject, Refusal):
                raise subject.error
            flush = self._flush(archive)
            built = Builder(self._stages, connection, scope, subject, admitted[0], archive, flush)()
        return self._finish(archive, scope, built)

    def _flush(self, archive: Archive) -> Flush:
        """Return what stores the chunks of an archive as they come.

        It raises ``_SupersededError`` when this building counts no more.
        """
        dek, stored = self._keyring.bucket(archive.bucket), 0

        def flush(chunks: list[bytes], done: int, total: int) -> None:
            nonlocal stored
            places = range(stored, stored + len(chunks))
            sealed = [
                seal(dek, self._prefix, _row_key(archive, place), 0, chunk)
                for place, chunk in zip(places, chunks, strict=True)
            ]

            def run() -> None:
                with self._committer.batch() as batch:
                    if not queries.add_chunks(batch.connection, archive, places.start, sealed, done, total):
                        raise _SupersededError

            retrying(run)
            stored = places.stop

        return flush

    def _finish(self, archive: Archive, scope: Scope, built: Built) -> Fulfilled | None:
        def run() -> bool:
            with self._committer.batch() as batch:
                connection = batch.connection
                if not self._holds(connection, scope.proved, scope.numbers):
                    return False
                if not queries.finish(connection, archive, built.bytes, built.sha256, self._clock.now()):
                    raise _SupersededError
                batch.record(self._entry("archive.ready", "system", archive, scope.numbers, built.sha256))
            return True

        return Fulfilled(result=_result(built.sha256, built.bytes)) if retrying(run) else None

    def _holds(self, connection: Connection, proved: Sequence[int], numbers: Sequence[int]) -> bool:
        """Return whether all of these are still there, and still theirs who proved some of them."""
        return set(numbers) <= set(self._scope(connection, proved).numbers)

    # -- handing over ---------------------------------------------------------------------------

    def status(self, actor: str, request_id: str) -> Archive:
        """Return how far the archive of a request is; recorded.

        :raises NotFoundError: there is none, or not any more.
        """

        def run() -> Archive | None:
            with self._committer.batch() as batch:
                found = self._find(batch.connection, request_id)
                if found is not None:
                    numbers, _ = queries.identities_of(batch.connection, request_id)
                    batch.record(self._entry("archive.read", actor, found, numbers))
            return found

        found = retrying(run)
        if found is None:
            raise NotFoundError(_GONE)
        return found

    def link(self, actor: str, request_id: str) -> tuple[str, Micros]:
        """Return (URL, expiry) of the link by which the person fetches an archive; it opens only that one.

        :raises NotFoundError: there is none, or not any more.
        :raises ConflictError: it is still being built.
        """
        found = self._ready(actor, "archive.link", request_id)
        return self._links.archive(request_id, found.attempt, found.expires_at), found.expires_at

    def peek(self, token: str) -> Archive | None:
        """Return what a link leads to; None for whatever is none. Nothing of anybody is read or changed."""
        named = self._links.open_archive(token)
        if named is None:
            return None
        with self._committer.store.reading() as connection:
            found = self._find(connection, named[0])
        fitting = found is not None and found.attempt == named[1] and found.state == "ready"
        return found if fitting else None

    def fetch(self, token: str) -> Download | None:
        """Hand an archive over to whoever holds its link; None for whatever is no link."""
        found = self.peek(token)
        return None if found is None else self.handed(found.request_id)

    def until(self, connection: Connection, request_id: str) -> Micros | None:
        """Return until when the archive of a request can be fetched; None when it cannot."""
        found = self._find(connection, request_id)
        return None if found is None or found.state != "ready" else found.expires_at

    def handed(self, request_id: str) -> Download | None:
        """Hand an archive over to its person; None where there is none any more."""
        try:
            return self.download(PERSON, request_id)
        except (NotFoundError, ConflictError):
            return None

    def download(self, actor: str, request_id: str) -> Download:
        """Hand an archive over; recorded before the first byte.

        :raises NotFoundError: there is none, or not any more.
        :raises ConflictError: it is still being built.
        """
        found = self._ready(actor, "archive.download", request_id)
        pieces = self._pieces(found)
        first = next(pieces)  # what cannot be opened at all is refused, not begun
        return Download(found.bytes, found.sha256, _behind(first, pieces))

    def _ready(self, actor: str, action: str, request_id: str) -> Archive:
        def run() -> Archive | CdpError:
            with self._committer.batch() as batch:
                found = self._find(batch.connection, request_id)
                if found is None:
                    return NotFoundError(_GONE)
                numbers, proved = queries.identities_of(batch.connection, request_id)
                if found.state != "ready":
                    said = f"the archive is being built: {found.done} of {found.total} events are in it"
                    return ConflictError(said)
                if not self._holds(batch.connection, proved, numbers):
                    self._end(batch, [found], "outdated")
                    return NotFoundError(_GONE)
                batch.record(self._entry(action, actor, found, numbers, found.sha256))
            return found

        found = retrying(run)
        if isinstance(found, CdpError):
            raise found
        return found

    def _pieces(self, archive: Archive) -> Iterator[bytes]:
        for number in range(archive.chunks):
            with self._committer.store.reading() as connection:
                sealed = queries.chunk(connection, archive, number)
            if sealed is None:
                raise NotFoundError(_GONE)
            dek = self._keyring.bucket(
                archive.bucket
            )  # asked each time: it may have been destroyed meanwhile
            yield open_sealed(dek, self._prefix, _row_key(archive, number), 0, sealed)

    def _find(self, connection: Connection, request_id: str) -> Archive | None:
        found = queries.find(connection, request_id)
        return None if found is None or found.expires_at <= self._clock.now() else found

    # -- ending ---------------------------------------------------------------------------------

    def changed(self, batch: Batch, request: RightsRequest) -> None:
        """End the archive of a request that was denied or taken back; a listener of its steps."""
        if request.state in {"denied", "cancelled", "expired"}:
            found = queries.find(batch.connection, request.request_id)
            self._end(batch, [] if found is None else [found], request.state)

    def forget(self, batch: Batch, identity_nos: Sequence[int]) -> int:
        """End every archive that holds data of one of these, as they are erased; returns how many.

        Their keys are destroyed at once, before the batch commits.
        """
        found = queries.holding(batch.connection, identity_nos)
        self._end(batch, found, "erased")
        return len(found)

    def expire(self) -> int:
        """End every archive whose time is over; returns how many."""

        def run() -> int:
            with self._committer.batch() as batch:
                found = queries.expired(batch.connection, self._clock.now())
                self._end(batch, found, "expired")
            return len(found)

        with self._committer.store.reading() as connection:
            if not queries.expired(connection, self._clock.now()):
                return 0
        return retrying(run)

    def _end(self, batch: Batch, found: Sequence[Archive], why: str) -> None:
        if not found:
            return
        self._keyring.destroy_buckets([one.bucket for one in found])
        for one in found:
            numbers, _ = queries.identities_of(batch.connection, one.request_id)
            batch.record(self._entry("archive.end", "system", one, numbers, why=why))
        queries.drop(batch.connection, [one.request_id for one in found])

    @staticmethod
    def _entry(
        action: str, actor: str, archive: Archive, numbers: Sequence[int], sha256: str = "", why: str = ""
    ) -> Entry:
        about: dict[str, str | int] = {"request": archive.request_id, "kind": archive.kind}
        about |= {key: value for key, value in (("sha256", sha256), ("why", why)) if value}
        return Entry(
            action=action,
            actor=actor,
            purpose=PURPOSE,
            destination=CONTROLLER,
            object=about,
            subjects=tuple(numbers),
        )


def _behind(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _row_key(archive: Archive, number: int) -> bytes:
    return f"{archive.request_id}/{archive.attempt}/{number}".encode()


def _fulfilled(archive: Archive) -> Fulfilled:
    return Fulfilled(result=_result(archive.sha256, archive.bytes))


def _result(sha256: str, size: int) -> dict[str, str | int]:
    return {"archive_sha256": sha256, "archive_bytes": size}
