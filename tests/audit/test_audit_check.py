"""The verifier on its own: whatever is altered, in whatever place, is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.audit import Entry, Report, leaf_hash, merkle
from cdp.audit.check import Head, StoredCheckpoint, StoredEntry, verify
from cdp.audit.checkpoint import NoteKey, Statement, checkpoint_text, sign_note
from cdp.audit.entry import encode
from cdp.audit.verify import MAX_PROBLEMS, LogKey
from cdp.clock import SECOND
from cdp.crypto import Signer, verify_signature

SIGNER = Signer(bytes(range(32)))
NOTE_KEY = NoteKey("cdp.example/audit", SIGNER.public_key)
KEY = LogKey(NOTE_KEY.name, NOTE_KEY.public_key, verify_signature)
SECRETS = {number: bytes([number]) * 32 for number in range(1, 6)}


class Stored(NamedTuple):
    """Everything that a log stores."""

    head: Head
    entries: list[StoredEntry]
    nodes: list[tuple[int, bytes]]
    checkpoints: list[StoredCheckpoint]

    def check(self, key: LogKey = KEY) -> Report:
        return verify(self.head, iter(self.entries), iter(self.nodes), iter(self.checkpoints), key)


def log_of(size: int, signed: tuple[int, ...] = ()) -> Stored:
    tree = merkle.Frontier()
    entries, hashes, checkpoints = [], [], []
    for index in range(size + 1):
        if index in signed:
            note = sign_note(
                checkpoint_text(Statement(NOTE_KEY.name, index, tree.root())), NOTE_KEY, SIGNER.sign
            )
            checkpoints.append(StoredCheckpoint(index, tree.root(), note))
        if index < size:
            entry = Entry(action="a", actor="key:1", subjects=tuple(range(1, index % 4 + 1)))
            logged = encode(
                entry, commit_no=index + 1, now=index * SECOND, nonce=bytes(16), proof_secrets=SECRETS
            )
            packed = b"".join(logged.references) or None
            entries.append(
                StoredEntry(
                    index, logged.data, index + 1, index * SECOND, "key:1", "a", "allowed", "", "", packed
                )
            )
            hashes.extend(tree.append(leaf_hash(logged.data)))
    return Stored(Head(size, tree.packed()), entries, list(enumerate(hashes)), checkpoints)


@pytest.mark.parametrize("size", [*range(18), 257])
def test_a_sound_log_verifies(size: int) -> None:
    stored = log_of(size, signed=(0, size // 2, size))
    report = stored.check()
    assert report.problems == ()
    assert (report.ok, report.entries, report.signed) == (True, size, size)
    assert report.checkpoints == len(stored.checkpoints)
    assert report.root == merkle.root(leaf_hash(entry.data) for entry in stored.entries)


def test_what_no_checkpoint_covers_is_said() -> None:
    assert log_of(9, signed=(4,)).check().signed == 4
    assert log_of(9).check().signed == 0


def flipped(raw: bytes, at: int) -> bytes:
    changed = bytearray(raw)
    changed[at % len(changed)] ^= 1 << (at % 8)
    return bytes(changed)


@given(st.integers(1, 40), st.data())
def test_one_flipped_bit_anywhere_is_found(size: int, data: st.DataObject) -> None:
    stored = log_of(size, signed=(size,))
    at = data.draw(st.integers(0, 100_000))
    part = data.draw(st.sampled_from(["entry", "node", "frontier", "root", "note", "references"]))
    if part == "entry":
        index = at % size
        entry = stored.entries[index]
        stored.entries[index] = entry._replace(data=flipped(entry.data, at))
    elif part == "references":
        index = at % size
        entry = stored.entries[index]
        stored.entries[index] = entry._replace(references=flipped(entry.references or bytes(32), at))
    elif part == "node":
        position, digest = stored.nodes[at % len(stored.nodes)]
        stored.nodes[position] = (position, flipped(digest, at))
    elif part == "frontier":
        stored = stored._replace(head=Head(size, flipped(stored.head.frontier, at)))
    else:
        checkpoint = stored.checkpoints[0]
        change = (
            {"root": flipped(checkpoint.root, at)}
            if part == "root"
            else {"note": flipped(checkpoint.note.encode(), at).decode(errors="replace")}
        )
        stored.checkpoints[0] = checkpoint._replace(**change)
    problems = stored.check().problems
    assert problems
    if part in {"entry", "references"}:
        assert [(problem.place, problem.index) for problem in problems] == [("entry", at % size)]


@given(st.integers(2, 40), st.data())
def test_lists_with_something_gone_doubled_or_swapped_are_found(size: int, data: st.DataObject) -> None:
    stored = log_of(size, signed=(size,))
    rows: list[object] = data.draw(st.sampled_from([stored.entries, stored.nodes]))
    at = data.draw(st.integers(0, len(rows) - 2))
    how = data.draw(st.sampled_from(["gone", "doubled", "swapped"]))
    if how == "gone":
        del rows[at]
    elif how == "doubled":
        rows.insert(at, rows[at])
    else:
        rows[at], rows[at + 1] = rows[at + 1], rows[at]
    assert not stored.check().ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda note: note.replace("cdp.example/audit\n8", "cdp.example/other\n8"), "of another log"),
        (lambda note: note.replace("\n8\n", "\n08\n"), "malformed"),
        (lambda note: note[:-1], "malformed"),
        (lambda note: note[:-3] + chr(ord(note[-3]) + 1) + "=\n", "not canonical"),
        (lambda note: note.replace("\n\n", "\n"), "malformed"),
        (lambda note: note.replace("— cdp.example/audit", "— cdp.example/other"), "not signed by"),
        (lambda note: note.replace("\n\n", "\nextension\n\n"), "bad signature"),
    ],
)
def test_what_is_wrong_with_a_note_is_said(change: Callable[[str], str], message: str) -> None:
    stored = log_of(8, signed=(8,))
    stored.checkpoints[0] = stored.checkpoints[0]._replace(note=change(stored.checkpoints[0].note))
    (problem,) = stored.check().problems
    assert (problem.place, problem.index) == ("checkpoint", 8)
    assert message in problem.what


def test_a_checkpoint_under_a_key_that_is_not_pinned_is_refused() -> None:
    stored = log_of(8, signed=(8,))
    other = LogKey(KEY.origin, Signer(b"\x07" * 32).public_key, verify_signature)
    (problem,) = stored.check(other).problems
    assert "not signed by" in problem.what


def test_a_note_with_signatures_of_witnesses_verifies() -> None:
    stored = log_of(8, signed=(8,))
    text, line = stored.checkpoints[0].note.split("\n\n")
    witness = NoteKey("witness.example", Signer(b"\x07" * 32).public_key)
    beside = sign_note(f"{text}\n", witness, Signer(b"\x07" * 32).sign).split("\n\n")[1]
    stored.checkpoints[0] = stored.checkpoints[0]._replace(note=f"{text}\n\n{beside}{line}")
    assert stored.check().ok


def test_the_list_of_problems_is_bounded() -> None:
    stored = log_of(1500)
    for index, entry in enumerate(stored.entries):
        stored.entries[index] = entry._replace(actor="key:2")
    problems = stored.check().problems
    assert len(problems) == MAX_PROBLEMS + 1
    assert "stopped here" in problems[-1].what
