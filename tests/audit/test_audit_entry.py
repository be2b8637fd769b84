"""What an entry looks like in the log."""

from __future__ import annotations

import json

import pytest

from cdp.audit import Entry, leaf_hash, root
from cdp.audit.entry import Encoded, decode, encode, reference, subjects_root
from cdp.clock import DAY
from cdp.errors import AuditError, InvalidInputError, TooLargeError

NONCE = bytes(range(16))
SECRETS = {number: bytes([number]) * 32 for number in (4, 5, 6)}


def logged(entry: Entry) -> Encoded:
    return encode(entry, commit_no=7, now=20_000 * DAY, nonce=NONCE, proof_secrets=SECRETS)


def test_an_entry_is_canonical_json_with_a_fixed_shape() -> None:
    entry = Entry(
        action="export.authorise",
        actor="key:1",
        outcome="denied",
        purpose="marketing.communications.email",
        destination="esp",
        object={"segment": "lapsed", "export": 9},
        counts={"fields": 3},
        people={"released": 1200, "withheld": 9, "reached": 10, "none": 0},
    )
    assert logged(entry).data == (
        b'{"action":"export.authorise","actor":"key:1","commit_no":7,"counts":{"fields":3},'
        b'"destination":"esp","object":{"export":9,"segment":"lapsed"},"outcome":"denied",'
        b'"people":{"none":"<10","reached":10,"released":1200,"withheld":"<10"},'
        b'"purpose":"marketing.communications.email","time":"2024-10-04T00:00:00Z","v":1}'
    )


def test_an_entry_is_read_back() -> None:
    entry = Entry(action="profile.lookup", actor="key:1", subjects=(4,), people={"found": 1})
    back = decode(3, logged(entry).data)
    assert (back.index, back.at, back.commit_no, back.action) == (3, 20_000 * DAY, 7, "profile.lookup")
    assert back.people == {"found": "<10"}
    assert back.nonce == NONCE.hex()
    assert back.subjects == leaf_hash(reference(SECRETS[4], NONCE)).hex()


def test_subjects_are_a_root_over_sorted_references() -> None:
    one = logged(Entry(action="a", actor="system", subjects=(6, 4, 5, 4)))
    other = logged(Entry(action="a", actor="system", subjects=(5, 6, 4)))
    assert one.data == other.data  # neither order nor repetition shows
    assert one.references == sorted(reference(SECRETS[number], NONCE) for number in (4, 5, 6))
    assert json.loads(one.data)["subjects"] == root(map(leaf_hash, one.references)).hex()
    assert subjects_root(one.references).hex() == json.loads(one.data)["subjects"]


def test_the_number_of_subjects_does_not_show() -> None:
    few = logged(Entry(action="a", actor="system", subjects=(4,)))
    more = logged(Entry(action="a", actor="system", subjects=(4, 5, 6)))
    assert len(few.data) == len(more.data)


def test_another_nonce_gives_other_references() -> None:
    assert reference(SECRETS[4], NONCE) != reference(SECRETS[4], bytes(16))


def test_a_subject_without_a_key_has_no_reference() -> None:
    gone = logged(Entry(action="a", actor="system", subjects=(99,)))
    assert (gone.subjects, gone.references) == ([], [])
    assert "subjects" not in json.loads(gone.data)
    assert logged(Entry(action="a", actor="system", subjects=(99, 5))).subjects == [5]


def test_ids_that_json_would_round_become_text() -> None:
    entry = Entry(action="a", actor="system", object={"id": 2**63 - 1, "small": 2**53 - 1})
    assert json.loads(logged(entry).data)["object"] == {"id": "9223372036854775807", "small": 2**53 - 1}


@pytest.mark.parametrize("bad", ["nul\x00", "line\nbreak", "\ud800", "x" * 201])
@pytest.mark.parametrize("field", ["action", "actor", "purpose", "destination"])
def test_names_that_cannot_be_printed_are_refused(field: str, bad: str) -> None:
    with pytest.raises(InvalidInputError, match="printable") as caught:
        logged(Entry(**{"action": "a", "actor": "system", field: bad}))  # type: ignore[arg-type]  # names
    assert bad not in caught.value.message


def test_an_object_that_json_cannot_carry_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="JSON"):
        logged(Entry(action="a", actor="system", object={"key": "\ud800"}))


def test_an_entry_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLargeError, match="65535"):
        logged(Entry(action="a", actor="system", object={"key": "x" * 65_535}))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"v":2}', b"{}", b'{"v":1,"time":"yesterday"}', b"\xff"])
def test_bytes_that_are_no_entry_are_refused_by_index(data: bytes) -> None:
    with pytest.raises(AuditError, match="audit entry 41"):
        decode(41, data)
