"""The journal's files: what comes back, what a crash leaves, and every way to falsify them."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import FixedClock
from cdp.errors import IntegrityError, JournalError
from cdp.journal import Consent, Erasure, Fact, Journal, Line, Numbers, Position, Readmission, Segment
from cdp.journal.read import START, read_segment, write_line
from cdp.store import Batch, Connection

ROOT = bytes(range(32))
KEY = bytes(32)
NOBODY = cast("Connection", None)  # the tests know the indexes without a database


def journal(folder: Path, **more: int) -> Journal:
    """Return a journal in which identity *n* has the index ``n`` as 16 bytes, and identity 0 has none."""

    def indexes_of(_connection: Connection, numbers: object) -> dict[int, list[bytes]]:
        return {number: [number.to_bytes(16)] for number in cast("list[int]", numbers) if number}

    return Journal(folder, ROOT, FixedClock(1), indexes_of, **more)


def instant() -> int:
    """Say when a batch is."""
    return 5


def restraint(number: int, record: int = 1, state: str = "withdrawn") -> Fact:
    line = Consent(
        tag="",
        record_id=record,
        purpose="marketing",
        state=state,
        act=True,
        event_time=1,
        received_at=2,
        source_kind="server",
        source_id=3,
        verified=True,
    )
    return Fact(identity_no=number, line=line)


def said(held: Journal) -> list[Line]:
    return [line for line in held.lines() if not isinstance(line, Segment)]


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("*.journal")
    return file


# -- what is written ----------------------------------------------------------------------------------


def test_a_restraint_is_on_disk_before_the_commit_and_a_lift_only_after_it(tmp_path: Path) -> None:
    held = journal(tmp_path)
    committed = held.write(
        NOBODY, [restraint(1, 1), restraint(2, 2, "granted"), restraint(1, 3, "refused")], instant
    )
    before = said(journal(tmp_path))
    committed()
    after = said(journal(tmp_path))
    assert [line.record_id for line in before if isinstance(line, Consent)] == [1, 3]
    assert [line.record_id for line in after if isinstance(line, Consent)] == [1, 3, 2]


def test_a_line_names_nobody(tmp_path: Path) -> None:
    held = journal(tmp_path)
    held.write(NOBODY, [restraint(7)], instant)()
    (line,) = said(held)
    assert isinstance(line, Consent)
    assert line.tag == held.tag((7).to_bytes(16))
    assert (7).to_bytes(16).hex() not in only_file(tmp_path).read_text()
    assert "identity" not in only_file(tmp_path).read_text()
    other = Journal(tmp_path, bytes(32), FixedClock(1), lambda _c, _n: {})
    assert other.tag((7).to_bytes(16)) != line.tag  # tags of two workspaces do not meet


class Said(msgspec.Struct):
    """A consent record, as far as the journal reads one."""

    method: str
    state: str = "granted"
    act: bool = True
    recipients: tuple[str, ...] = ()
    identity_no: int = 7
    record_id: int = 1
    purpose: str = "marketing"
    event_time: int = 1
    received_at: int = 2
    source_kind: str = "server"
    source_id: int = 3
    verified: bool = True
    event_type: str = "explicit"
    legal_basis: str = "consent"
    signal: str = ""
    expires_at: int | None = None
    notice_id: str = ""
    notice_version: int | None = None
    notice_sha256: str = ""
    jurisdiction: str = ""


def test_a_line_keeps_how_a_grant_was_confirmed_and_no_other_method(tmp_path: Path) -> None:
    batch = SimpleNamespace(facts=[])
    methods = ("double_opt_in", "preference_page", "told by Ada on the phone")
    journal(tmp_path).hold(cast("Batch", batch), [Said(method) for method in methods])
    assert [fact.line.method for fact in batch.facts] == ["double_opt_in", "preference_page", ""]


def test_who_has_no_index_gets_no_line(tmp_path: Path) -> None:
    held = journal(tmp_path)
    held.write(NOBODY, [restraint(0)], instant)()
    assert held.segments() == []


def test_erasure_and_readmission_are_told_apart_by_when_they_may_be_lost(tmp_path: Path) -> None:
    held = journal(tmp_path)
    gone = Fact(identity_no=1, line=Erasure(), tags=("aa",))
    back = Fact(identity_no=1, line=Readmission(), tags=("aa",))
    held.write(NOBODY, [gone, back], instant)
    assert said(held) == [Erasure(tag="aa", at=5)]


def test_a_new_segment_is_begun_when_one_is_full_and_names_the_one_before(tmp_path: Path) -> None:
    held = journal(tmp_path, segment_bytes=1000)
    for record in range(20):
        held.write(NOBODY, [restraint(1, record)], instant)
    assert len(held.segments()) > 3
    assert [line.record_id for line in said(held) if isinstance(line, Consent)] == list(range(20))
    firsts = [line for line in held.lines() if isinstance(line, Segment)]
    assert [first.after for first in firsts] == [(), *((first.name,) for first in firsts[:-1])]


def test_an_empty_folder_after_the_beginning_means_that_it_was_lost(tmp_path: Path) -> None:
    held = journal(tmp_path / "new")
    held.begin()
    held.begin()
    assert len(held.segments()) == 1
    assert said(held) == []


def _write_many(folder: Path, number: int) -> None:
    held = journal(folder)
    for record in range(100):
        held.write(NOBODY, [restraint(number, record)], instant)


def test_two_processes_write_side_by_side(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=_write_many, args=(tmp_path, number)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    held = journal(tmp_path)
    assert len(held.segments()) == 2
    tags = [line.tag for line in said(held) if isinstance(line, Consent)]
    assert {tag: tags.count(tag) for tag in set(tags)} == {held.tag(n.to_bytes(16)): 100 for n in (1, 2)}


# -- what a crash leaves ------------------------------------------------------------------------------


@given(cut=st.integers(min_value=0, max_value=2000))
def test_whatever_a_crash_cuts_off_the_whole_lines_remain(cut: int) -> None:
    raw, previous = b"", START
    lines = [Numbers(counter="c", below=number) for number in range(10)]
    for line in lines:
        text, previous = write_line(KEY, previous, line)
        raw += text
    left = raw[: max(0, len(raw) - cut)]
    read = [line for line, _ in read_segment("s", left.splitlines(keepends=True), KEY)]
    assert read == lines[: left.count(b"\n")]


def test_after_a_torn_line_a_new_process_goes_on_beside_it(tmp_path: Path) -> None:
    held = journal(tmp_path)
    held.write(NOBODY, [restraint(1, 1), restraint(1, 2)], instant)
    held.close()
    file = only_file(tmp_path)
    file.write_bytes(file.read_bytes()[:-20])
    again = journal(tmp_path)
    again.write(NOBODY, [restraint(1, 3)], instant)
    assert [line.record_id for line in said(again) if isinstance(line, Consent)] == [1, 3]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in which no file may grow beyond a page: the kernel refuses the write half way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_write_that_fails_half_way_is_refused_and_leaves_whole_lines(full_disk: Path) -> None:
    held = journal(full_disk)
    held.write(NOBODY, [restraint(1, 1)], instant)
    with pytest.raises(JournalError, match="cannot be written"):
        held.write(NOBODY, [restraint(1, record) for record in range(2, 100)], instant)
    held.write(NOBODY, [restraint(1, 100)], instant)  # in a segment of its own
    assert [line.record_id for line in said(held) if isinstance(line, Consent)] == [1, 100]


def test_a_read_only_folder_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    held = journal(tmp_path / "file" / "journal")
    with pytest.raises(JournalError, match="cannot be written"):
        held.write(NOBODY, [restraint(1)], instant)


def test_a_lift_that_cannot_be_written_fails_nobody(tmp_path: Path) -> None:
    held = journal(tmp_path / "file")
    (tmp_path / "file").touch()
    held.write(NOBODY, [restraint(1, 1, "granted")], instant)()


def test_a_failed_flush_ends_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed fsync the pages may be gone and the next fsync succeed: nothing more goes there."""
    held = journal(tmp_path)
    held.write(NOBODY, [restraint(1, 1)], instant)
    first = held.segments()

    def broken(_file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(JournalError):
            held.write(NOBODY, [restraint(1, 2)], instant)
    held.write(NOBODY, [restraint(1, 3)], instant)
    assert len(held.segments()) == 2
    assert held.segments()[0] == first[0]
    assert [line.record_id for line in said(held) if isinstance(line, Consent)] == [1, 3]


# -- forgery ------------------------------------------------------------------------------------------


def test_any_flipped_byte_of_a_whole_line_is_found(tmp_path: Path) -> None:
    held = journal(tmp_path)
    held.write(NOBODY, [restraint(1, 1), restraint(2, 2)], instant)
    file = only_file(tmp_path)
    sound = file.read_bytes()
    last = sound.rindex(b"\n", 0, -1)
    for place in range(len(sound)):
        changed = bytearray(sound)
        changed[place] ^= 1
        file.write_bytes(changed)
        if place == len(sound) - 1:  # the last newline: then the line is torn
            assert len(said(held)) == 1
            continue
        with pytest.raises(IntegrityError, match="altered"):
            list(held.lines())
    assert last > 0


@pytest.mark.parametrize("change", ["left out", "repeated", "swapped"])
def test_a_line_that_is(change: str, tmp_path: Path) -> None:
    held = journal(tmp_path)
    held.write(NOBODY, [restraint(1, 1), restraint(1, 2), restraint(1, 3)], instant)
    file = only_file(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    changed = {
        "left out": [*lines[:1], *lines[2:]],
        "repeated": [*lines[:2], *lines[1:]],
        "swapped": [lines[0], lines[2], lines[1], lines[3]],
    }[change]
    file.write_bytes(b"".join(changed))
    with pytest.raises(IntegrityError, match="altered"):
        list(held.lines())


def test_a_lost_or_renamed_segment_is_missed(tmp_path: Path) -> None:
    for record in range(3):
        journal(tmp_path).write(NOBODY, [restraint(1, record)], instant)
    held = journal(tmp_path)
    first, second, third = (tmp_path / f"{name}.journal" for name in held.segments())
    kept = second.read_bytes()
    second.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        list(held.lines())
    second.write_bytes(third.read_bytes())
    with pytest.raises(IntegrityError, match="renamed"):
        list(held.lines())
    second.write_bytes(kept)
    assert first.is_file()
    assert len(said(held)) == 3


def test_what_a_backup_noted_must_still_be_there(tmp_path: Path) -> None:
    held = journal(tmp_path)
    held.write(NOBODY, [restraint(1, 1), restraint(1, 2)], instant)
    noted = held.positions()
    held.write(NOBODY, [restraint(1, 3)], instant)
    assert len(list(held.lines(noted))) == 4
    file = only_file(tmp_path)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))  # cut between two lines
    assert len(list(held.lines())) == 2
    with pytest.raises(IntegrityError, match="3 lines once"):
        list(held.lines(noted))
    with pytest.raises(IntegrityError, match="missing"):
        list(held.lines({"0" * 16: Position(1, "00")}))
