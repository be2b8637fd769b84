"""Replays of exports: one at a time, in a thread of the server.

Steps:

1. **Begin**: the export is there, and so are the policies of then; no other replay is under way in any
   process; one that a process left behind when it died is closed as interrupted.
2. **Check** what is on record against the audit log: the entry of the decision names the record by its hash,
   and both roots; it is in the log that the newest checkpoint signs.
3. **Decide again** (``again.py``) and **compare** (``compare.py``), page after page, from a snapshot each:
   what was so then is so in all of them, but for who is erased meanwhile.
4. **End**: the report and its audit entry, in one commit. An export of an earlier version is replayed as far
   as what it has on record goes; the report says what it lacks.

Invariant: a replay names nobody; what it says of people are numbers under codes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

import msgspec
import structlog
from pyroaring import BitMap

from cdp.audit import AuditFilter, AuditLog, Entry, leaf_hash, verify_inclusion
from cdp.clock import Clock, Micros
from cdp.crypto import Keyring
from cdp.errors import ConflictError, IntegrityError, NotFoundError
from cdp.gate import counts, manifest
from cdp.gate.prove import Prover
from cdp.gate.queries import Stored, load_export
from cdp.gate.replay import queries
from cdp.gate.replay.again import Again, Case
from cdp.gate.replay.compare import Comparison
from cdp.gate.replay.model import Progress, Replay, Report
from cdp.gate.replay.record import Record, code_version, digest, unpack
from cdp.identity import IdentityService
from cdp.policy import Policies
from cdp.store import Batch, Committer, Connection, Store, retrying

log = structlog.get_logger()
T = TypeVar("T")
PURPOSE = "compliance_review"
_NAME = "replay"
_PAGE = 5_000
_RETENTION = ("retention.begin", "retention.stop", "retention.end")
_LATEST = 1_000
_UNRECORDED = ("segment_members", "withheld", "black_lists", "decided_at", "code_version")


class _StoppedError(ConflictError):
    """A replay ended because its process does."""


class Replays:
    """Replays exports."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        keyring: Keyring,
        audit: AuditLog,
        identity: IdentityService,
        policies: Policies,
        proofs: Prover,
        clock: Clock,
    ) -> None:
        self._store = store
        self._committer = committer
        self._keyring = keyring
        self._audit = audit
        self._identity = identity
        self._policies = policies
        self._proofs = proofs
        self._clock = clock
        self._alone = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._progress: dict[int, Progress] = {}

    # -- what the faces call --------------------------------------------------------------------

    def start(self, actor: str, export_id: str) -> Replay:
        """Begin a replay and return it; it goes on in a thread.

        :raises NotFoundError: there is no such export, or the policies of then are not there.
        :raises ConflictError: another replay is under way.
        :raises IntegrityError: what is stored of the export cannot be read.
        """
        if not self._alone.acquire(blocking=False):
            raise ConflictError("a replay is under way; ask again when it has ended")
        begun: Future[Replay] = Future()
        work = partial(self._work, begun, actor, export_id)
        self._thread = threading.Thread(target=work, name=_NAME, daemon=True)
        self._thread.start()
        return begun.result()

    def close(self) -> None:
        """End the replay in hand at its next page."""
        self._stopping.set()
        self.wait()

    def wait(self) -> None:
        """Wait for the replay in hand."""
        if self._thread is not None:
            self._thread.join()

    def get(self, export_id: str, replay_no: int) -> tuple[Replay, Progress | None]:
        """Return a replay, and how far it is when it is at work in this process.

        :raises NotFoundError: there is none of this export with this number.
        """
        progress = self._progress.get(replay_no)
        with self._store.reading() as connection:
            found = queries.replay(connection, replay_no)
        if found is None or found.export_id != export_id:
            raise NotFoundError("there is no replay of this export with this number")
        if progress is not None:
            return msgspec.structs.replace(found, state="running", report=None), progress
        return self._seen(found), None

    def of_export(self, export_id: str, limit: int, before: int | None) -> list[Replay]:
        """Return replays of an export, the newest first; ``before``: continue behind this one."""
        with self._store.reading() as connection:
            found = queries.replays_of(connection, export_id, limit, before)
        return [self._seen(one) for one in found]

    def _seen(self, replay: Replay) -> Replay:
        """Return a replay as it is: one that says it is running may have died with its process."""
        if replay.state != "running" or self._store.held(_NAME):
            return replay
        with self._store.reading() as connection:  # it is none of those that ended just now
            held = queries.replay(connection, replay.replay_no) or replay
        return msgspec.structs.replace(held, state="interrupted") if held.state == "running" else held

    # -- the steps ------------------------------------------------------------------------------

    def _work(self, begun: Future[Replay], actor: str, export_id: str) -> None:
        failure: Exception | None = None
        try:
            with self._store.holding(_NAME) as free:
                case, kept = self._case(export_id, free=free)
                again = Again(self._keyring, self._identity, self._clock, case)
                replay = self._commit(partial(self._added, actor, export_id))
                self._progress[replay.replay_no] = Progress(0, 0)
                begun.set_result(replay)
                self._run(replay, case, kept, again)
        except Exception as error:  # noqa: BLE001  # it belongs to whoever began the replay
            failure = error
        self._progress.clear()
        self._alone.release()
        if not begun.done():
            begun.set_exception(failure)
        elif failure is not None:
            log.warning("a replay could not be ended", error=type(failure).__name__)

    def _case(self, export_id: str, *, free: bool) -> tuple[Case, queries.Kept | None]:
        if not free:
            raise ConflictError("a replay is under way in another process; ask again when it has ended")
        with self._store.reading() as connection:  # 1
            stored = load_export(connection, export_id)
            if stored is None:
                raise NotFoundError("there is no export with this id")
            kept = queries.kept(connection, export_id)
            record = None if kept is None or kept.record is None else unpack(kept.record)
            bundle = self._policies.stored(connection, stored.authorisation.bundle)
            committed = queries.committed(connection, export_id)
            expired = self._has_expired(connection, stored.authorisation.created_at)
        causes = None if kept is None else kept.causes
        return Case.of(stored, bundle, committed, record, causes, expired=expired), kept

    def _has_expired(self, connection: Connection, since: Micros) -> bool:
        """Return whether the log says that retention deleted anything since an instant."""
        return any(
            entry.object.get("dry") == 0
            for action in _RETENTION
            for entry in self._audit.search(connection, AuditFilter(action=action, from_=since), _LATEST)
        )

    def _added(self, actor: str, export_id: str, batch: Batch) -> Replay:
        now = self._clock.now()
        for lost in queries.running(batch.connection):
            ended = msgspec.structs.replace(lost, state="interrupted", finished_at=now)
            queries.change_replay(batch.connection, ended)
        replay = Replay(
            replay_no=queries.next_replay(batch.connection),
            export_id=export_id,
            state="running",
            actor=actor,
            started_at=now,
        )
        queries.add_replay(batch.connection, replay, batch.id)
        return replay

    def _run(self, replay: Replay, case: Case, kept: queries.Kept | None, again: Again) -> None:
        try:
            report = self._report(replay, case, kept, again)
            ended = msgspec.structs.replace(replay, state="done", report=report)
        except _StoppedError:
            ended = msgspec.structs.replace(replay, state="interrupted")
        except Exception as error:  # noqa: BLE001  # whatever it is, by its name: a message could hold values
            log.warning("a replay ended early", replay=replay.replay_no, error=type(error).__name__)
            ended = msgspec.structs.replace(replay, state="failed")
        self._commit(partial(self._ended, ended, case.stored))

    def _report(self, replay: Replay, case: Case, kept: queries.Kept | None, again: Again) -> Report:
        stored, record = case.stored, case.record
        given = stored.authorisation
        comparison, lacks = self._comparison(case, kept)
        with self._store.reading() as connection:
            logged = self._logged(connection, stored, kept, comparison)  # 2
            people, pages = again.people(connection, _PAGE)
        self._step(replay, 0, people)
        here = BitMap()
        for members in pages:  # 3
            with self._store.reading() as connection:
                comparison.take(again.page(connection, members))
            here.update(members)
            self._step(replay, comparison.people, people)
        absent = BitMap.union(BitMap(), *case.withheld.values()) - here
        comparison.absent(len(absent & case.withheld.get("identity_changed", BitMap())))
        comparison.end()
        if record is not None and given.counts != self._counts(case, here | absent, record):
            comparison.problems["counts_differ"] += 1
        changed_root = comparison.changed_root()
        return Report(
            people=comparison.people,
            reproduced=comparison.reproduced,
            erased=comparison.erased,
            unexplained=comparison.problems.total(),
            explained=dict(sorted((+comparison.explained).items())),
            problems=dict(sorted(comparison.problems.items())),
            leaves=manifest.size(stored.manifest) + len(BitMap.deserialize(stored.changed)),
            carried=comparison.carried,
            root_equal=comparison.root().hex() == logged.get("manifest_root"),
            changed_root_equal=(given.changed_root if changed_root is None else changed_root).hex()
            == logged.get("changed_root"),
            bundle=given.bundle,
            ledger_position=given.ledger_position,
            decided_at=case.decided_at,
            code="" if record is None else record.code,
            code_now=code_version(),
            lacks=lacks,
        )

    def _comparison(self, case: Case, kept: queries.Kept | None) -> tuple[Comparison, tuple[str, ...]]:
        stored = case.stored
        lacks = () if case.record is not None else _UNRECORDED
        try:
            taken_out = self._proofs.taken_out(stored, kept)
        except ConflictError:
            taken_out, lacks = None, (*lacks, "leaves_of_taken_out")
        try:
            sets = [BitMap.deserialize(one.identities) for one in stored.classes]
            changed = BitMap.deserialize(stored.changed)
        except ValueError:
            raise IntegrityError("an export is not as it was stored: a set cannot be read") from None
        fields = stored.authorisation.fields
        classes = [
            (held, manifest.plan_value(fields, one.plan))
            for held, one in zip(sets, stored.classes, strict=True)
        ]
        comparison = Comparison(
            manifest.Leaves(stored.manifest),
            taken_out,
            classes,
            None if case.record is None else case.withheld,
            changed,
            case.causes,
        )
        return comparison, lacks

    def _logged(
        self, connection: Connection, stored: Stored, kept: queries.Kept | None, comparison: Comparison
    ) -> dict[str, str | int]:
        """Return what the audit entry of the decision says, and count what differs from it."""
        given, problems = stored.authorisation, comparison.problems
        found = self._audit.search(connection, AuditFilter(), 1, given.audit_index + 1)
        entry = next((one for one in found if one.index == given.audit_index), None)
        if (
            entry is None
            or entry.action != "export.authorise"
            or entry.object.get("export") != given.export_id
        ):
            problems["entry_missing"] += 1
            return {}
        said = {
            "segment": given.segment,
            "segment_version": given.segment_version,
            "as_of": given.segment_as_of,
            "ledger_position": given.ledger_position,
            "bundle": given.bundle,
        }
        problems["entry_differs"] += any(entry.object.get(name) != value for name, value in said.items())
        packed = None if kept is None else kept.record
        recorded = "" if packed is None else digest(packed)
        problems["record_altered"] += entry.object.get("record", "") != recorded
        problems["entry_not_signed"] += not self._is_signed(connection, entry.index, entry.data)
        comparison.problems = +problems  # those that are none are not named
        return entry.object

    def _is_signed(self, connection: Connection, index: int, data: bytes) -> bool:
        """Return whether an entry is in the log that the newest checkpoint signs, where that is so far."""
        checkpoint = self._audit.latest_checkpoint(connection)
        if checkpoint is None or checkpoint.size <= index:
            return True
        proof = self._audit.inclusion(connection, index, checkpoint.size)
        return verify_inclusion(index, checkpoint.size, leaf_hash(data), proof, checkpoint.root)

    @staticmethod
    def _counts(case: Case, members: BitMap, record: Record) -> object:
        """Return the counts that follow from what is on record."""
        lost = BitMap.union(BitMap(), *(case.causes or {}).values())
        released = members - BitMap.union(BitMap(), *map(record.withheld_for, record.withheld)) - lost
        return counts.exact(members, released, {**case.withheld, "changed_meanwhile": lost})

    def _ended(self, replay: Replay, stored: Stored, batch: Batch) -> None:  # 4
        replay = msgspec.structs.replace(replay, finished_at=self._clock.now())
        queries.change_replay(batch.connection, replay)
        report = replay.report
        said: dict[str, str | int] = {
            "export": replay.export_id,
            "replay": replay.replay_no,
            "state": replay.state,
        }
        people: dict[str, int] = {}
        if report is not None:
            said |= {"root": "equal" if report.root_equal else "different", "code": report.code_now}
            people = {name: getattr(report, name) for name in ("reproduced", "erased", "unexplained")}
        batch.record(
            Entry(
                action="export.replay",
                actor=replay.actor,
                outcome="allowed" if report is not None else "failed",
                purpose=PURPOSE,
                destination=stored.authorisation.destination,
                object=said,
                people=people,
            )
        )

    # -- helpers --------------------------------------------------------------------------------

    def _step(self, replay: Replay, done: int, total: int) -> None:
        """Say how far the replay is, and end it here when the process ends."""
        self._progress[replay.replay_no] = Progress(done, total)
        if self._stopping.is_set():
            raise _StoppedError("interrupted")

    def _commit(self, work: Callable[[Batch], T]) -> T:
        def once() -> T:
            with self._committer.batch(head_first=True) as batch:
                return work(batch)

        return retrying(once)
