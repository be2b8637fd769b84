"""The log in a database: append, search, prove, sign, and every way to falsify it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Connection, delete, event, insert, select, update
from sqlalchemy.exc import IntegrityError

import cdp.audit
import cdp.store
from cdp.audit import (
    AuditEntry,
    AuditFilter,
    AuditLog,
    Entry,
    Report,
    leaf_hash,
    merkle,
    reference,
    root,
    verify_consistency,
    verify_inclusion,
)
from cdp.audit import queries as audit_queries
from cdp.audit.checkpoint import NoteKey, Statement, checkpoint_text, open_checkpoint, sign_note
from cdp.audit.tables import (
    audit_details,
    audit_entries,
    audit_head,
    audit_nodes,
    audit_subjects,
    checkpoints,
)
from cdp.clock import SECOND, FixedClock
from cdp.crypto import FileKeyProvider, Keyring, Signer, verify_signature
from cdp.errors import AuditError, InvalidInputError, NotFoundError, UnavailableError
from cdp.store import Committer, Store

ORIGIN = "cdp.example/audit"


class World(NamedTuple):
    """A log with everything around it."""

    store: Store
    keyring: Keyring
    clock: FixedClock
    log: AuditLog
    committer: Committer
    file: Path

    def record(self, *entries: Entry) -> list[int]:
        """Commit ``entries`` in one batch."""
        with self.committer.batch() as batch:
            for entry in entries:
                batch.record(entry)
        return batch.audit_indexes

    def fill(self, count: int) -> None:
        """Commit ``count`` entries, one batch each, one second apart, each about one of ten people."""
        for number in range(count):
            self.clock.advance(SECOND)
            self.record(entry_about(1 + number % 10, f"key:{number % 3}"))

    def verify(self) -> Report:
        with self.store.reading() as connection:
            return self.log.verify(connection)

    def tamper(self, change: Callable[[Connection], object]) -> None:
        """Change the database behind the log's back."""
        with self.store.writing() as connection, connection.begin():
            change(connection)

    def search(self, **wanted: object) -> list[AuditEntry]:
        with self.store.reading() as connection:
            return self.log.search(connection, AuditFilter(**wanted))  # type: ignore[arg-type]  # by name


def entry_about(identity_no: int, actor: str = "key:1", **more: str) -> Entry:
    return Entry(action="profile.lookup", actor=actor, subjects=(identity_no,), people={"found": 1}, **more)  # type: ignore[arg-type]  # names


@pytest.fixture
def world(tables_url: str, tmp_path: Path) -> Iterator[World]:
    clock = FixedClock(1_700_000_000 * SECOND)
    store = Store(tables_url)
    key_store = Store(f"sqlite:///{tmp_path / 'keys.sqlite'}")
    provider = FileKeyProvider.create(tmp_path / "root.key")
    Keyring.initialise(key_store, provider, "test", clock)
    keyring = Keyring(key_store, provider, "test", clock)
    keyring.create(range(1, 21))
    with store.writing() as connection, connection.begin():
        cdp.store.initialise(connection)
        cdp.audit.initialise(connection)
    file = tmp_path / "outside" / "checkpoint"
    file.parent.mkdir()
    log = AuditLog(keyring, ORIGIN, clock, file)
    yield World(store, keyring, clock, log, Committer(store, log.append, clock), file)
    store.close()
    key_store.close()


# -- append ----------------------------------------------------------------------------------------


def test_entries_get_dense_indexes_in_the_order_of_commits(world: World) -> None:
    assert world.record(entry_about(1), entry_about(2), entry_about(3)) == [0, 1, 2]
    assert world.record() == []
    assert world.record(entry_about(4)) == [3]
    assert [(entry.index, entry.commit_no) for entry in world.search()] == [(3, 3), (2, 1), (1, 1), (0, 1)]


def test_a_batch_that_rolls_back_leaves_no_entry(world: World) -> None:
    world.fill(2)
    with suppress(NotFoundError), world.committer.batch() as batch:
        batch.record(entry_about(1))
        raise NotFoundError
    with pytest.raises(InvalidInputError):
        world.record(entry_about(1), Entry(action="bad\x00", actor="system"))
    assert world.record(entry_about(1)) == [2]
    assert world.verify().ok


def test_concurrent_batches_share_one_log_without_gaps(world: World) -> None:
    def work() -> None:
        for number in range(10):
            world.record(entry_about(1 + number))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = world.verify()
    assert (report.entries, report.problems) == (40, ())


def test_one_entry_takes_a_handful_of_statements(world: World) -> None:
    world.fill(7)
    statements: list[str] = []

    @event.listens_for(world.store.engine, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    with world.store.writing() as connection, connection.begin():
        statements.clear()
        world.log.append(connection, 8, world.clock.now(), [entry_about(1)])
        first = len(statements)
        world.log.append(connection, 9, world.clock.now(), [entry_about(1)] * 900)
    assert first <= 7  # entries, nodes, subjects, details; the head read and moved; who was erased
    assert len(statements) - first <= 7 * 4  # SQLite: 900 rows are 512, 256, 128 and 4


# -- search ----------------------------------------------------------------------------------------


def test_search_by_each_column(world: World) -> None:
    world.record(
        Entry(action="a", actor="key:1", purpose="p", destination="d"),
        Entry(action="b", actor="key:1", outcome="denied"),
    )
    start = world.clock.now()
    world.clock.advance(SECOND)
    world.record(Entry(action="a", actor="system"))

    def found(**wanted: object) -> list[int]:
        with world.store.reading() as connection:
            total = world.log.count(connection, AuditFilter(**wanted))  # type: ignore[arg-type]  # by name
        indexes = [entry.index for entry in world.search(**wanted)]
        assert len(indexes) == total
        return indexes

    assert found() == [2, 1, 0]
    assert found(actor="key:1") == [1, 0]
    assert found(action="a") == [2, 0]
    assert found(action="a", actor="key:1") == [0]
    assert found(purpose="p") == [0]
    assert found(destination="d") == [0]
    assert found(outcome="denied") == [1]
    assert found(from_=start, to=start + SECOND) == [1, 0]
    assert found(from_=start + SECOND) == [2]
    assert found(to=start) == []
    assert found(actor="nobody") == []


def test_search_by_person_until_the_person_is_erased(world: World) -> None:
    world.record(entry_about(1), entry_about(2), Entry(action="x", actor="system", subjects=(2, 3)))
    assert [entry.index for entry in world.search(identity_nos=(2,))] == [2, 1]
    assert [entry.index for entry in world.search(identity_nos=(1, 3))] == [2, 0]
    assert world.search(identity_nos=()) == []
    world.tamper(lambda connection: world.log.forget(connection, [2]))
    assert world.search(identity_nos=(2,)) == []
    assert [entry.index for entry in world.search(identity_nos=(3,))] == [2]
    assert world.verify().ok


def test_pages_continue_while_entries_are_appended(world: World) -> None:
    world.fill(7)
    pages: list[int] = []
    after: int | None = None
    for _ in range(4):
        with world.store.reading() as connection:
            page = world.log.search(connection, AuditFilter(), limit=3, after_index=after)
        if not page:
            break
        pages.extend(entry.index for entry in page)
        after = page[-1].index
        world.fill(2)
    assert pages == [6, 5, 4, 3, 2, 1, 0]


def test_a_person_proves_that_an_entry_is_about_them(world: World) -> None:
    world.record(Entry(action="x", actor="system", subjects=(4, 5, 6)))
    (found,) = world.search()
    with world.store.reading() as connection:
        packed = connection.execute(select(audit_entries.c.subject_refs)).scalar_one()
    references = merkle.unpack(packed)
    secret = world.keyring.proof_secrets([5])[5]
    mine = reference(secret, bytes.fromhex(found.nonce))
    assert mine in references
    assert root(map(leaf_hash, references)).hex() == found.subjects


# -- proofs ----------------------------------------------------------------------------------------


def test_proofs_from_stored_nodes_verify(world: World) -> None:
    world.record(*(entry_about(1) for _ in range(13)))
    with world.store.reading() as connection:
        assert world.log.size(connection) == 13
        leaves = [leaf_hash(entry.data) for entry in reversed(world.log.search(connection, AuditFilter()))]
        roots = [world.log.root(connection, size) for size in range(14)]
        assert roots == [root(leaves[:size]) for size in range(14)]
        for size in range(1, 14):
            for index in range(size):
                proof = world.log.inclusion(connection, index, size)
                assert verify_inclusion(index, size, leaves[index], proof, roots[size])
            for old in range(size + 1):
                proof = world.log.consistency(connection, old, size)
                assert verify_consistency(old, size, roots[old], roots[size], proof)
        for ask in (
            lambda: world.log.root(connection, 14),
            lambda: world.log.inclusion(connection, 0, 14),
            lambda: world.log.inclusion(connection, 3, 3),
            lambda: world.log.inclusion(connection, -1, 3),
            lambda: world.log.consistency(connection, 4, 3),
            lambda: world.log.consistency(connection, 4, 14),
        ):
            with pytest.raises(InvalidInputError):
                ask()


# -- checkpoints -----------------------------------------------------------------------------------


def test_checkpoints_are_signed_stored_and_written_outside(world: World) -> None:
    world.fill(3)
    first = world.log.sign_checkpoint(world.committer)
    assert world.file.read_text(encoding="utf-8") == first.note
    said = open_checkpoint(first.note, world.log.key, verify_signature)
    with world.store.reading() as connection:
        assert said == (ORIGIN, 3, world.log.root(connection, 3))
        assert world.log.latest_checkpoint(connection) == first
    assert world.log.sign_checkpoint(world.committer) == first  # nothing new: the same one
    world.fill(2)
    second = world.log.sign_checkpoint(world.committer)
    assert second.size == 5
    assert world.file.read_text(encoding="utf-8") == second.note
    report = world.verify()
    assert (report.checkpoints, report.signed, report.problems) == (3, 5, ())
    assert list(world.file.parent.iterdir()) == [world.file]


def test_a_checkpoint_that_was_stored_but_not_written_is_written_later(world: World) -> None:
    world.fill(3)
    first = world.log.sign_checkpoint(world.committer)
    world.file.unlink()
    assert world.log.sign_checkpoint(world.committer) == first
    assert world.file.read_text(encoding="utf-8") == first.note


def test_a_slow_process_does_not_put_an_older_checkpoint_over_a_newer_one(world: World) -> None:
    world.fill(3)
    older = world.log.sign_checkpoint(world.committer)
    world.fill(2)
    newer = world.log.sign_checkpoint(world.committer)
    world.log._publish(older, [])
    assert world.file.read_text(encoding="utf-8") == newer.note


def test_nothing_is_published_that_was_not_committed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(1)

    def fail(*_: object) -> None:
        raise NotFoundError

    monkeypatch.setattr(audit_queries, "add_checkpoint", fail)
    with pytest.raises(NotFoundError):
        world.log.sign_checkpoint(world.committer)
    assert not world.file.exists()


def test_two_that_sign_at_once_sign_one_checkpoint(world: World) -> None:
    world.fill(1)
    first = world.log.sign_checkpoint(world.committer)
    world.clock.advance(SECOND)
    with world.committer.batch(head_first=True) as batch:  # the one who waited for the lock
        assert world.log._sign(batch.connection) == first


def test_one_size_has_one_root(world: World) -> None:
    world.fill(1)
    checkpoint = world.log.sign_checkpoint(world.committer)
    with pytest.raises(IntegrityError), world.store.engine.begin() as connection:
        audit_queries.add_checkpoint(connection, checkpoint)


def test_the_empty_log_can_be_signed_and_verified(world: World) -> None:
    report = world.verify()
    assert (report.entries, report.root, report.ok) == (0, cdp.audit.EMPTY_ROOT, True)
    assert world.log.sign_checkpoint(world.committer).size == 0
    assert world.verify().ok
    world.fill(1)
    world.log.sign_checkpoint(world.committer)
    assert world.verify().ok


def _cut_off_last(connection: Connection) -> None:
    """Put a log of 5 entries back to its first 4, perfectly."""
    for table in (audit_entries, audit_details):
        connection.execute(delete(table).where(table.c.leaf_index == 4))
    position = merkle.position_count(4)
    connection.execute(delete(audit_nodes).where(audit_nodes.c.position >= position))
    connection.execute(delete(checkpoints))
    nodes = audit_queries.nodes_at(connection, [merkle.position(2, 0)])
    connection.execute(update(audit_head).values(size=4, frontier=nodes[merkle.position(2, 0)]))


def test_a_log_put_back_signs_nothing_and_fails_against_the_checkpoint_outside(world: World) -> None:
    world.fill(5)
    world.log.sign_checkpoint(world.committer)
    world.tamper(_cut_off_last)
    with pytest.raises(AuditError, match="does not extend its checkpoint at size 5"):
        world.log.sign_checkpoint(world.committer)
    (problem,) = world.verify().problems
    assert problem.place == f"checkpoint file {world.file}"
    assert problem.index == 5
    assert "cut off" in problem.what


def test_a_log_put_back_and_continued_differently_is_a_fork(world: World) -> None:
    world.fill(5)
    world.log.sign_checkpoint(world.committer)
    world.tamper(_cut_off_last)
    world.fill(3)
    with pytest.raises(AuditError, match="does not extend its checkpoint at size 5"):
        world.log.sign_checkpoint(world.committer)
    (problem,) = world.verify().problems
    assert (problem.place, problem.index) == (f"checkpoint file {world.file}", 5)


def test_a_foreign_or_broken_file_outside_is_refused_and_kept(world: World) -> None:
    world.fill(2)
    for content in (b"", b"not a note", b"\xff\xfe", b"x" * 2_000_000):
        world.file.write_bytes(content)
        with pytest.raises(AuditError, match="move it away"):
            world.log.sign_checkpoint(world.committer)
        assert world.file.read_bytes() == content
        (problem,) = world.verify().problems
        assert problem.place == f"checkpoint file {world.file}"


def test_a_place_outside_that_cannot_be_written_is_said(world: World) -> None:
    world.fill(1)
    world.file.parent.rmdir()
    with pytest.raises(UnavailableError, match="cannot be written"):
        world.log.sign_checkpoint(world.committer)
    world.file.parent.mkdir()
    assert world.log.sign_checkpoint(world.committer).size == 1
    assert world.file.exists()


# -- falsifying ------------------------------------------------------------------------------------


def _entry(index: int, **values: object) -> Callable[[Connection], object]:
    statement = update(audit_entries).where(audit_entries.c.leaf_index == index).values(**values)
    return lambda connection: connection.execute(statement)


def _read_entry(connection: Connection, index: int) -> bytes:
    query = select(audit_entries.c.entry).where(audit_entries.c.leaf_index == index)
    return bytes(connection.execute(query).scalar_one())


@pytest.fixture
def signed(world: World) -> World:
    """A log of 11 entries with checkpoints at 4, 9 and 11."""
    world.fill(4)
    world.log.sign_checkpoint(world.committer)
    world.fill(5)
    world.log.sign_checkpoint(world.committer)
    world.fill(2)
    world.log.sign_checkpoint(world.committer)
    report = world.verify()
    assert (report.entries, report.checkpoints, report.signed, report.ok) == (11, 4, 11, True)
    return world


def places(world: World) -> list[tuple[str, int | None]]:
    return [(problem.place, problem.index) for problem in world.verify().problems]


@pytest.mark.parametrize("index", [0, 3, 8, 10])
def test_one_flipped_byte_of_an_entry_is_named(signed: World, index: int) -> None:
    def flip(connection: Connection) -> None:
        data = bytearray(_read_entry(connection, index))
        data[len(data) // 2] ^= 1
        _entry(index, entry=bytes(data))(connection)

    signed.tamper(flip)
    assert places(signed) == [("entry", index)]


def test_a_deleted_entry_is_named(signed: World) -> None:
    signed.tamper(lambda c: c.execute(delete(audit_entries).where(audit_entries.c.leaf_index == 6)))
    (problem,) = signed.verify().problems
    assert str(problem) == "entry 6: is missing"


def test_deleted_last_entries_are_named(signed: World) -> None:
    signed.tamper(lambda c: c.execute(delete(audit_entries).where(audit_entries.c.leaf_index >= 9)))
    assert places(signed) == [("entry", 9), ("entry", 10)]


def test_an_added_entry_is_named(signed: World) -> None:
    def add(connection: Connection) -> None:
        (row,) = connection.execute(select(audit_entries).where(audit_entries.c.leaf_index == 2)).mappings()
        connection.execute(insert(audit_entries).values({**row, "leaf_index": 11}))

    signed.tamper(add)
    assert places(signed) == [("entry", 11)]


def test_swapped_entries_are_named(signed: World) -> None:
    def swap(connection: Connection) -> None:
        one, other = _read_entry(connection, 2), _read_entry(connection, 7)
        _entry(2, entry=other)(connection)
        _entry(7, entry=one)(connection)

    signed.tamper(swap)
    assert places(signed) == [("entry", 2), ("entry", 7)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "key:999"),
        ("action", "other"),
        ("outcome", "denied"),
        ("purpose", "other"),
        ("destination", "other"),
        ("commit_no", 999),
        ("at", 1),
        ("subject_refs", b"\x01" * 32),
        ("subject_refs", None),
    ],
)
def test_an_edited_search_column_is_named(signed: World, column: str, value: object) -> None:
    signed.tamper(_entry(5, **{column: value}))
    (problem,) = signed.verify().problems
    assert (problem.place, problem.index) == ("entry", 5)
    assert ("references" if column == "subject_refs" else f"column {column} ") in problem.what


@pytest.mark.parametrize(("level", "index"), [(1, 1), (2, 0), (3, 0)])
def test_an_edited_node_is_named(signed: World, level: int, index: int) -> None:
    position = merkle.position(level, index)
    edit = update(audit_nodes).where(audit_nodes.c.position == position).values(hash=b"\x05" * 32)
    signed.tamper(lambda connection: connection.execute(edit))
    assert places(signed)[0] == ("node", position)


def test_an_edited_leaf_is_named(signed: World) -> None:
    position = merkle.position(0, 5)
    edit = update(audit_nodes).where(audit_nodes.c.position == position).values(hash=b"\x05" * 32)
    signed.tamper(lambda connection: connection.execute(edit))
    assert places(signed)[0] == ("entry", 5)


def test_missing_and_surplus_nodes_are_named(signed: World) -> None:
    gone = merkle.position(1, 2)
    end = merkle.position_count(11)
    signed.tamper(lambda c: c.execute(delete(audit_nodes).where(audit_nodes.c.position == gone)))
    signed.tamper(lambda c: c.execute(insert(audit_nodes).values(position=end, hash=b"\x05" * 32)))
    assert places(signed) == [("node", gone), ("node", end)]
    with signed.store.reading() as connection, pytest.raises(AuditError, match="lost stored nodes"):
        signed.log.inclusion(connection, 7, 11)


def test_an_edited_head_is_named_and_signs_nothing(signed: World) -> None:
    signed.tamper(lambda c: c.execute(update(audit_head).values(frontier=b"\x05" * 96)))
    assert places(signed) == [("head", 11)]
    signed.tamper(lambda c: c.execute(delete(checkpoints).where(checkpoints.c.size == 11)))
    with pytest.raises(AuditError, match="head is not that of its nodes"):
        signed.log.sign_checkpoint(signed.committer)


def test_a_head_set_back_is_named(signed: World) -> None:
    def set_back(connection: Connection) -> None:
        nodes = audit_queries.nodes_at(connection, [merkle.position(3, 0)])
        connection.execute(update(audit_head).values(size=8, frontier=nodes[merkle.position(3, 0)]))

    signed.tamper(set_back)
    assert [place for place in places(signed) if place[0] == "entry"] == [
        ("entry", 8),
        ("entry", 9),
        ("entry", 10),
    ]


def test_a_log_rewritten_throughout_fails_at_the_first_checkpoint_over_it(signed: World) -> None:
    """Entry 6, all nodes and the head are recomputed: only the signatures are not."""

    def rewrite(connection: Connection) -> None:
        data = _read_entry(connection, 6).replace(b'"outcome":"allowed"', b'"outcome":"denied"')
        _entry(6, entry=data, outcome="denied")(connection)
        entries = [_read_entry(connection, index) for index in range(11)]
        tree = merkle.Frontier()
        hashes = [digest for entry in entries for digest in tree.append(leaf_hash(entry))]
        connection.execute(delete(audit_nodes))
        connection.execute(insert(audit_nodes), [{"position": p, "hash": h} for p, h in enumerate(hashes)])
        connection.execute(update(audit_head).values(frontier=tree.packed()))

    signed.tamper(rewrite)
    problems = signed.verify().problems
    assert [(problem.place, problem.index) for problem in problems] == [
        ("checkpoint", 9),
        ("checkpoint", 11),
        (f"checkpoint file {signed.file}", 11),
    ]
    assert "an entry from 4 to 8 was altered" in problems[0].what
    signed.fill(1)
    with pytest.raises(AuditError, match="does not extend"):
        signed.log.sign_checkpoint(signed.committer)


def _checkpoint(size: int, **values: object) -> Callable[[Connection], object]:
    statement = update(checkpoints).where(checkpoints.c.size == size).values(**values)
    return lambda connection: connection.execute(statement)


def test_edited_checkpoints_are_named(signed: World) -> None:
    signed.tamper(_checkpoint(4, root=b"\x05" * 32))
    assert places(signed) == [("checkpoint", 4)]
    with signed.store.reading() as connection:
        newest = signed.log.latest_checkpoint(connection)
    assert newest is not None
    signed.tamper(_checkpoint(9, note=newest.note))
    assert places(signed) == [("checkpoint", 4), ("checkpoint", 9)]
    signed.tamper(_checkpoint(11, note=newest.note.replace("\n11\n", "\n10\n")))
    assert places(signed) == [("checkpoint", 4), ("checkpoint", 9), ("checkpoint", 11)]


def test_a_checkpoint_of_another_key_is_named(signed: World) -> None:
    thief = Signer(b"\x07" * 32)
    with signed.store.reading() as connection:
        text = checkpoint_text(Statement(ORIGIN, 9, signed.log.root(connection, 9)))
    signed.tamper(_checkpoint(9, note=sign_note(text, NoteKey(ORIGIN, thief.public_key), thief.sign)))
    assert places(signed) == [("checkpoint", 9)]


def test_a_rolled_back_file_outside_still_verifies_and_moves_forward(signed: World) -> None:
    with signed.store.reading() as connection:
        (old,) = connection.execute(select(checkpoints.c.note).where(checkpoints.c.size == 4)).scalars()
    signed.file.write_text(old, encoding="utf-8")
    assert signed.verify().ok
    signed.log.sign_checkpoint(signed.committer)
    assert "\n11\n" in signed.file.read_text(encoding="utf-8")


def test_a_ruined_log_ends_the_check_early(signed: World) -> None:
    signed.tamper(lambda c: c.execute(update(audit_head).values(size=10**15)))
    report = signed.verify()
    assert not report.ok
    assert len(report.problems) <= 1001


def test_the_index_of_subjects_holds_only_numbers(signed: World) -> None:
    with signed.store.reading() as connection:
        assert len(connection.execute(select(audit_subjects)).all()) == 11
