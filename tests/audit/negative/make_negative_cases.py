"""Make the negative cases: bundles and proofs that somebody altered, each with what has to be said of it.

``python tests/audit/negative/make_negative_cases.py`` writes them anew, byte by byte the same.
``bundles/good`` is a bundle that checks, ``bundles/<case>`` the files that differ from it, and ``says`` (part
of the line that refuses it, and ``gone``: files that are not there). ``proofs/good*`` check, every other file
of ``proofs`` does not.

The attacker of these cases redoes the index of files, and in those that say so holds the log's own key.
"""

from __future__ import annotations

import json
import shutil
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from bundles import (  # noqa: E402  # found only now
    EXPORT,
    KEY,
    MANIFEST,
    SIGNER,
    TAKEN_OUT,
    Made,
    entry,
    files_of,
    indexed,
    log_of,
    packed,
    write,
)

from cdp.audit import sparse_prove  # noqa: E402  # as above
from cdp.audit.checkpoint import NoteKey  # noqa: E402  # as above
from cdp.crypto import Signer  # noqa: E402  # as above

FIRST, END, SIZE, PINNED = 9, 33, 40, 12
SIGNED = (10, 16, 24, 31, SIZE)
L = 2**252 + 27742317777372353535851937790883648493
Files = dict[str, bytes]
Cases = dict[str, tuple[Files, str]]


def flipped(content: bytes, at: int, bit: int = 1) -> bytes:
    """Return content with one bit turned over."""
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]


def changed(files: Files, name: str, content: bytes | None) -> Files:
    """Return files with one of them replaced, or gone, and the index redone."""
    kept = {held: found for held, found in files.items() if held != name}
    return indexed(kept if content is None else {**kept, name: content})


def bare(made: Made, at: int) -> Made:
    """Return a log in which nothing lies beside an entry."""
    return made._replace(
        references=[*made.references[:at], b"", *made.references[at + 1 :]],
        details=[*made.details[:at], b"", *made.details[at + 1 :]],
    )


def bundle_of(made: Made, **given: Any) -> Files:
    """Return the bundle that all of these cases are about."""
    return files_of(made, FIRST, END, **{"signed": SIGNED, **given})


def replaced(made: Made, at: int, data: bytes) -> Made:
    """Return a log in which one entry says something else."""
    return made._replace(entries=[*made.entries[:at], data, *made.entries[at + 1 :]])


def signature_changed(note: str, change: Callable[[bytes], bytes]) -> str:
    """Return a note with another signature, the key's id left as it is."""
    head, _, encoded = note.rstrip("\n").rpartition(" ")
    raw = b64decode(encoded)
    return f"{head} {b64encode(raw[:4] + change(raw[4:])).decode()}\n"


def malleable(signature: bytes) -> bytes:
    """Return the other signature of the same message, with S + L (RFC 8032, 8.4)."""
    return signature[:32] + (int.from_bytes(signature[32:], "little") + L).to_bytes(32, "little")


def _lines(notes: list[str]) -> bytes:
    return "".join(json.dumps(note, ensure_ascii=False) + "\n" for note in notes).encode()


def entry_cases(made: Made, good: Files) -> Cases:
    """Return what is done to entries, their references and the hashes of the others."""
    name = f"entries/{17:012}"
    cut = good[name]
    order = [*range(18), 19, 18, *range(20, SIZE)]
    reordered = Made(*([column[number] for number in order] for column in made))
    spaced = replaced(made, 18, made.entries[18].replace(b'"v":1', b'"v": 1'))
    notes = [made.note(size) for size in SIGNED]
    doubled = replaced(made, 18, made.entries[18].replace(b'"v":1', b'"v":1,"v":1'))
    hidden = json.loads(good["bundle.json"]) | {"first": 17}
    return {
        "file-altered": ({**good, name: flipped(cut, 60)}, f"file {name}: was altered"),
        "file-beside": ({**good, "entries/extra": b"x"}, "lies here and is not listed"),
        "entry-bit": (changed(good, name, flipped(cut, 60)), "entry from 16 to 23 was altered"),
        "entry-cut-off": (changed(good, name, cut[:-1]), f"file {name}: does not hold the 8 records"),
        "entry-gone": (
            changed(good, name, cut[2 + int.from_bytes(cut[:2]) :]),
            f"file {name}: does not hold the 8 records",
        ),
        "entries-reordered": (bundle_of(reordered, notes=notes), "entry from 16 to 23 was altered"),
        "entry-not-canonical": (bundle_of(spaced), "entry 18: it is not canonical JSON"),
        "entry-field-twice": (bundle_of(doubled), "entry 18: it is not canonical JSON"),
        "entry-hidden-at-the-end-of-the-period": (
            changed(good, "bundle.json", json.dumps(hidden).encode()),
            "entry 17: the period begins before it",
        ),
        "reference-bit": (
            changed(good, f"references/{17:012}", flipped(good[f"references/{17:012}"], 50)),
            "its references are not those whose root it holds",
        ),
        "detail-hash-bit": (
            changed(good, f"details/{17:012}", flipped(good[f"details/{17:012}"], 30)),
            "entry 17: its hashes of details are not those whose root it holds",
        ),
        "detail-hash-gone": (
            changed(good, f"details/{17:012}", bytes(4 * 8)),
            "entry 17: its hashes of details are not those whose root it holds",
        ),
        "reference-gone": (
            changed(good, f"references/{17:012}", bytes(4 * 8)),
            "entry 17: its references are not those whose root it holds",
        ),
        "tree-bit": (changed(good, "tree", flipped(good["tree"], 0)), "checkpoint 10: its root is not"),
        "tree-cut-off": (changed(good, "tree", good["tree"][:-1]), "file tree: does not hold"),
        "tree-longer": (changed(good, "tree", good["tree"] + bytes(32)), "file tree: does not hold"),
    }


def checkpoint_cases(made: Made, good: Files) -> Cases:
    """Return what is done to checkpoints; the log's key is not needed for it."""
    notes = [made.note(size) for size in SIGNED]

    roots = [note.split("\n")[2] for note in notes]

    def with_notes(*found: str) -> Files:
        return changed(good, "checkpoints.jsonl", _lines(list(found)))

    other = NoteKey(KEY.name, Signer(b"\x07" * 32).public_key)
    small = NoteKey(KEY.name, (1).to_bytes(32, "little"))
    by_other = [made.note(size, Signer(b"\x07" * 32)) for size in SIGNED]
    return {
        "signature-bit": (
            with_notes(*notes[:2], signature_changed(notes[2], lambda s: flipped(s, 40)), *notes[3:]),
            "checkpoint 24: the note has a bad signature",
        ),
        "signature-malleable": (
            with_notes(*notes[:2], signature_changed(notes[2], malleable), *notes[3:]),
            "checkpoint 24: the note has a bad signature",
        ),
        "signature-of-a-small-r": (
            with_notes(
                *notes[:2], signature_changed(notes[2], lambda s: small.public_key + s[32:]), *notes[3:]
            ),
            "checkpoint 24: the note has a bad signature",
        ),
        "checkpoint-of-another-root": (
            with_notes(*notes[:2], notes[2].replace(roots[2], roots[1]), *notes[3:]),
            "checkpoint 24: the note has a bad signature",
        ),
        "checkpoint-of-another-log": (
            with_notes(*notes[:4], made.note(SIZE, origin="cdp.example/other")),
            "checkpoint 40: the note is of another log",
        ),
        "checkpoint-gone": (with_notes(*notes[:4]), "no good checkpoint covers the whole of the log"),
        "key-replaced": (bundle_of(made, notes=by_other, key=other), "names another key than the one pinned"),
        "key-of-small-order": (bundle_of(made, key=small), "names another key than the one pinned"),
    }


def thief_cases(made: Made, good: Files) -> Cases:
    """Return what somebody does who holds the log's key; only what was pinned before shows it."""
    forked = replaced(made, 22, entry(22, action="profile.reveal"))
    tail = made._replace(entries=[*made.entries[:11], *(entry(n, actor="key:9") for n in range(11, SIZE))])
    anew = made._replace(entries=[entry(n, actor="key:9") for n in range(SIZE)])
    blank = {"references": [b""] * SIZE, "details": [b""] * SIZE}
    claim = entry(
        26,
        action="audit.origin",
        object={
            "origin": f"{KEY.name}/2",
            "closed_origin": KEY.name,
            "closed_size": PINNED,
            "closed_root": made.tree(PINNED).root().hex(),
        },
    )
    lost = anew._replace(entries=[*anew.entries[:26], claim, *anew.entries[27:]], **blank)
    later = [anew.note(10), anew.note(16), anew.note(24)]
    later += [lost.note(size, origin=f"{KEY.name}/2") for size in (31, SIZE)]
    forged = replaced(made, 22, entry(22, action="audit.origin", object={"origin": f"{KEY.name}/2"}))
    short = files_of(made, FIRST, 10, signed=(10, 11))
    return {
        "fork": (
            changed(good, "checkpoints.jsonl", good["checkpoints.jsonl"] + _lines([forked.note(24)])),
            "checkpoint 24: its root is not that of the log",
        ),
        "rolled-back": (short, f"pinned checkpoint pinned {PINNED}: covers more than the 11 entries"),
        "tail-signed-again": (
            files_of(tail._replace(**blank), FIRST, END, signed=SIGNED),
            f"pinned checkpoint pinned {PINNED}: its root is not that of the log",
        ),
        "all-signed-again": (
            files_of(anew._replace(**blank), FIRST, END, signed=SIGNED),
            f"pinned checkpoint pinned {PINNED}: its root is not that of the log",
        ),
        "loss-declared-by-a-thief": (
            files_of(lost, FIRST, END, signed=SIGNED, notes=later),
            f"pinned checkpoint pinned {PINNED}: the log no longer extends it",
        ),
        "origin-without-a-loss": (
            bundle_of(bare(forged, 22)),
            "entry 22: opens an origin without naming the checkpoint before",
        ),
    }


def manifest_cases(good: Files) -> Cases:
    """Return what is done to the manifest of an export."""
    name, leaves = f"manifests/{EXPORT}", packed(MANIFEST)
    return {
        "manifest-bit": (
            changed(good, name, flipped(leaves, 100)),
            "do not give the root that entry 20 holds",
        ),
        "manifest-leaf-misplaced": (
            changed(good, name, leaves[64:128] + leaves[:64] + leaves[128:]),
            "its leaf 1 is misplaced",
        ),
        "manifest-leaf-twice": (changed(good, name, leaves[:64] + leaves), "its leaf 1 is there twice"),
        "manifest-leaf-gone": (changed(good, name, leaves[64:]), "do not give the root that entry 20 holds"),
        "manifest-cut-off": (changed(good, name, leaves[:-1]), "its last leaf is cut off"),
        "manifest-gone": (changed(good, name, None), f"manifest {EXPORT}: cannot be read"),
        "manifest-of-no-export": (changed(good, "manifests/e_x", leaves), "belongs to no export"),
        "taken-out-bit": (
            changed(good, f"{name}.taken_out", flipped(packed(TAKEN_OUT), 3)),
            "do not give the root that entry 20 holds",
        ),
    }


def nonsense_cases(good: Files) -> Cases:
    """Return files that are not what they have to be at all."""
    about = json.loads(good["bundle.json"])
    overlapping = {**about, "chunks": [[9, 8], [9, 8], [17, 8], [25, 8]]}
    endless = {**about, "size": 1 << 61}
    return {
        "bundle-nested": (changed(good, "bundle.json", b"[" * 100_000), "is not JSON"),
        "bundle-overlapping": (
            changed(good, "bundle.json", json.dumps(overlapping).encode()),
            "overlap or are out of order",
        ),
        "bundle-endless": (
            changed(good, "bundle.json", json.dumps(endless).encode()),
            "does not hold the hashes",
        ),
        "bundle-of-tomorrow": (
            changed(good, "bundle.json", json.dumps({**about, "format": "cdp-audit-bundle/9"}).encode()),
            "of a format that this file does not know",
        ),
        "index-gone": (
            {name: held for name, held in good.items() if name != "SHA256SUMS"},
            "file SHA256SUMS",
        ),
        "index-climbing": (
            {**good, "SHA256SUMS": good["SHA256SUMS"] + b"0" * 64 + b"  ../../etc/passwd\n"},
            "is malformed, or names a file again",
        ),
        "checkpoints-no-text": (changed(good, "checkpoints.jsonl", b"\xff\xfe"), "is not UTF-8"),
    }


def proof_cases(made: Made) -> tuple[Files, Files]:
    """Return proofs that check, and proofs that do not."""
    index, size = 20, SIZE
    lines = [
        "c2sp.org/tlog-proof@v1",
        f"extra {b64encode(made.entries[index]).decode()}",
        f"index {index}",
        *made.inclusion(index, size),
    ]
    text = "\n".join(lines) + f"\n\n{made.note(size)}"
    inside, outside = sorted(set(MANIFEST) - set(TAKEN_OUT))[2], bytes(32)

    def about(position: bytes) -> dict[str, Any]:
        value = MANIFEST.get(position)
        paths = {}
        for name, tree in (("decided", MANIFEST), ("taken_out", TAKEN_OUT)):
            proof = sparse_prove(tree, position)
            other = None if proof.other is None else [part.hex() for part in proof.other]
            paths[name] = {"siblings": [one.hex() for one in proof.siblings], "other": other}
        return {
            "export": EXPORT,
            "position": position.hex(),
            "value": None if value is None else value.hex(),
            **paths,
            "manifest_root": json.loads(made.entries[index])["object"]["manifest_root"],
            "changed_root": json.loads(made.entries[index])["object"]["changed_root"],
            "audit_index": index,
            "entry": made.entries[index].decode(),
            "inclusion": made.inclusion(index, size),
            "checkpoint": made.note(size),
        }

    was, was_not = about(inside), about(outside)
    good = {
        "good.tlog-proof": text.encode(),
        "good-in.json": json.dumps(was, ensure_ascii=False).encode(),
        "good-not-in.json": json.dumps(was_not, ensure_ascii=False).encode(),
        "good-taken-out.json": json.dumps(about(next(iter(TAKEN_OUT))), ensure_ascii=False).encode(),
    }
    elsewhere = made.entries[19].decode()
    turned = {**was["decided"], "siblings": ["00" * 32, *was["decided"]["siblings"][1:]]}
    bad_json = {
        "value": {**was, "value": "11" * 32},
        "said-not-in": {**was, "value": None},
        "said-not-in-beside-itself": {
            **was,
            "value": None,
            "decided": {**was["decided"], "other": [was["position"], was["value"]]},
        },
        "said-in": {**was_not, "value": was["value"]},
        "position": {**was, "position": "00" * 32},
        "sibling": {**was, "decided": turned},
        "path-too-long": {**was, "decided": {**was["decided"], "siblings": ["00" * 32] * 300}},
        "root": {**was, "manifest_root": "22" * 32},
        "other-export": {**was, "export": "e_" + "6" * 32},
        "other-entry": {**was, "entry": elsewhere},
        "entry-altered": {**was, "entry": was["entry"].replace("key:1", "key:2")},
        "index": {**was, "audit_index": 21},
        "index-below-zero": {**was, "audit_index": -1},
        "inclusion": {**was, "inclusion": was["inclusion"][1:]},
        "checkpoint": {**was, "checkpoint": signature_changed(made.note(size), lambda s: flipped(s, 3))},
        "checkpoint-malleable": {**was, "checkpoint": signature_changed(made.note(size), malleable)},
        "path-no-list": {**was, "taken_out": {"siblings": 7}},
    }
    bad = {f"{name}.json": json.dumps(said, ensure_ascii=False).encode() for name, said in bad_json.items()}
    bad |= {
        "index.tlog-proof": text.replace("index 20", "index 21").encode(),
        "hash.tlog-proof": text.replace(lines[3], made.inclusion(21, size)[1]).encode(),
        "entry.tlog-proof": text.replace(lines[1], f"extra {b64encode(made.entries[21]).decode()}").encode(),
        "no-entry.tlog-proof": text.replace(lines[1] + "\n", "").encode(),
        "cut-off.tlog-proof": text[:-30].encode(),
        "nothing.json": b"",
    }
    return good, bad


def main() -> None:
    """Write everything anew."""
    made = log_of(SIZE)
    good = bundle_of(made)
    cases = {
        **entry_cases(made, good),
        **checkpoint_cases(made, good),
        **thief_cases(made, good),
        **manifest_cases(good),
        **nonsense_cases(good),
    }
    for folder in ("bundles", "proofs"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    write(HERE / "bundles" / "good", good)
    (HERE / "bundles" / "pinned").write_text(made.note(PINNED), encoding="utf-8")
    for name, (files, says) in cases.items():
        differing = {held: found for held, found in files.items() if good.get(held) != found}
        gone = sorted(good.keys() - files.keys())
        told = json.dumps({"says": says, "gone": gone}, indent=1).encode() + b"\n"
        write(HERE / "bundles" / name, {**differing, "says": told})
    for name, content in {**(proofs := proof_cases(made))[0], **proofs[1]}.items():
        write(HERE / "proofs", {name: content})
    (HERE / "key").write_text(KEY.verifier_text() + "\n", encoding="ascii")
    assert SIGNER.public_key == KEY.public_key


if __name__ == "__main__":
    main()
