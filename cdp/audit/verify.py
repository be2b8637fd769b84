"""verify: check a bundle of the audit log, or one proof, with Python's standard library alone.

    python verify.py [FOLDER] [--key KEY] [--pinned FILE]
    python verify.py --proof FILE --key KEY [--pinned FILE]

FOLDER is where the bundle was unpacked: this file's own folder when none is given. KEY is the log's
verifier key (``name+id+base64``) and FILE an earlier checkpoint, both kept where the log's keeper cannot
change them; a file ``pinned`` in the folder is taken for such a checkpoint. Exit code 0: everything checks;
1: it does not, and each line says where.

What is checked, in this order:

1. Every file is listed in ``SHA256SUMS`` and has that hash; nothing else lies there.
2. Every entry is canonical JSON (RFC 8785) of version 1, and the references to its subjects, and the hashes
   of its sealed details, have the roots that it holds.
3. Every entry is a leaf of the Merkle tree (RFC 9162); hashes of whole subtrees stand for those not shipped.
4. Every checkpoint is a C2SP note, signed by the log's key (Ed25519, RFC 8032), with the root of that tree
   at its size. A log that fell behind a checkpoint says so in an entry ``audit.origin`` and goes on under
   the name given there.
5. The log extends the pinned checkpoint.
6. The entries reach over both ends of the period, so that none of it is left out.
7. Every export of the period has its manifest, a compact sparse Merkle tree with the root in its entry.

It shares no code with what makes the log, so that a mistake in one is not mirrored in the other, and takes
nothing that it reads for well formed: whatever a file holds, the answer is a line and an exit code. Its
Ed25519 refuses S ≥ L, keys and R that are not canonical or of small order.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import struct
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, reduce
from hashlib import sha256, sha512
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

MAX_PROBLEMS = 1000
HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()
FORMAT = "cdp-audit-bundle/1"
INDEX, PINNED = "SHA256SUMS", "pinned"
_SHOWN = 20
_MAX_SMALL_FILE = 64 << 20
_MAX_CHUNK_FILE = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_LEFT_ALONE = frozenset({INDEX, PINNED, "report.txt"})
_EXPORT = re.compile(r"e_[0-9a-f]{32}")


@dataclass(frozen=True)
class Problem:
    """Something that does not verify.

    :param place: ``entry``, ``node``, ``checkpoint``, ``file NAME``…
    :param index: the entry's index, the node's position or the checkpoint's size, where it has one.
    """

    place: str
    index: int | None
    what: str

    def __str__(self) -> str:
        return (
            f"{self.place}: {self.what}" if self.index is None else f"{self.place} {self.index}: {self.what}"
        )


class RefusedError(Exception):
    """What was read is not what it has to be; the message says why."""


# -- Ed25519 (RFC 8032, 5.1), with the stricter rules of the module's docstring ---------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_1 = pow(2, (_P - 1) // 4, _P)
_WINDOW = 6
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303021540
_SMALL_ORDER = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})  # y of the eight points of small order

_Point = tuple[int, int, int, int]
"""X, Y, Z, T: extended coordinates; in a table Y+X, Y−X, 2Z, 2dT."""
_BASE_Y = 4 * pow(5, -1, _P) % _P


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether ``signature`` (64 bytes) is one of ``message`` under a 32-byte key."""
    if len(signature) != 64:
        return False
    tables = _tables_of(public_key)
    scalar = int.from_bytes(signature[32:], "little")
    if tables is None or scalar >= _L or _y_of(signature[:32]) in _SMALL_ORDER:
        return False
    digest = sha512(signature[:32] + public_key + message).digest()
    point = (0, 1, 1, 0)
    for factor, table in ((scalar, _base()), (int.from_bytes(digest, "little") % _L, tables)):
        for number, row in enumerate(table):
            if digit := factor >> number * _WINDOW & (1 << _WINDOW) - 1:
                point = _add(point, row[digit - 1])
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    found = y * inverse % _P | (x * inverse % _P & 1) << 255
    return found.to_bytes(32, "little") == signature[:32]


def _y_of(encoded: bytes) -> int:
    return int.from_bytes(encoded, "little") & (1 << 255) - 1


@lru_cache(maxsize=16)
def _tables_of(public_key: bytes) -> list[list[_Point]] | None:
    """Return the multiples of *minus* a key; None when it is not one that we take."""
    if len(public_key) != 32 or _y_of(public_key) in _SMALL_ORDER:
        return None
    point = _decompress(_y_of(public_key), public_key[31] >> 7)
    if point is None:
        return None
    x, y, z, t = point
    return _table((_P - x, y, z, _P - t))


@lru_cache(maxsize=1)
def _base() -> list[list[_Point]]:
    point = _decompress(_BASE_Y, 0)
    return _table(point) if point else []


def _decompress(y: int, sign: int) -> _Point | None:
    """Return the point with this y and sign of x (5.1.3); None where there is none."""
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P != u:
        x = x * _ROOT_OF_MINUS_1 % _P
    if v * x * x % _P != u or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _table(point: _Point) -> list[list[_Point]]:
    """Return rows of 1 … 2^w − 1 times point · 2^(w·row), ready to be added."""
    rows = []
    for _ in range(-(-256 // _WINDOW)):
        step, multiple, row = _ready(point), point, [_ready(point)]
        for _ in range((1 << _WINDOW) - 2):
            multiple = _add(multiple, step)
            row.append(_ready(multiple))
        rows.append(row)
        point = _add(multiple, step)
    return rows


def _ready(point: _Point) -> _Point:
    x, y, z, t = point
    return (y + x) % _P, (y - x) % _P, 2 * z % _P, 2 * _D * t % _P


def _add(point: _Point, ready: _Point) -> _Point:
    """Add (5.1.4); the formula is complete, so doubling is adding."""
    x, y, z, t = point
    a, b = (y - x) * ready[1] % _P, (y + x) * ready[0] % _P
    c, d = t * ready[3] % _P, z * ready[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


# -- signed notes and checkpoints (C2SP signed-note, tlog-checkpoint) -------------------------------

_NOTE = re.compile(
    r"(?P<text>(?P<origin>[^\n]+)\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[^\n]+)\n(?:[^\n]+\n)*)\n"
    "(?P<signatures>(?:\N{EM DASH} [^ \n]+ [^ \n]+\n)+)"
)
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")


class LogKey(NamedTuple):
    """How the log's signatures are known.

    :param origin: the log's first name, which is its key's name too.
    :param public_key: Ed25519, 32 bytes, from a place that the log's keeper cannot change.
    :param verify: (public key, message, signature) → whether the signature is good.
    """

    origin: str
    public_key: bytes
    verify: Callable[[bytes, bytes, bytes], bool] = verify_ed25519

    def text(self) -> str:
        """Return it as it is pinned."""
        kind = b"\x01" + self.public_key
        key_id = sha256(self.origin.encode() + b"\n" + kind).hexdigest()[:8]
        return f"{self.origin}+{key_id}+{base64.b64encode(kind).decode()}"


class Checkpoint(NamedTuple):
    """What a checkpoint says."""

    origin: str
    size: int
    root: bytes


def parse_key(text: str) -> LogKey:
    """Read a verifier key ``name+id+base64``.

    :raises RefusedError: it is malformed, not Ed25519, or its id is not that of its key.
    """
    name, _, rest = text.strip().partition("+")
    raw = from_base64(rest.partition("+")[2])
    if len(raw) != 33 or raw[:1] != b"\x01" or not name or any(c.isspace() for c in name):
        raise RefusedError("the log's key is not name+id+base64 of an Ed25519 key")
    key = LogKey(name, raw[1:])
    if key.text() != text.strip():
        raise RefusedError("the id in the log's key is not that of its name and key")
    return key


def open_checkpoint(note: str, key: LogKey, origins: Collection[str]) -> Checkpoint:
    """Return what a checkpoint says, after checking its signature.

    :param origins: the names that the log had up to here; its key is the same under each.
    :raises RefusedError: it is malformed, of another log, or not well signed by the log's key.
    """
    found = _NOTE.fullmatch(note)
    if found is None or _CONTROL.search(note):
        raise RefusedError("the note is malformed")
    origin = found["origin"]
    if origin not in origins:
        raise RefusedError("the note is of another log")
    key_id = sha256(origin.encode() + b"\n\x01" + key.public_key).digest()[:4]
    verified = False
    for line in found["signatures"][:-1].split("\n"):
        _, name, encoded = line.split(" ")
        signature = from_base64(encoded)
        if name == origin and signature[:4] == key_id:
            if not key.verify(key.public_key, found["text"].encode(), signature[4:]):
                raise RefusedError("the note has a bad signature of the log's key")
            verified = True
    if not verified:
        raise RefusedError("the note is not signed by the log's key")
    root = from_base64(found["root"])
    if len(root) != HASH_BYTES:
        raise RefusedError("the note is malformed")
    return Checkpoint(origin, int(found["size"]), root)


def from_base64(text: str) -> bytes:
    """Decode canonical, padded, standard base64.

    :raises RefusedError: it is anything else.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise RefusedError("base64 is malformed") from None
    if base64.b64encode(raw).decode() != text:
        raise RefusedError("the note's base64 is not canonical")
    return raw


# -- the tree of the log (RFC 9162, 2.1) -------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry as a leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node over its two children."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The complete subtrees of a growing tree, largest first: all that appending and its root need."""

    def __init__(self) -> None:
        self.size = 0
        self.hashes: list[bytes] = []

    def append(self, digest: bytes, level: int = 0) -> None:
        """Add a complete subtree of 2^level leaves at the end; ``size`` must be a multiple of that."""
        number = self.size >> level
        while number & 1:
            digest, number = node_hash(self.hashes.pop(), digest), number >> 1
        self.hashes.append(digest)
        self.size += 1 << level

    def root(self) -> bytes:
        """Return the root so far."""
        if not self.hashes:
            return EMPTY_ROOT
        return reduce(lambda right, left: node_hash(left, right), reversed(self.hashes))


def references_root(packed: bytes) -> bytes:
    """Return the Merkle root over references, 32 bytes each."""
    frontier = Frontier()
    for at in range(0, len(packed), HASH_BYTES):
        frontier.append(leaf_hash(packed[at : at + HASH_BYTES]))
    return frontier.root()


def hashes_root(packed: bytes) -> bytes:
    """Return the Merkle root over leaf hashes, 32 bytes each."""
    frontier = Frontier()
    for at in range(0, len(packed), HASH_BYTES):
        frontier.append(packed[at : at + HASH_BYTES])
    return frontier.root()


def cover(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (first leaf, level) of the fewest complete subtrees over leaves [first, end)."""
    while first < end:
        level = (end - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        yield first, level
        first += 1 << level


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether ``leaf`` (a hash) is number ``index`` of the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or any(len(item) != HASH_BYTES for item in (leaf, *proof)):
        return False
    fn, sn, result = index, size - 1, leaf
    for item in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            result = node_hash(item, result)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node_hash(result, item)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and result == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether the tree of ``new`` leaves begins with that of ``old`` (RFC 9162, 2.1.4.2)."""
    if not 0 <= old <= new or any(len(item) != HASH_BYTES for item in proof):
        return False
    if old == 0 and (old_root != EMPTY_ROOT or len(new_root) != HASH_BYTES):
        return False
    if old in (0, new):
        return not proof and (old == 0 < new or old_root == new_root)
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not proof:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    from_old = from_new = path[0]
    for item in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            from_old, from_new = node_hash(item, from_old), node_hash(item, from_new)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            from_new = node_hash(from_new, item)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and (from_old, from_new) == (old_root, new_root)


# -- the compact sparse tree of an export's manifest -------------------------------------------------

_NOTHING = bytes(HASH_BYTES)
_LEVELS = 256


def manifest_root(packed: bytes) -> bytes:
    """Return the root over leaves packed as position(32) ‖ value(32), ascending.

    :raises RefusedError: a leaf is cut off, misplaced or there twice.
    """
    if len(packed) % (2 * HASH_BYTES):
        raise RefusedError("its last leaf is cut off")
    if not packed:
        return _NOTHING
    trees: list[tuple[bytes, int, int]] = []  # (hash, depth of its topmost node, a position in it)
    splits: list[int] = []  # the depth at which each tree parts from the one before it

    def join() -> None:
        right, left, depth = trees.pop(), trees.pop(), splits.pop()
        trees.append((node_hash(_raised(left, depth + 1), _raised(right, depth + 1)), depth, left[2]))

    before = -1
    for number, at in enumerate(range(0, len(packed), 2 * HASH_BYTES)):
        leaf = packed[at : at + 2 * HASH_BYTES]
        position = int.from_bytes(leaf[:HASH_BYTES], "big")
        if position <= before:
            raise RefusedError(f"its leaf {number} is {'there twice' if position == before else 'misplaced'}")
        if number:
            depth = _LEVELS - (position ^ before).bit_length()
            while splits and splits[-1] > depth:
                join()
            splits.append(depth)
        trees.append((leaf_hash(leaf), -1, position))
        before = position
    while splits:
        join()
    return _raised(trees[0], 0)


def _raised(tree: tuple[bytes, int, int], depth: int) -> bytes:
    """Return the hash of a tree seen from further up, where empty subtrees lie beside it; a leaf stays."""
    digest, at, position = tree
    while at > depth:
        at -= 1
        beside = position >> (_LEVELS - 1 - at) & 1
        digest = node_hash(_NOTHING, digest) if beside else node_hash(digest, _NOTHING)
    return digest


def is_in(
    root: bytes,
    position: bytes,
    value: bytes | None,
    siblings: Sequence[bytes],
    other: tuple[bytes, bytes] | None,
) -> bool:
    """Tell whether a path proves ``value`` at ``position``; None: that nothing stands there.

    :param siblings: top first.
    :param other: the leaf of another position on which the path ends.
    """
    if len(siblings) > _LEVELS or any(len(one) != HASH_BYTES for one in (position, *siblings)):
        return False
    place = int.from_bytes(position, "big")
    result = _NOTHING if value is None else leaf_hash(position + value)
    if other is not None:
        apart = int.from_bytes(other[0], "big") ^ place
        if value is not None or len(other[0]) != HASH_BYTES or not apart:
            return False
        if _LEVELS - apart.bit_length() < len(siblings):
            return False  # that leaf would not lie on this path
        result = leaf_hash(other[0] + other[1])
    for depth in reversed(range(len(siblings))):
        right = place >> (_LEVELS - 1 - depth) & 1
        result = node_hash(siblings[depth], result) if right else node_hash(result, siblings[depth])
    return result == root


# -- entries ----------------------------------------------------------------------------------------

_TEXT = rb'"[^"\\\x00-\x1f\x80-\xff]*"'
_MAP = rb"\{(?:%b:(?:%b|0|-?[1-9][0-9]{0,14})(?:,%b:(?:%b|0|-?[1-9][0-9]{0,14}))*)?\}" % ((_TEXT,) * 4)
_ENTRY = re.compile(
    rb'\{"action":(%b),"actor":%b,"commit_no":(?:0|[1-9][0-9]{0,14}),"counts":(%b),"destination":%b'
    rb'(?:,"details":"([0-9a-f]{64})")?(?:,"nonce":"[0-9a-f]{32}")?,"object":(%b)'
    rb',"outcome":"(?:allowed|denied|failed)","people":(%b),"purpose":%b(?:,"subjects":"([0-9a-f]{64})")?,"time":"[^"\\\x00-\x1f\x80-\xff]*","v":1\}'
    % (_TEXT, _TEXT, _MAP, _TEXT, _MAP, _MAP, _TEXT)
)
_PAIR = re.compile(rb'"([^"]*)":(?:"[^"]*"|[^,}]*)')
_FIELDS = {
    "action": str,
    "actor": str,
    "commit_no": int,
    "counts": dict,
    "destination": str,
    "object": dict,
    "outcome": str,
    "people": dict,
    "purpose": str,
    "time": str,
    "v": int,
}
_ORIGIN_ACTION, _EXPORT_ACTION = "audit.origin", "export.authorise"
_READ = frozenset({b'"audit.origin"', b'"export.authorise"'})


def read_entry(data: bytes) -> dict[str, Any]:
    """Return an entry's fields.

    :raises RefusedError: it is not one of version 1, or not canonical JSON (RFC 8785).
    """
    try:
        document = json.loads(data.decode(), parse_float=_no_number, parse_constant=_no_number)
        same = canonical(document).encode() == data
    except (ValueError, RecursionError):
        raise RefusedError("it is not an entry") from None
    if not isinstance(document, dict) or any(
        type(document.get(name)) is not kind for name, kind in _FIELDS.items()
    ):
        raise RefusedError("it is not an entry")
    if document["v"] != 1:
        raise RefusedError("it is of a version that this file does not know")
    if not same:
        raise RefusedError("it is not canonical JSON")
    return document


def canonical(value: Any) -> str:
    """Return JSON as RFC 8785 writes it; of numbers only whole ones.

    :raises ValueError: it holds what cannot be written so.
    """
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        raise ValueError("a number that JSON readers would round")
    return json.dumps(value, ensure_ascii=False)


def _no_number(text: str) -> Any:
    raise ValueError(f"a number that no entry holds: {text[:20]}")


class Glance(NamedTuple):
    """What is looked at in every entry.

    :param action: with its quotes.
    :param subjects: hex root of the references, ``details`` of the hashes of details; None without any.
    """

    action: bytes
    subjects: bytes | None
    details: bytes | None


def glance(data: bytes) -> Glance:
    """Return what is looked at in an entry.

    Nearly all entries are plain enough for one look; the others are read, and are slower by that.

    :raises RefusedError: see ``read_entry``.
    """
    found = _ENTRY.fullmatch(data)
    if found is not None:
        action, counts, details, about, people, subjects = found.groups()
        if all(b',"' not in part or _is_sorted(part) for part in (counts, about, people)):
            return Glance(action, subjects, details)
    document = read_entry(data)
    roots = (
        None if name not in document else str(document[name]).encode() for name in ("subjects", "details")
    )
    return Glance(canonical(document["action"]).encode(), *roots)


def _is_sorted(part: bytes) -> bool:
    keys = _PAIR.findall(part)
    return all(one < other for one, other in pairwise(keys))


class Origins:
    """The names that a log had: a new one is opened by an entry that says what was lost before it."""

    def __init__(self, first: str) -> None:
        self._opened = [(-1, first)]  # (index of the entry that opened it, name)
        self.lost: dict[Checkpoint, int] = {}  # checkpoints that an entry named as lost → its index

    def names(self) -> set[str]:
        """Return every name so far."""
        return {name for _, name in self._opened}

    def at(self, size: int) -> str:
        """Return the name that a checkpoint of this size carries."""
        return next(name for start, name in reversed(self._opened) if start < size)

    def take(self, index: int, document: dict[str, Any]) -> None:
        """Take note of an entry ``audit.origin``.

        :raises RefusedError: it does not say what was lost, or does not follow the origin before.
        """
        said = document["object"]
        try:
            lost = Checkpoint(
                str(said["closed_origin"]), int(said["closed_size"]), bytes.fromhex(said["closed_root"])
            )
            name = str(said["origin"])
        except (ValueError, KeyError, TypeError):
            raise RefusedError("opens an origin without naming the checkpoint before") from None
        if lost.origin != self._opened[-1][1] or name in self.names():
            raise RefusedError("opens an origin that does not follow the one before")
        self._opened.append((index, name))
        self.lost[lost] = index


def judge(said: Checkpoint, root: bytes, origins: Origins, signed: int) -> str:
    """Return what is wrong with a checkpoint, given the tree's root at its size; empty when nothing is.

    :param signed: the size of the newest good one before.
    """
    if said.origin != origins.at(said.size):
        return "the note is of an origin that was not the log's at its size"
    if said.root != root:
        return f"its root is not that of the log: an entry from {signed} to {said.size - 1} was altered"
    return ""


# -- files: what is read is hostile until it is checked ----------------------------------------------


def read_file(path: Path, limit: int = _MAX_SMALL_FILE) -> bytes:
    """Return a plain file's bytes.

    :raises RefusedError: it is not there, no plain file, or longer than ``limit``.
    """
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode):
            raise RefusedError("is no plain file")
        if about.st_size > limit:
            raise RefusedError("is too long")
        return path.read_bytes()
    except OSError as error:
        raise RefusedError(f"cannot be read: {error.strerror}") from None


def read_text(path: Path) -> str:
    """Return a file's UTF-8 text.

    :raises RefusedError: see ``read_file``, or it is no text.
    """
    try:
        return read_file(path).decode()
    except UnicodeDecodeError:
        raise RefusedError("is not UTF-8") from None


def read_json(text: str) -> dict[str, Any]:
    """Return a JSON object.

    :raises RefusedError: it is anything else.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError("is not JSON") from None
    if not isinstance(found, dict):
        raise RefusedError("is no JSON object")
    return found


def _hash_file(path: Path) -> str:
    digest = sha256()
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise RefusedError("is no plain file")
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise RefusedError(f"cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def _lying_in(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        inside = Path(place).relative_to(folder)
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted([*files, *linked]):
            yield (inside / name).as_posix()


# -- a chunk of entries: read apart from the others, on another processor where there is one ---------


class Task(NamedTuple):
    """A file of entries to look at.

    :param cuts: sizes inside (first, first + length) at which the root is asked for, ascending.
    """

    folder: str
    first: int
    length: int
    cuts: tuple[int, ...]


@dataclass
class Chunk:
    """What was found in it.

    :param segments: up to each cut and to the end: (size there, complete subtrees as (level, hash)).
    :param notable: (index, entry) of those that are read whole.
    :param edges: its first and its last entry.
    """

    segments: list[tuple[int, list[tuple[int, bytes]]]] = field(default_factory=list)
    notable: list[tuple[int, bytes]] = field(default_factory=list)
    edges: list[bytes] = field(default_factory=list)
    references: int = 0
    problems: list[Problem] = field(default_factory=list)


def check_chunk(task: Task) -> Chunk:
    """Hash the entries of a file, and check their form and their references."""
    found = Chunk()
    try:
        entries = _records(task, "entries", ">H", 1)
        beside = [_records(task, kind, ">I", HASH_BYTES) for kind in ("references", "details")]
    except RefusedError as error:
        place, _, what = str(error).partition(" ")
        found.problems.append(Problem(f"file {place}", None, what))
        return found
    found.edges = [entries[0], entries[-1]]
    cuts = iter([*task.cuts, task.first + task.length])
    cut = next(cuts)
    segment: list[tuple[int, bytes]] = []
    indexes = range(task.first, task.first + task.length)
    for index, data, references, details in zip(indexes, entries, *beside, strict=True):
        try:
            seen = glance(data)
            if seen.action in _READ:
                found.notable.append((index, data))
            if (references_root(references).hex().encode() if references else None) != seen.subjects:
                _refuse("its references are not those whose root it holds")
            if (hashes_root(details).hex().encode() if details else None) != seen.details:
                _refuse("its hashes of details are not those whose root it holds")
            found.references += len(references) // HASH_BYTES
        except RefusedError as error:
            if len(found.problems) < MAX_PROBLEMS:
                found.problems.append(Problem("entry", index, str(error)))
        digest, number, level = sha256(b"\x00" + data).digest(), index, 0
        while number & 1 and segment and segment[-1][0] == level:
            digest = sha256(b"\x01" + segment.pop()[1] + digest).digest()
            number, level = number >> 1, level + 1
        segment.append((level, digest))
        if index + 1 == cut:
            found.segments.append((cut, segment))
            cut, segment = next(cuts, 0), []
    return found


def _refuse(what: str) -> NoReturn:
    raise RefusedError(what)


def _records(task: Task, kind: str, length: str, unit: int) -> list[bytes]:
    """Cut a file of length-prefixed records apart.

    :param length: how a length is written (``struct``), in ``unit`` bytes.
    :raises RefusedError: it does not hold as many records as it has to, and nothing else.
    """
    name = f"{kind}/{task.first:012}"
    try:
        packed = read_file(Path(task.folder, name), _MAX_CHUNK_FILE)
    except RefusedError as error:
        raise RefusedError(f"{name} {error}") from None
    records, at, width, read = [], 0, struct.calcsize(length), struct.Struct(length).unpack_from
    for _ in range(task.length):
        if at + width > len(packed):
            break
        (size,) = read(packed, at)
        at += width
        records.append(packed[at : at + size * unit])
        at += size * unit
    if len(records) != task.length or at != len(packed):
        raise RefusedError(
            f"{name} does not hold the {task.length} records that it has to: it was cut off or altered"
        )
    return records


def _chunks(tasks: Sequence[Task]) -> Iterator[Chunk]:
    if len(tasks) < 8:
        yield from map(check_chunk, tasks)
        return
    try:
        pool = ProcessPoolExecutor(min(8, os.cpu_count() or 1))
    except (OSError, ImportError, NotImplementedError):  # no processes here
        yield from map(check_chunk, tasks)
        return
    with pool:
        yield from pool.map(check_chunk, tasks)


# -- a bundle ---------------------------------------------------------------------------------------


class About(NamedTuple):
    """What ``bundle.json`` says.

    :param size: of the log that the bundle leads up to.
    :param first: the entries of the period, with one beyond each end of it, are [first, end).
    :param chunks: (first entry, count) of each file of entries, ascending, those outside the period too.
    """

    key: str
    size: int
    since: str | None
    until: str | None
    first: int
    end: int
    chunks: tuple[tuple[int, int], ...]


def read_about(folder: Path) -> About:
    """Read ``bundle.json``.

    :raises RefusedError: it is malformed, or of a format that this file does not know.
    """
    said = read_json(read_text(folder / "bundle.json"))
    if said.get("format") != FORMAT:
        raise RefusedError("is of a format that this file does not know")
    numbers = [said.get(name) for name in ("size", "first", "end")]
    chunks = said.get("chunks")
    since, until = said.get("from"), said.get("to")
    if (
        not isinstance(said.get("key"), str)
        or not all(_is_count(number) for number in numbers)
        or not all(limit is None or isinstance(limit, str) for limit in (since, until))
        or not isinstance(chunks, list)
        or not all(isinstance(one, list) and len(one) == 2 and all(map(_is_count, one)) for one in chunks)
    ):
        raise RefusedError("is malformed")
    before = 0
    for first, count in chunks:
        if first < before or not 0 < count <= 1 << 20:
            raise RefusedError("names files of entries that overlap or are out of order")
        before = first + count
    size, first, end = (int(number) for number in numbers if number is not None)
    if not max(before, end) <= size or first > end:
        raise RefusedError("names entries beyond the log's size")
    return About(said["key"], size, since, until, first, end, tuple((one[0], one[1]) for one in chunks))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


@dataclass
class Signed:
    """A checkpoint of the bundle, or a pinned one."""

    place: str
    size: int
    note: str
    pinned: bool = False


class Bundle:
    """One bundle, checked step by step; ``lines`` say what was, ``problems`` what is wrong."""

    def __init__(self, folder: Path, key: str, pinned: Sequence[Path]) -> None:
        self._folder = folder
        self._pinned_key = key
        self._pins = [*pinned, *([folder / PINNED] if (folder / PINNED).exists() else [])]
        self.lines: list[tuple[str, str]] = []
        self.problems: list[Problem] = []
        self._tree = Frontier()
        self._roots: dict[int, bytes] = {0: EMPTY_ROOT}
        self._exports: list[tuple[int, dict[str, Any]]] = []
        self._edges: list[bytes] = []

    def check(self) -> None:
        """Take the steps of the module's docstring."""
        try:
            self._index()  # 1
            about = read_about(self._folder)
            key = parse_key(self._pinned_key or about.key)
            if self._pinned_key and self._pinned_key.strip() != about.key:
                self._report("key", "the bundle names another key than the one pinned")
        except RefusedError as error:
            self._report("file bundle.json", str(error))
            return
        pinned = "pinned" if self._pinned_key else "taken from this bundle: compare it with the one you hold"
        self.lines.append(("log key", f"{key.text()} ({pinned})"))
        origins = Origins(key.origin)
        held = self._checkpoints()
        if self._walk(about, origins, {one.size for one in held}):  # 2, 3
            self._judge_all(about, key, origins, held)  # 4, 5
            self._period(about)  # 6
            self._manifests()  # 7

    def _report(self, place: str, what: str, index: int | None = None) -> None:
        if len(self.problems) <= MAX_PROBLEMS:
            self.problems.append(Problem(place, index, what))

    def _index(self) -> None:
        listed: dict[str, str] = {}
        try:
            text = read_text(self._folder / INDEX)
        except RefusedError as error:
            self._report(f"file {INDEX}", str(error))
            return
        for number, line in enumerate(text.split("\n")[:-1], 1):
            digest, _, name = line.partition("  ")
            if not re.fullmatch("[0-9a-f]{64}", digest) or not _NAME.fullmatch(name) or name in listed:
                self._report(f"file {INDEX}", f"line {number} is malformed, or names a file again")
            else:
                listed[name] = digest
        lying = set(_lying_in(self._folder)) - _LEFT_ALONE
        for name in sorted(lying - listed.keys()):
            self._report(f"file {name!r}", f"lies here and is not listed in {INDEX}")
        for name, digest in listed.items():
            try:
                if _hash_file(self._folder / name) != digest:
                    self._report(f"file {name}", f"was altered: its SHA-256 is not the one in {INDEX}")
            except RefusedError as error:
                self._report(f"file {name}", str(error))
        self.lines.append(("files", f"{len(listed)} listed, {len(lying)} here"))

    def _checkpoints(self) -> list[Signed]:
        """Return the checkpoints of the bundle and those pinned, by size; not judged yet."""
        found = []
        name = "checkpoints.jsonl"
        try:
            lines = read_text(self._folder / name).split("\n")[:-1]
        except RefusedError as error:
            self._report(f"file {name}", str(error))
            lines = []
        for number, line in enumerate(lines, 1):
            try:
                found.append(_signed("checkpoint", json.loads(line)))
            except (ValueError, RecursionError, RefusedError):
                self._report(f"file {name}", f"line {number} is no signed note")
        for path in self._pins:
            try:
                found.append(_signed(f"pinned checkpoint {path.name}", read_text(path), pinned=True))
            except RefusedError as error:
                self._report(f"pinned checkpoint {path.name}", str(error))
        return sorted(found, key=lambda one: one.size)

    # -- 2, 3 -----------------------------------------------------------------------------------------

    def _walk(self, about: About, origins: Origins, wanted: set[int]) -> bool:
        """Build the tree from entries and from hashes of subtrees; returns whether it went to the end."""
        tasks = list(_tasks(str(self._folder), about.chunks, sorted(wanted)))
        try:
            hashes = read_file(self._folder / "tree")
        except RefusedError as error:
            self._report("file tree", str(error))
            return False
        self._beside = iter([hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)])
        entries = references = 0
        for task, chunk in zip(tasks, _chunks(tasks), strict=True):
            if not self._skip_to(task.first):
                return False
            self._take(task, chunk, about, origins)
            if not chunk.segments:
                return False
            entries += task.length
            references += chunk.references
        if not self._skip_to(about.size) or next(self._beside, None) is not None:
            self._report("file tree", "does not hold the hashes of what is not shipped")
            return False
        self.lines.append(
            ("entries", f"{entries} of the log's {about.size}, with {references} references to subjects")
        )
        return True

    def _skip_to(self, index: int) -> bool:
        """Add the subtrees of what is not shipped."""
        for first, level in cover(self._tree.size, index):
            digest = next(self._beside, b"")
            if len(digest) != HASH_BYTES:
                self._report("file tree", "does not hold the hashes of what is not shipped")
                return False
            self._tree.append(digest, level)
            self._roots[first + (1 << level)] = self._tree.root()
        return True

    def _take(self, task: Task, chunk: Chunk, about: About, origins: Origins) -> None:
        for problem in chunk.problems:
            self._report(problem.place, problem.what, problem.index)
        for end, segment in chunk.segments:
            for level, digest in segment:
                self._tree.append(digest, level)
            self._roots[end] = self._tree.root()
        for index, data in chunk.notable:
            try:
                document = read_entry(data)
                if document["action"] == _ORIGIN_ACTION:
                    origins.take(index, document)
                elif document["outcome"] == "allowed" and about.first <= index < about.end:
                    self._exports.append((index, document["object"]))
            except RefusedError as error:
                self._report("entry", str(error), index)
        if task.first <= about.first < task.first + task.length:
            self._edges[:0] = chunk.edges[:1]
        if task.first + task.length == about.end:
            self._edges += chunk.edges[1:]

    # -- 4, 5 -----------------------------------------------------------------------------------------

    def _judge_all(self, about: About, key: LogKey, origins: Origins, held: Sequence[Signed]) -> None:
        signed = 0
        counted, extended = 0, []
        for one in held:
            try:
                said = open_checkpoint(one.note, key, origins.names())
                self._judge(one, said, about, origins, signed)
            except RefusedError as error:
                self._report(one.place, str(error), one.size)
                continue
            if said not in origins.lost:
                signed = max(signed, said.size)
            counted += not one.pinned
            extended += [f"the log extends size {one.size}"] * one.pinned
        self.lines.append(("checkpoints", f"{counted} signed, the newest at size {signed}"))
        if signed != about.size:
            self._report("checkpoint", "no good checkpoint covers the whole of the log", about.size)
        none = "no earlier checkpoint: nothing here shows that the log was not written anew"
        self.lines.append(("pinned", ", ".join(extended) or none))

    def _judge(self, one: Signed, said: Checkpoint, about: About, origins: Origins, signed: int) -> None:
        if said in origins.lost:
            if one.pinned:
                raise RefusedError(
                    "the log no longer extends it: entries up to it were lost, "
                    f"as entry {origins.lost[said]} says, which opens another origin"
                )
            return
        if said.size > about.size:
            raise RefusedError(
                f"covers more than the {about.size} entries there are: the end of the log was cut off"
                + (", or this bundle is older than it" if one.pinned else "")
            )
        if said.size in self._roots:
            if wrong := judge(said, self._roots[said.size], origins, signed):
                raise RefusedError(wrong)
        elif not verify_consistency(
            said.size, about.size, said.root, self._tree.root(), self._consistency(said.size)
        ):
            raise RefusedError("the log does not extend it: an entry under it was altered or taken out")

    def _consistency(self, old: int) -> list[bytes]:
        path = self._folder / "consistency.json"
        proofs = read_json(read_text(path)) if path.exists() else {}
        if not isinstance(proofs.get(str(old)), list):
            raise RefusedError(
                "this bundle does not lead back to it; ask for one with `cdp audit bundle --pinned FILE`"
            )
        return [from_base64(str(item)) for item in proofs[str(old)]]

    # -- 6 --------------------------------------------------------------------------------------------

    def _period(self, about: About) -> None:
        """Refuse a bundle that could leave out entries at the ends of its period."""
        since, until = about.since or "the beginning", about.until or "the end"
        self.lines.append(("period", f"{since} to {until}: entries {about.first} to {about.end - 1}"))
        if len(self._edges) != 2 and about.size:
            self._report("file bundle.json", "names a period whose entries are not here")
            return
        starts, ends = about.first == 0, about.end == about.size
        try:
            if not starts and about.since is not None:
                starts = _time_of(self._edges[0]) < _time(about.since)
            if not ends and about.until is not None:
                ends = _time_of(self._edges[1]) >= _time(about.until)
        except RefusedError as error:
            self._report("file bundle.json", str(error))
            return
        if not starts:
            self._report(
                "entry", "the period begins before it, and what comes before is not here", about.first
            )
        if not ends:
            self._report("entry", "the period ends after it, and what follows is not here", about.end - 1)

    # -- 7 --------------------------------------------------------------------------------------------

    def _manifests(self) -> None:
        known, leaves, unseen = set(), 0, 0
        for index, said in self._exports:
            export = str(said.get("export"))
            if not _EXPORT.fullmatch(export) or export in known:
                self._report("entry", "allows an export without a name of its own", index)
                continue
            known.add(export)
            leaves += self._manifest(export, "", said.get("manifest_root"), index)
            if (self._folder / "manifests" / f"{export}.taken_out").exists():
                self._manifest(export, ".taken_out", said.get("changed_root"), index)
            elif said.get("changed_root") != _NOTHING.hex():
                unseen += 1
        for path in sorted((self._folder / "manifests").glob("*")):
            if path.name.partition(".")[0] not in known:
                self._report(f"file manifests/{path.name}", "belongs to no export of these entries")
        text = f"{len(known)} with their manifests, {leaves} leaves"
        if unseen:
            text += f"; for {unseen} of them it is not shown who was taken out while it was decided"
        self.lines.append(("exports", text))

    def _manifest(self, export: str, kind: str, root: object, index: int) -> int:
        place = f"manifest {export}{kind}"
        try:
            packed = read_file(self._folder / "manifests" / f"{export}{kind}", _MAX_CHUNK_FILE)
            found = manifest_root(packed).hex()
        except RefusedError as error:
            self._report(place, str(error))
            return 0
        if found != root:
            self._report(place, f"its leaves do not give the root that entry {index} holds")
        return len(packed) // (2 * HASH_BYTES)


def _tasks(folder: str, chunks: Iterable[tuple[int, int]], cuts: Sequence[int]) -> Iterator[Task]:
    at = 0
    for first, count in chunks:
        while at < len(cuts) and cuts[at] <= first:
            at += 1
        begin = at
        while at < len(cuts) and cuts[at] < first + count:
            at += 1
        yield Task(folder, first, count, tuple(cuts[begin:at]))


def _signed(place: str, note: object, *, pinned: bool = False) -> Signed:
    found = _NOTE.fullmatch(note) if isinstance(note, str) else None
    if found is None:
        raise RefusedError("the note is malformed")
    return Signed(place, int(found["size"]), str(note), pinned)


def _time_of(data: bytes) -> datetime:
    return _time(str(read_entry(data)["time"]))


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise RefusedError("a time is not RFC 3339") from None


# -- one proof --------------------------------------------------------------------------------------


def check_proof(
    path: Path, key_text: str, pinned: Sequence[Path]
) -> tuple[list[tuple[str, str]], list[Problem]]:
    """Check a proof that an entry is in the log, or that somebody was or was not in an export.

    :returns: what it shows, and what is wrong with it.
    """
    lines: list[tuple[str, str]] = []
    try:
        _check_proof(read_text(path), key_text, pinned, lines)
    except RefusedError as error:
        return lines, [Problem(f"proof {path.name}", None, str(error))]
    return lines, []


def _check_proof(text: str, key_text: str, pinned: Sequence[Path], lines: list[tuple[str, str]]) -> None:
    if not key_text:
        raise RefusedError("name the log's key with --key: a proof does not bring one")
    key, said = parse_key(key_text), None
    lines.append(("log key", f"{key.text()} (pinned)"))
    if text.startswith(_TLOG):
        index, entry, inclusion, note = _tlog_proof(text)
    else:
        said = read_json(text)
        index = said["audit_index"] if _is_count(said.get("audit_index")) else -1
        entry = str(said.get("entry")).encode()
        inclusion, note = _base64_list(said.get("inclusion")), str(said.get("checkpoint"))
    signed, document = _opened(note, key), read_entry(entry)
    if not verify_inclusion(index, signed.size, leaf_hash(entry), inclusion, signed.root):
        raise RefusedError("its entry is not at this index of the log that its checkpoint signs")
    for other in pinned:
        held = _opened(read_text(other), key)
        if held.size != signed.size:
            raise RefusedError(f"its checkpoint is of size {signed.size}, the pinned one of {held.size}")
        if held != signed:
            raise RefusedError(
                f"its checkpoint and the pinned one of size {held.size} differ: the log forked"
            )
    what = f"{document['action']} of {document['time']} by {document['actor']}, {document['outcome']}"
    lines.append(("entry", f"{index} of the log of {signed.size}: {what}"))
    if said is not None:
        lines.append(("export", _membership(said, document)))


_TLOG = "c2sp.org/tlog-proof@v1\n"


def _opened(note: str, key: LogKey) -> Checkpoint:
    """Open a checkpoint of the log, or of an origin that followed: ``NAME/2``, ``NAME/3`` and so on."""
    name = note.partition("\n")[0]
    later = re.fullmatch(re.escape(key.origin) + "/[1-9][0-9]{0,5}", name)
    return open_checkpoint(note, key, {name if later else key.origin})


def _tlog_proof(text: str) -> tuple[int, bytes, list[bytes], str]:
    """Cut a C2SP tlog-proof apart; its ``extra`` is the entry."""
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")[1:]
    if (
        len(lines) < 2
        or not lines[0].startswith("extra ")
        or not re.fullmatch("index (0|[1-9][0-9]{0,17})", lines[1])
    ):
        raise RefusedError("is malformed, or does not bring its entry")
    return int(lines[1][6:]), from_base64(lines[0][6:]), [from_base64(line) for line in lines[2:]], note


def _membership(said: dict[str, Any], document: dict[str, Any]) -> str:
    """Return what a proof about an export says of its position.

    :raises RefusedError: it proves nothing.
    """
    about = document["object"]
    if document["action"] != _EXPORT_ACTION or document["outcome"] != "allowed":
        raise RefusedError("its entry allows no export")
    for name in ("export", "manifest_root", "changed_root"):
        if about.get(name) != said.get(name):
            raise RefusedError(f"its {name} is not the one that the entry holds")
    position = _hex(said.get("position"))
    value = None if said.get("value") is None else _hex(said["value"])
    decided, taken = _path(said.get("decided")), _path(said.get("taken_out"))
    if not is_in(_hex(about["manifest_root"]), position, value, *decided):
        raise RefusedError("its path does not lead to the root of the manifest")
    changed = _hex(about["changed_root"])
    was_taken = is_in(changed, position, _NOTHING, *taken)
    if not was_taken and not is_in(changed, position, None, *taken):
        raise RefusedError("its path does not lead to the root of those taken out")
    where = "was NOT in" if value is None else "was decided for and taken out of" if was_taken else "WAS IN"
    return f"position {position.hex()} {where} export {about['export']}"


def _path(value: object) -> tuple[list[bytes], tuple[bytes, bytes] | None]:
    if not isinstance(value, dict) or not isinstance(value.get("siblings"), list):
        raise RefusedError("one of its paths is malformed")
    other = value.get("other")
    if other is None:
        return [_hex(item) for item in value["siblings"]], None
    if not isinstance(other, list) or len(other) != 2:
        raise RefusedError("one of its paths is malformed")
    return [_hex(item) for item in value["siblings"]], (_hex(other[0]), _hex(other[1]))


def _base64_list(value: object) -> list[bytes]:
    if not isinstance(value, list):
        raise RefusedError("its inclusion proof is malformed")
    return [from_base64(str(item)) for item in value]


def _hex(value: object) -> bytes:
    if not isinstance(value, str) or not re.fullmatch("([0-9a-f]{2})*", value):
        raise RefusedError("a hash in it is not hexadecimal")
    return bytes.fromhex(value)


# -- the command ------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what the command line names; returns the exit code."""
    parser = ArgumentParser(prog="verify.py", description="Check a bundle of the audit log, or one proof.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--key", default="", help="the log's verifier key, from a place of your own")
    parser.add_argument("--pinned", type=Path, action="append", default=[], help="an earlier checkpoint")
    parser.add_argument("--proof", type=Path, help="check this proof and no bundle")
    given = parser.parse_args(arguments)
    try:
        if given.proof is not None:
            lines, problems = check_proof(given.proof, given.key, given.pinned)
        else:
            bundle = Bundle(given.folder, given.key, given.pinned)
            bundle.check()
            lines, problems = bundle.lines, bundle.problems
    except Exception as error:  # noqa: BLE001  # whatever a file makes of us, it does not check
        lines, problems = [], [Problem("input", None, f"cannot be read ({type(error).__name__})")]
    for name, text in lines:
        _say(f"{name + ':':<13}{text}")
    for problem in problems[:_SHOWN]:
        _say(f"WRONG        {problem}")
    if problems:
        _say(f"RESULT:      {len(problems)} problem{'s' * (len(problems) > 1)}: this does NOT check")
        return 1
    _say("RESULT:      everything checks")
    return 0


def _say(text: str) -> None:
    shown = "".join(char if char.isprintable() else "\ufffd" for char in text)
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(shown.encode(encoding, "replace").decode(encoding) + "\n")


if __name__ == "__main__":
    sys.exit(main())
