"""Checkpoints as C2SP signed notes (``signed-note``, ``tlog-checkpoint``), pure.

A note is text that ends in a newline, an empty line, and one or more lines
``— <key name> <base64(key id ‖ signature)>``. A checkpoint is a note whose text is the log's
origin, its size in decimal and the base64 of its root, each on a line; extension lines may follow.

Invariants: a note opens only under a key that is known beforehand (name *and* id); signatures of
unknown keys are passed over, a bad one of a known key rejects the note. Making and checking a
signature are handed in, so that this file needs no library.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import NamedTuple

from cdp.audit.merkle import HASH_BYTES
from cdp.errors import AuditError

Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key, message, signature) → whether it is good."""

_ED25519 = b"\x01"
COSIGNATURE = b"\x04"
"""The kind of a key that countersigns, with the time, what a log signed (C2SP tlog-cosignature)."""
_DASH = "\N{EM DASH}"
_KEY_ID_BYTES = 4
_MAX_SIGNATURES = 100
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile("0|[1-9][0-9]{0,18}")


class NoteKey(NamedTuple):
    """A key that signs notes.

    :param name: without spaces and ``+``; a log's is its origin.
    :param public_key: Ed25519, 32 bytes.
    :param kind: the byte that says what it signs.
    """

    name: str
    public_key: bytes
    kind: bytes = _ED25519

    def key_id(self) -> bytes:
        """Return the 4 bytes that name the key inside a signature."""
        return sha256(self.name.encode() + b"\n" + self.kind + self.public_key).digest()[:_KEY_ID_BYTES]

    def verifier_text(self) -> str:
        """Return ``name+id+key``, in which a verifier is pinned."""
        return f"{self.name}+{self.key_id().hex()}+{_base64(self.kind + self.public_key)}"


class Statement(NamedTuple):
    """What a checkpoint says.

    :param root: 32 bytes.
    """

    origin: str
    size: int
    root: bytes


def parse_verifier(text: str, kind: bytes = _ED25519) -> NoteKey:
    """Read a ``name+id+key`` text.

    :raises AuditError: it is malformed, not Ed25519 of this kind, or its id is not that of its key.
    """
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    raw = _from_base64(encoded)
    if raw is None or raw[:1] != kind or len(raw) != 33 or not is_key_name(name):
        raise AuditError("a verifier key must be name+id+base64 of an Ed25519 key")
    key = NoteKey(name, raw[1:], kind)
    if key.key_id().hex() != key_id:
        raise AuditError("the id in a verifier key is not that of its name and key")
    return key


def is_key_name(name: str) -> bool:
    """Tell whether a key, or a log, may have this name."""
    return bool(name) and "+" not in name and not any(c.isspace() for c in name) and name.isprintable()


def sign_note(text: str, key: NoteKey, sign: Callable[[bytes], bytes]) -> str:
    """Return ``text`` as a note signed by ``key``.

    :raises ValueError: the text cannot stand in a note.
    """
    if not text.endswith("\n") or _CONTROL.search(text):
        raise ValueError("a note's text ends in a newline and has no other control character")
    signature = _base64(key.key_id() + sign(text.encode()))
    return f"{text}\n{_DASH} {key.name} {signature}\n"


def open_note(note: str, keys: Iterable[NoteKey], verify: Verify) -> str:
    """Return the text of a note after checking it.

    :raises AuditError: it is malformed, a known key's signature is bad, or no known key signed it.
    """
    text, separator, block = note.rpartition("\n\n")
    text += "\n"
    if not separator or not block.endswith("\n") or _CONTROL.search(note):
        raise AuditError("a signed note is malformed")
    lines = block[:-1].split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise AuditError("a signed note has too many signatures")
    known = {(key.name, key.key_id()): key for key in keys}
    verified = False
    for line in lines:
        name, signature = _signature(line)
        key = known.get((name, signature[:_KEY_ID_BYTES]))
        if key is None:
            continue
        if not verify(key.public_key, text.encode(), signature[_KEY_ID_BYTES:]):
            raise AuditError("a signed note has a bad signature of a known key")
        verified = True
    if not verified:
        raise AuditError("a signed note is not signed by the log's key")
    return text


def checkpoint_text(statement: Statement) -> str:
    """Return the text that a checkpoint's note signs."""
    return f"{statement.origin}\n{statement.size}\n{_base64(statement.root)}\n"


def parse_checkpoint(text: str) -> Statement:
    """Read the text of a checkpoint.

    :raises AuditError: it is malformed.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() or not all(lines) or not _SIZE.fullmatch(lines[1]):
        raise AuditError("a checkpoint is malformed")
    root = _from_base64(lines[2])
    if root is None or len(root) != HASH_BYTES:
        raise AuditError("a checkpoint's root is malformed")
    return Statement(lines[0], int(lines[1]), root)


def open_checkpoint(note: str, key: NoteKey, verify: Verify) -> Statement:
    """Return what a checkpoint of the log with ``key`` says, after checking its signature.

    :raises AuditError: it is malformed, badly signed, or of another log.
    """
    statement = parse_checkpoint(open_note(note, [key], verify))
    if statement.origin != key.name:
        raise AuditError("a checkpoint is of another log")
    return statement


def open_cosignature(text: str, line: str, key: NoteKey, verify: Verify) -> int | None:
    """Return when a witness signed a checkpoint, in Unix seconds; None when the line is of another key.

    :param text: the checkpoint's, with its last newline.
    :raises AuditError: the line is malformed, or its signature is not good.
    """
    name, signature = _signature(line)
    if (name, signature[:_KEY_ID_BYTES]) != (key.name, key.key_id()):
        return None
    at = int.from_bytes(signature[_KEY_ID_BYTES : _KEY_ID_BYTES + 8])
    signed = f"cosignature/v1\ntime {at}\n{text}".encode()
    if not verify(key.public_key, signed, signature[_KEY_ID_BYTES + 8 :]):
        raise AuditError("a cosignature is not good")
    return at


def _signature(line: str) -> tuple[str, bytes]:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    signature = _from_base64(encoded)
    if dash != _DASH or not is_key_name(name) or signature is None or len(signature) <= _KEY_ID_BYTES:
        raise AuditError("a signature line of a note is malformed")
    return name, signature


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _from_base64(text: str) -> bytes | None:
    """Decode canonical, padded, standard base64; None for anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if _base64(raw) == text else None
