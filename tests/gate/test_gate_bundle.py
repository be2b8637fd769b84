"""What a bundle says of exports, and what somebody who owns the database cannot hide from it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import bundles
import pytest
from gate_world import World, running
from sqlalchemy import Connection, delete, insert, select, update

from cdp.audit import Bundler, Entry, merkle, open_checkpoint
from cdp.audit.checkpoint import NoteKey, Statement, checkpoint_text, sign_note
from cdp.audit.tables import audit_details, audit_entries, audit_head, audit_nodes, checkpoints
from cdp.crypto import Signer, verify_signature
from cdp.errors import AuditError

world_fixture = pytest.fixture(running, name="world")


class Reader(NamedTuple):
    """A regulator: a folder of their own, with what they pinned while all was well."""

    folder: Path
    key: str

    def pin(self, world: World) -> None:
        """Keep the newest checkpoint."""
        note = world.audit.sign_checkpoint(world.committer).note
        (self.folder / "pinned").write_text(note, encoding="utf-8")

    def check(self, archive: bytes, name: str = "bundle") -> tuple[int, str]:
        """Verify a bundle with what is pinned, and no package installed."""
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            opened.extractall(self.folder / name)
        pinned = ["--key", self.key, "--pinned", str(self.folder / "pinned")]
        command = [sys.executable, "-I", "-S", str(self.folder / name / "verify.py"), *pinned]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.stderr == ""
        return done.returncode, done.stdout


@pytest.fixture
def reader(world: World, tmp_path: Path) -> Reader:
    """Somebody who holds the log's key."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Reader(folder, world.audit.key.verifier_text())


def bundle(world: World, *pinned: int) -> bytes:
    """Return a bundle of the whole log."""
    made = Bundler(world.store, world.committer, world.audit, world.gate.proofs.manifests)
    return b"".join(made.write(made.request("key:1", None, None, pinned)))


# -- exports ----------------------------------------------------------------------------------------


def test_every_export_has_its_manifest_also_after_somebody_was_erased(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bea = world.person("Ada"), world.person("Bea")
    first = world.gate.authorise(world.request()).export_id
    proof_secrets = world.keyring.proof_secrets

    def meanwhile(numbers: object) -> dict[int, bytes]:
        monkeypatch.undo()
        world.say(bea, "withdrawn")  # between the snapshot and the head lock
        return proof_secrets(numbers)  # type: ignore[arg-type]  # whatever the gate gives

    monkeypatch.setattr(world.keyring, "proof_secrets", meanwhile)
    second = world.gate.authorise(world.request()).export_id
    reader.pin(world)
    code, said = reader.check(bundle(world))
    assert (code, "exports:     2 with their manifests" in said) == (0, True), said
    held = {path.name for path in (reader.folder / "bundle" / "manifests").iterdir()}
    assert held == {first, second, f"{second}.taken_out"}
    world.destroy(ada)
    world.destroy(bea)
    code, said = reader.check(bundle(world), "after")
    assert (code, "exports:     2 with their manifests" in said) == (0, True), said


# -- somebody with full write access to the database -------------------------------------------------


class Attacker:
    """Writes what they like into the log's tables, so that it holds together again as well as can be.

    :param signer: the key with which checkpoints are signed anew; None when they have none.
    """

    def __init__(self, world: World, signer: Signer | None) -> None:
        self.world = world
        self.signer = signer

    def rewrite(self, change: Callable[[list[bytes]], list[bytes]]) -> None:
        """Change the entries, and make tree, head and checkpoints fit them."""
        with self.world.store.writing() as connection, connection.begin():
            rows = {
                bytes(row.entry): row._mapping
                for row in connection.execute(select(audit_entries).order_by(audit_entries.c.leaf_index))
            }
            sizes = list(
                connection.execute(select(checkpoints.c.size).order_by(checkpoints.c.size)).scalars()
            )
            entries = change(list(rows))
            for table in (audit_entries, audit_nodes, audit_details):
                connection.execute(delete(table))
            for index, data in enumerate(entries):
                known = rows.get(data, rows[next(iter(rows))])
                connection.execute(
                    insert(audit_entries).values(**{**known, "leaf_index": index, "entry": data})
                )
            self._grow(connection, entries, sizes)

    def _grow(self, connection: Connection, entries: Sequence[bytes], sizes: Sequence[int]) -> None:
        tree, nodes = merkle.Frontier(), []
        for size in range(len(entries) + 1):
            if size in sizes and self.signer is not None:
                key = NoteKey(self.world.audit.key.name, self.signer.public_key)
                text = checkpoint_text(Statement(key.name, size, tree.root()))
                note = sign_note(text, key, self.signer.sign)
                signed = update(checkpoints).where(checkpoints.c.size == size)
                connection.execute(signed.values(root=tree.root(), note=note))
            if size < len(entries):
                nodes += tree.append(merkle.leaf_hash(entries[size]))
        connection.execute(delete(checkpoints).where(checkpoints.c.size > len(entries)))
        connection.execute(
            insert(audit_nodes), [{"position": at, "hash": node} for at, node in enumerate(nodes)]
        )
        connection.execute(update(audit_head).values(size=len(entries), frontier=tree.packed()))


def record(world: World, count: int) -> None:
    """Have the log grow, with a checkpoint now and then."""
    for number in range(count):
        with world.committer.batch() as batch:
            batch.record(Entry(action="test.happened", actor=f"key:{number}"))
        if number % 5 == 4:
            world.audit.sign_checkpoint(world.committer)


def edited(entries: list[bytes], at: int = 4) -> list[bytes]:
    """Return the entries, one with another actor."""
    return [*entries[:at], re.sub(b'"actor":"[^"]*"', b'"actor":"key:99"', entries[at]), *entries[at + 1 :]]


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "edit": edited,
    "delete": lambda entries: [*entries[:4], *entries[5:]],
    "insert": lambda entries: [*entries[:4], bundles.entry(4), *entries[4:]],
    "reorder": lambda entries: [*entries[:4], entries[5], entries[4], *entries[6:]],
    "roll back": lambda entries: entries[:8],
    "write anew": lambda entries: [bundles.entry(number) for number, _ in enumerate(entries)],
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_thief_of_the_key_cannot_change_what_was_pinned(world: World, reader: Reader, how: str) -> None:
    """Entries, tree, head and every checkpoint are made anew and hold together; the pinned one is not."""
    record(world, 12)
    reader.pin(world)
    record(world, 12)
    Attacker(world, world.audit._signer).rewrite(CHANGES[how])
    code, said = reader.check(bundle(world))
    assert code == 1, said
    wrong = [line for line in said.splitlines() if line.startswith("WRONG")]
    assert any("pinned checkpoint pinned" in line for line in wrong), said
    if how == "write anew":
        assert all("pinned" in line for line in wrong), said  # nothing else could show it


@pytest.mark.parametrize("how", sorted(CHANGES.keys() - {"roll back"}))
def test_without_the_key_the_log_itself_does_not_hold_together(world: World, how: str) -> None:
    """The server signs no more, so no bundle covers the change.

    A log put back to a signed state is one of an earlier day: only what was pinned shows that, as above.
    """
    record(world, 12)
    Attacker(world, None).rewrite(CHANGES[how])
    with pytest.raises(AuditError, match="does not extend its checkpoint"):
        bundle(world)
    with world.store.reading() as connection:
        assert not world.audit.verify(connection).ok


def test_another_key_in_place_of_the_logs_is_not_the_one_pinned(world: World, reader: Reader) -> None:
    record(world, 12)
    reader.pin(world)
    own = Signer(b"\x66" * 32)
    Attacker(world, own).rewrite(lambda entries: [bundles.entry(number) for number, _ in enumerate(entries)])
    world.audit._signer, world.audit.key = own, NoteKey(world.audit.key.name, own.public_key)
    code, said = reader.check(bundle(world))
    assert (code, "names another key than the one pinned" in said) == (1, True), said
    assert "bad signature" in said or "not signed by the log's key" in said


def test_what_a_stolen_key_can_do_is_what_the_guide_says(world: World, reader: Reader) -> None:
    """Whatever follows the newest checkpoint that somebody else holds rests on the key alone."""
    record(world, 12)
    reader.pin(world)
    held = (reader.folder / "pinned").read_text(encoding="utf-8")
    size = open_checkpoint(held, world.audit.key, verify_signature).size
    record(world, 12)
    Attacker(world, world.audit._signer).rewrite(lambda entries: edited(entries, size + 2))
    assert reader.check(bundle(world))[0] == 0
    world.audit.sign_checkpoint(world.committer)
    reader.pin(world)
    Attacker(world, world.audit._signer).rewrite(lambda entries: edited(entries, size + 3))
    assert reader.check(bundle(world), "later")[0] == 1
