"""Bundles of a made-up log, made from the specification's words rather than by ``cdp/audit/outside``.

So a mistake in the one that writes bundles does not make its own tests pass; and an attacker of the tests,
who has every key, makes whatever he likes with it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import rfc8785

from cdp.audit import merkle
from cdp.audit.checkpoint import NoteKey, Statement, checkpoint_text, sign_note
from cdp.audit.sparse import sparse_root
from cdp.clock import rfc3339
from cdp.crypto import Signer

SIGNER = Signer(bytes(range(32)))
KEY = NoteKey("cdp.example/audit", SIGNER.public_key)
START = 1_767_225_600_000_000  # 2026-01-01
MINUTE = 60_000_000
EXPORT = "e_" + "5" * 32
MANIFEST = {sha256(b"%d" % number).digest(): sha256(b"plan").digest() for number in range(9)}
TAKEN_OUT = dict.fromkeys([sha256(b"3").digest()], bytes(32))


class Made(NamedTuple):
    """A log: its entries, each with its packed references and hashes of details."""

    entries: list[bytes]
    references: list[bytes]
    details: list[bytes]

    def tree(self, size: int) -> merkle.Frontier:
        """Return the tree over the first ``size`` entries."""
        tree = merkle.Frontier()
        for entry in self.entries[:size]:
            tree.append(merkle.leaf_hash(entry))
        return tree

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree."""
        return merkle.root(map(merkle.leaf_hash, self.entries[index << level : (index + 1) << level]))

    def note(self, size: int, signer: Signer = SIGNER, origin: str = KEY.name) -> str:
        """Return a signed checkpoint."""
        key = NoteKey(origin, signer.public_key)
        root = self.tree(size).root()
        return sign_note(checkpoint_text(Statement(origin, size, root)), key, signer.sign)

    def inclusion(self, index: int, size: int) -> list[str]:
        """Return an inclusion proof as base64."""
        spans = merkle.inclusion_spans(index, size)
        return [b64encode(merkle.span_hash(span, self.node)).decode() for span in spans]

    def consistency(self, old: int, new: int) -> list[str]:
        """Return a consistency proof as base64."""
        spans = merkle.consistency_spans(old, new)
        return [b64encode(merkle.span_hash(span, self.node)).decode() for span in spans]


def entry(
    number: int, *, references: Sequence[bytes] = (), details: Sequence[bytes] = (), **fields: Any
) -> bytes:
    """Return entry ``number`` of a log with one entry a minute."""
    document: dict[str, Any] = {
        "v": 1,
        "time": rfc3339(START + number * MINUTE),
        "commit_no": number + 1,
        "actor": "key:1",
        "action": "profile.lookup",
        "outcome": "allowed",
        "purpose": "data_quality",
        "destination": "",
        "object": {},
        "counts": {},
        "people": {},
        **fields,
    }
    if references:
        root = merkle.root(map(merkle.leaf_hash, references))
        document |= {"nonce": f"{number:032x}", "subjects": root.hex()}
    if details:
        document["details"] = merkle.root(details).hex()
    return rfc8785.dumps(document)


def log_of(size: int, *, export_at: int = 20) -> Made:
    """Return a log, every third entry of which is about somebody, with an export in it."""
    made = Made([], [], [])
    for number in range(size):
        references = sorted(sha256(b"%d %d" % (number, who)).digest() for who in range(number % 3))
        fields: dict[str, Any] = {}
        if number == export_at:
            fields = {
                "action": "export.authorise",
                "object": {
                    "export": EXPORT,
                    "manifest_root": sparse_root(MANIFEST).hex(),
                    "changed_root": sparse_root(TAKEN_OUT).hex(),
                },
                "people": {"members": 10, "released": "<10"},
            }
        details = references[: number % 2]
        made.entries.append(entry(number, references=references, details=details, **fields))
        made.references.append(b"".join(references))
        made.details.append(b"".join(details))
    return made


def packed(leaves: Mapping[bytes, bytes]) -> bytes:
    """Return the leaves of a manifest as they are shipped."""
    return b"".join(position + leaves[position] for position in sorted(leaves))


def covering(first: int, end: int) -> Iterable[tuple[int, int]]:
    """Yield the fewest complete subtrees (level, index) over leaves [first, end): one bit after the other."""
    if first == end:
        return
    for level in reversed(range(first.bit_length() + end.bit_length() + 1)):
        index = -(-first >> level) if level else first
        if (index + 1) << level <= end:
            yield from covering(first, index << level)
            yield level, index
            yield from covering((index + 1) << level, end)
            return


def files_of(
    made: Made,
    first: int,
    end: int,
    *,
    signed: Sequence[int],
    chunk: int = 8,
    pinned: Sequence[int] = (),
    notes: Sequence[str] | None = None,
    key: NoteKey = KEY,
) -> dict[str, bytes]:
    """Return the files of a bundle of the entries [first, end), its index among them.

    :param signed: sizes of the checkpoints in it; the last one is the whole log.
    :param notes: the checkpoints themselves, in place of those.
    """
    size = signed[-1]
    files: dict[str, bytes] = {}
    chunks = [(start, min(chunk, end - start)) for start in range(first, end, chunk)]
    for start, count in chunks:
        part = slice(start, start + count)
        files[f"entries/{start:012}"] = b"".join(len(data).to_bytes(2) + data for data in made.entries[part])
        for kind, hashes in (("references", made.references), ("details", made.details)):
            files[f"{kind}/{start:012}"] = b"".join(
                (len(held) // 32).to_bytes(4) + held for held in hashes[part]
            )
    gaps = [*covering(0, first), *covering(end, size)]
    files["tree"] = b"".join(made.node(*subtree) for subtree in gaps)
    shown = [made.note(number) for number in signed] if notes is None else notes
    files["checkpoints.jsonl"] = "".join(
        json.dumps(note, ensure_ascii=False) + "\n" for note in shown
    ).encode()
    if pinned:
        files["consistency.json"] = json.dumps(
            {str(pin): made.consistency(pin, size) for pin in pinned}
        ).encode()
    if any(EXPORT.encode() in data for data in made.entries[first:end]):
        files[f"manifests/{EXPORT}"] = packed(MANIFEST)
        files[f"manifests/{EXPORT}.taken_out"] = packed(TAKEN_OUT)
    about = {
        "format": "cdp-audit-bundle/1",
        "key": key.verifier_text(),
        "size": size,
        "from": rfc3339(START + (first + 1) * MINUTE) if first else None,
        "to": rfc3339(START + (end - 1) * MINUTE) if end < size else None,
        "first": first,
        "end": end,
        "chunks": chunks,
    }
    files["bundle.json"] = json.dumps(about).encode()
    return indexed(files)


def indexed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return files with the index that goes with them."""
    kept = {name: content for name, content in files.items() if name != "SHA256SUMS"}
    lines = (f"{sha256(content).hexdigest()}  {name}\n" for name, content in sorted(kept.items()))
    return {**kept, "SHA256SUMS": "".join(lines).encode()}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
