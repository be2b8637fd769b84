"""The verifier: recomputes the whole log and says what is wrong, and where.

It stands alone, on the standard library, and shares no code with what makes the log: a regulator can
run it as one file, and a mistake in one is not mirrored in the other. It takes iterables in ascending
order, reads each once and keeps O(log n) of them, so that a log of any size, from the database or from
an offline bundle, goes through it. The Ed25519 check is handed in.

1. Every index from 0 to the head's size has one entry, and no other has one.
2. Every entry hashes to its stored leaf; every stored node is the hash of its two children.
3. The head's frontier is that of the recomputed tree.
4. Every checkpoint, and the one kept outside, is signed by the log's key and has the root of the
   recomputed tree at its size. Roots of prefixes of one sequence of leaves are consistent with each
   other, so no consistency proof between checkpoints is needed here.
5. A log that fell behind a checkpoint of its own says so: an entry ``audit.origin`` names that checkpoint and
   the name under which the log goes on. From there on checkpoints carry the new name; the one named is the
   only one that may contradict the tree, and its size says how many entries were lost.
6. What the search columns and the references say of an entry is what the entry says.

A mistake is reported where it is and the walk goes on from the stored hash, so that one altered
entry is one problem. Not covered: the erasable index of subjects, which cannot be told from one that
was rightly erased; and entries after the newest checkpoint rest on the database alone (``signed``).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from hashlib import sha256
from typing import Any, NamedTuple

MAX_PROBLEMS = 1000
_HASH_BYTES = 32
_EMPTY_ROOT = sha256().digest()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTE = re.compile(
    r"(?P<text>(?P<origin>[^\n]+)\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[^\n]+)\n(?:[^\n]+\n)*)\n"
    "(?P<signatures>(?:\N{EM DASH} [^ \n]+ [^ \n]+\n)+)"
)


class StoredEntry(NamedTuple):
    """One row of the log.

    :param at: microseconds since 1970 UTC.
    :param references: the subjects' references, 32 bytes each, ascending.
    :param details: the leaf hashes of its sealed details, 32 bytes each, ascending.
    """

    leaf_index: int
    data: bytes
    commit_no: int
    at: int
    actor: str
    action: str
    outcome: str
    purpose: str
    destination: str
    references: bytes | None
    segment: str | None = None
    details: bytes | None = None


class StoredCheckpoint(NamedTuple):
    """One signed checkpoint.

    :param size: what the row says; the note is checked against it.
    :param place: where it lies, for the message.
    """

    size: int
    root: bytes
    note: str
    place: str = "checkpoint"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not verify.

    :param place: ``entry``, ``node``, ``head``, ``checkpoint`` or the outside file.
    :param index: the entry's index, the node's position or the checkpoint's size.
    """

    place: str
    index: int
    what: str

    def __str__(self) -> str:
        return f"{self.place} {self.index}: {self.what}"


class LogKey(NamedTuple):
    """How the log's signatures are known.

    :param origin: the log's name, which is its key's name too.
    :param public_key: Ed25519, 32 bytes, from a place that the log's keeper cannot change.
    :param verify: (public key, message, signature) → whether the signature is good.
    """

    origin: str
    public_key: bytes
    verify: Callable[[bytes, bytes, bytes], bool]


class Report(NamedTuple):
    """The outcome; ``ok`` when nothing is wrong.

    :param signed: entries that the newest good checkpoint covers.
    :param root: the root over all entries.
    """

    entries: int
    checkpoints: int
    signed: int
    root: bytes
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """True when the log verifies."""
        return not self.problems


class Head(NamedTuple):
    """The stored head: the log's size and packed frontier."""

    size: int
    frontier: bytes


def verify(
    head: Head,
    entries: Iterable[StoredEntry],
    nodes: Iterable[tuple[int, bytes]],
    checkpoints: Iterable[StoredCheckpoint],
    key: LogKey,
) -> Report:
    """Verify a log.

    :param entries: by index.
    :param nodes: (position, hash), by position.
    :param checkpoints: by size, those kept outside among them.
    """
    walk = _Walk(nodes, checkpoints, key)
    for entry in entries:
        if len(walk.problems) >= MAX_PROBLEMS:
            walk.report("entry", entry.leaf_index, "the check stopped here: too many problems")
            break
        if entry.leaf_index >= head.size:
            walk.report("entry", entry.leaf_index, f"lies beyond the head, which counts {head.size} entries")
            continue
        if entry.leaf_index < walk.size:
            walk.report("entry", entry.leaf_index, "is there twice, or out of order")
            continue
        walk.skip_to(entry.leaf_index)
        walk.take(entry)
    else:
        walk.skip_to(head.size)
    walk.finish(head)
    return Report(walk.size, walk.checkpoints, walk.signed, walk.root(), tuple(walk.problems))


class _Walk:
    """The tree as recomputed so far, beside the stored nodes and the checkpoints still to come."""

    def __init__(
        self,
        nodes: Iterable[tuple[int, bytes]],
        checkpoints: Iterable[StoredCheckpoint],
        key: LogKey,
    ) -> None:
        self.size = 0
        self._frontier: list[bytes] = []  # complete subtrees, largest first
        self.problems: list[Problem] = []
        self.checkpoints = 0
        self.signed = 0
        self._nodes = iter(nodes)
        self._node = next(self._nodes, None)
        self._pending = iter(checkpoints)
        self._checkpoint = next(self._pending, None)
        self._key = key
        self._origins = [(-1, key.origin)]  # (index of the entry that opened it, name)
        self._lost: set[tuple[str, int, bytes]] = set()  # checkpoints that an entry named as lost

    def root(self) -> bytes:
        """Return the root of the tree so far (RFC 9162 section 2.1.1)."""
        return _fold(self._frontier)

    def report(self, place: str, index: int, what: str) -> None:
        """Note a problem, up to the limit."""
        if len(self.problems) <= MAX_PROBLEMS:
            self.problems.append(Problem(place, index, what))

    def skip_to(self, index: int) -> None:
        """Report the entries that are missing before ``index`` and go on from their stored leaves."""
        while self.size < index and len(self.problems) <= MAX_PROBLEMS:
            self.report("entry", self.size, "is missing")
            self._extend(None)

    def take(self, entry: StoredEntry) -> None:
        """Check one entry and add it to the tree."""
        if self._extend(_leaf(entry.data)):
            self._open_origin(entry)
            for what in _disagreements(entry):
                self.report("entry", entry.leaf_index, what)

    def _open_origin(self, entry: StoredEntry) -> None:
        """Take note of an entry that opens a new origin."""
        if b'"audit.origin"' not in entry.data:
            return
        try:
            document = json.loads(entry.data)
            if document["action"] != "audit.origin":
                return
            said = document["object"]
            lost = (str(said["closed_origin"]), int(said["closed_size"]), bytes.fromhex(said["closed_root"]))
            name = str(said["origin"])
        except (ValueError, KeyError, TypeError):
            self.report("entry", entry.leaf_index, "opens an origin without naming the checkpoint before")
            return
        if lost[0] != self._origins[-1][1] or name in {known for _, known in self._origins}:
            self.report("entry", entry.leaf_index, "opens an origin that does not follow the one before")
            return
        self._origins.append((entry.leaf_index, name))
        self._lost.add(lost)

    def _extend(self, leaf: bytes | None) -> bool:
        """Add a leaf, reading the stored nodes that it completes.

        :param leaf: the hash of the entry's bytes; None where there is no entry.
        :returns: whether the stored leaf is that hash.
        """
        self._check_checkpoints()
        index = self.size
        first = 2 * index - index.bit_count()  # hashes that the leaves before it completed
        stored = self._stored(first)
        agrees = stored in (None, leaf)
        if leaf is not None and not agrees:
            self.report("entry", index, "its bytes do not hash to its leaf: it, or the leaf, was altered")
        current = leaf if stored is None else stored
        if current is None:
            current = _EMPTY_ROOT  # neither entry nor leaf is left: both are reported
        position = first
        while index & 1:  # each trailing 1 bit is a subtree that this leaf completes
            position, index = position + 1, index >> 1
            computed = _node(self._frontier.pop(), current)
            kept = self._stored(position)
            if kept is not None and kept != computed:
                self.report("node", position, f"is not the hash of its children (level {position - first})")
            current = computed if kept is None else kept
        self._frontier.append(current)
        self.size += 1
        return agrees

    def _stored(self, position: int) -> bytes | None:
        """Return the stored node at ``position``, or report that it is missing."""
        while self._node is not None and self._node[0] < position:
            self.report("node", self._node[0], "does not belong to the tree")
            self._node = next(self._nodes, None)
        if self._node is None or self._node[0] != position:
            self.report("node", position, "is missing")
            return None
        found = self._node[1]
        self._node = next(self._nodes, None)
        return found

    def _check_checkpoints(self) -> None:
        """Check every checkpoint at the size that the tree now has."""
        while self._checkpoint is not None and self._checkpoint.size <= self.size:
            self._check(self._checkpoint)
            self._checkpoint = next(self._pending, None)

    def _check(self, checkpoint: StoredCheckpoint) -> None:
        self.checkpoints += 1
        try:
            origin, size, root = _open_checkpoint(checkpoint.note, self._key, {n for _, n in self._origins})
        except ValueError as error:
            self.report(checkpoint.place, checkpoint.size, str(error))
            return
        if (size, root) != (checkpoint.size, checkpoint.root):
            self.report(checkpoint.place, checkpoint.size, "its note speaks of another size or root")
        elif (origin, size, root) in self._lost:
            return
        elif size > self.size:
            self.report(
                checkpoint.place,
                size,
                f"covers more than the {self.size} entries there are: the end of the log was cut off",
            )
        elif origin != next(name for start, name in reversed(self._origins) if start < size):
            self.report(checkpoint.place, size, "the note is of an origin that was not the log's at its size")
        elif root != self.root():
            self.report(
                checkpoint.place,
                checkpoint.size,
                f"its root is not that of the log: an entry from {self.signed} to {size - 1} was altered",
            )
        else:
            self.signed = size

    def finish(self, head: Head) -> None:
        """Check what is left when the entries are through."""
        if len(self.problems) > MAX_PROBLEMS:
            return
        self._check_checkpoints()
        while self._checkpoint is not None and len(self.problems) <= MAX_PROBLEMS:
            self._check(self._checkpoint)  # beyond the end: lost, or cut off
            self._checkpoint = next(self._pending, None)
        if self._node is not None:
            self.report("node", self._node[0], "lies beyond the head")
        if b"".join(self._frontier) != head.frontier:
            self.report("head", head.size, "its frontier is not that of the entries")


def _disagreements(entry: StoredEntry) -> Iterator[str]:
    """Say which search columns of an entry, whose bytes are as logged, say something else."""
    try:
        document: dict[str, Any] = json.loads(entry.data)
        at = (datetime.fromisoformat(document["time"]) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, KeyError, TypeError):
        yield "it is not an entry"
        return
    for name in ("commit_no", "actor", "action", "outcome", "purpose", "destination"):
        if document.get(name) != getattr(entry, name):
            yield f"its search column {name} does not say what the entry says"
    if at != entry.at:
        yield "its search column at does not say what the entry says"
    named = document.get("object")
    segment = named.get("segment") if isinstance(named, dict) else None
    if (segment if isinstance(segment, str) and segment else None) != entry.segment:
        yield "its search column segment does not say what the entry says"
    if document.get("subjects") != _packed_root(entry.references, _leaf):
        yield "its references are not those whose root it holds"
    if document.get("details") != _packed_root(entry.details, bytes):
        yield "its hashes of details are not those whose root it holds"


def _packed_root(packed: bytes | None, leaf: Callable[[bytes], bytes]) -> str | None:
    """Return the Merkle root, hex, over packed parts of 32 bytes.

    :param leaf: makes the hash of a leaf from a part.
    """
    if not packed:
        return None
    frontier: list[bytes] = []
    for index, at in enumerate(range(0, len(packed), _HASH_BYTES)):
        current, number = leaf(packed[at : at + _HASH_BYTES]), index
        while number & 1:
            current, number = _node(frontier.pop(), current), number >> 1
        frontier.append(current)
    return _fold(frontier).hex()


def _open_checkpoint(note: str, key: LogKey, origins: Collection[str]) -> tuple[str, int, bytes]:
    """Return (origin, size, root) of a checkpoint in a C2SP signed note.

    :param origins: the names that the log had up to here; its key is the same under each.
    :raises ValueError: it is malformed, of another log, or not well signed by the log's key.
    """
    found = _NOTE.fullmatch(note)
    if found is None:
        raise ValueError("the note is malformed")
    origin = found["origin"]
    if origin not in origins:
        raise ValueError("the note is of another log")
    key_id = sha256(origin.encode() + b"\n\x01" + key.public_key).digest()[:4]
    verified = False
    for line in found["signatures"][:-1].split("\n"):
        _, name, encoded = line.split(" ")
        signature = _from_base64(encoded)
        if name == origin and signature[:4] == key_id:
            if not key.verify(key.public_key, found["text"].encode(), signature[4:]):
                raise ValueError("the note has a bad signature of the log's key")
            verified = True
    if not verified:
        raise ValueError("the note is not signed by the log's key")
    return origin, int(found["size"]), _from_base64(found["root"])


def _from_base64(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("the note's base64 is not canonical")
    return raw


def _leaf(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _fold(frontier: list[bytes]) -> bytes:
    """Join complete subtrees, smallest first."""
    if not frontier:
        return _EMPTY_ROOT
    return reduce(lambda right, left: _node(left, right), reversed(frontier))
