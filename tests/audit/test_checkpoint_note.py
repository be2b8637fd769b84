"""Signed notes and checkpoints as C2SP writes them."""

from __future__ import annotations

import base64

import pytest

from cdp.audit import EMPTY_ROOT
from cdp.audit.checkpoint import (
    NoteKey,
    Statement,
    checkpoint_text,
    open_checkpoint,
    open_note,
    parse_checkpoint,
    parse_verifier,
    sign_note,
)
from cdp.crypto import Signer, verify_signature
from cdp.errors import AuditError

C2SP_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1"
    "Yu72IneyaQM=\n"
)
SIGNER = Signer(bytes(range(32)))
KEY = NoteKey("cdp.example/audit", SIGNER.public_key)
CHECKPOINT = (
    "cdp.example/audit\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n"
    "— cdp.example/audit aIGmY3of3XYYHvR2mG3BnOM3aJIR/Z/U4nyKkDonKWHyykJidfVBiskbadNGURHYjfOvcF4b9TlrNwgx"
    "Q89UHbdtYw8=\n"
)
ROOT_8 = bytes.fromhex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
STRANGER = Signer(b"\x07" * 32)


def test_the_vector_of_the_signed_note_text() -> None:
    key = parse_verifier(C2SP_KEY)
    assert key.verifier_text() == C2SP_KEY
    assert open_note(C2SP_NOTE, [key], verify_signature) == "This is an example message.\n"


def test_the_checkpoint_vector_is_made_and_read() -> None:
    assert SIGNER.public_key.hex() == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    assert KEY.verifier_text() == ("cdp.example/audit+6881a663+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4")
    assert parse_verifier(KEY.verifier_text()) == KEY  # its base64 holds a plus sign
    statement = Statement("cdp.example/audit", 8, ROOT_8)
    assert sign_note(checkpoint_text(statement), KEY, SIGNER.sign) == CHECKPOINT
    assert open_checkpoint(CHECKPOINT, KEY, verify_signature) == statement


def test_the_empty_log_has_a_checkpoint() -> None:
    text = checkpoint_text(Statement("cdp.example/audit", 0, EMPTY_ROOT))
    assert text == "cdp.example/audit\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert parse_checkpoint(text).size == 0


def test_every_flipped_character_is_refused() -> None:
    for at, character in enumerate(CHECKPOINT):
        altered = CHECKPOINT[:at] + chr(ord(character) ^ 1) + CHECKPOINT[at + 1 :]
        with pytest.raises(AuditError):
            open_checkpoint(altered, KEY, verify_signature)


def test_every_truncation_is_refused() -> None:
    for end in range(len(CHECKPOINT)):
        with pytest.raises(AuditError):
            open_checkpoint(CHECKPOINT[:end], KEY, verify_signature)


def test_unknown_signatures_are_passed_over_and_known_ones_must_be_good() -> None:
    head, line = CHECKPOINT.split("\n\n")
    others = [
        sign_note(
            head + "\n", NoteKey(f"witness.example/{number}", STRANGER.public_key), STRANGER.sign
        ).split("\n\n")[1]
        for number in range(16)
    ]
    together = f"{head}\n\n{''.join(others)}{line}"
    assert open_checkpoint(together, KEY, verify_signature).size == 8
    with pytest.raises(AuditError, match="not signed by"):
        open_checkpoint(f"{head}\n\n{''.join(others)}", KEY, verify_signature)
    # The right name and id before a signature of something else: refused, although a good one follows.
    bad = base64.b64encode(KEY.key_id() + SIGNER.sign(b"something else")).decode()
    with pytest.raises(AuditError, match="bad signature"):
        open_checkpoint(f"{head}\n\n— {KEY.name} {bad}\n{line}", KEY, verify_signature)


def test_a_key_of_the_same_name_is_another_key() -> None:
    impostor = NoteKey(KEY.name, STRANGER.public_key)
    note = sign_note(checkpoint_text(Statement(KEY.name, 8, ROOT_8)), impostor, STRANGER.sign)
    with pytest.raises(AuditError, match="not signed by"):
        open_checkpoint(note, KEY, verify_signature)


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    note = sign_note(checkpoint_text(Statement("cdp.example/other", 8, ROOT_8)), KEY, SIGNER.sign)
    with pytest.raises(AuditError, match="another log"):
        open_checkpoint(note, KEY, verify_signature)


def test_the_last_blank_line_separates() -> None:
    text = "one\n\ntwo\n\n\n"
    assert open_note(sign_note(text, KEY, SIGNER.sign), [KEY], verify_signature) == text


def test_text_that_cannot_stand_in_a_note_is_not_signed() -> None:
    for text in ("", "no newline", "carriage\r\n", "nul\x00\n", "tab\t\n"):
        with pytest.raises(ValueError, match="newline"):
            sign_note(text, KEY, SIGNER.sign)


@pytest.mark.parametrize(
    "line",
    [
        "- cdp.example/audit aaaaaaaa",
        "—  aaaaaaaa",
        "— cdp.example/audit",
        "— cdp.example/audit aaaa",
        "— cdp.example/audit aaaaaaa=",
        "— cdp.example/audit aaaa aaaa",
        "— cdp+example aaaaaaaa",
        "",
    ],
)
def test_malformed_signature_lines_are_refused(line: str) -> None:
    with pytest.raises(AuditError):
        open_note(CHECKPOINT + line + "\n", [KEY], verify_signature)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n8\n",
        "\n8\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n08\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n-8\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n٨\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n8\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\n",
        "origin\n8\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n",
        "origin\n8\n47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n8\n47DEQpj8HBSa\n",
        "origin\n8\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n",
        "origin\n8\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(AuditError, match="malformed"):
        parse_checkpoint(text)


def test_extension_lines_are_allowed() -> None:
    text = checkpoint_text(Statement("cdp.example/audit", 8, ROOT_8)) + "extension\n"
    assert parse_checkpoint(text) == Statement("cdp.example/audit", 8, ROOT_8)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        C2SP_KEY.replace("530d903a", "530d903b"),
        C2SP_KEY.replace("example.com/foo", "example.com/bar"),
        C2SP_KEY.replace("example.com/foo", "example.com/ foo"),
        C2SP_KEY[:-4],
        C2SP_KEY.replace("+Aeky", "+Beky"),
    ],
)
def test_malformed_verifier_keys_are_refused(text: str) -> None:
    with pytest.raises(AuditError):
        parse_verifier(text)
