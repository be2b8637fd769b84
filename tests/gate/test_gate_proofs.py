"""Presence and absence in an export, proved by reference or by identity."""

from __future__ import annotations

import msgspec
import pytest
from gate_world import World, running

from cdp.audit import verify_absence, verify_presence
from cdp.errors import NotFoundError, NotPermittedError
from cdp.gate import Proof

world_fixture = pytest.fixture(running, name="world")


def holds(proof: Proof) -> bool:
    """Check a proof as its reader does; returns whether the person was released."""
    if proof.value is None:
        assert verify_absence(proof.manifest_root, proof.position, proof.decided)
        return False
    assert verify_presence(proof.manifest_root, proof.position, proof.value, proof.decided)
    if verify_absence(proof.changed_root, proof.position, proof.taken_out):
        return True
    assert verify_presence(proof.changed_root, proof.position, bytes(32), proof.taken_out)
    return False


def test_a_reference_is_proved_in_or_not_in_each_export(world: World) -> None:
    world.person("Ada")
    bea = world.person("Bea")
    first = world.gate.authorise(world.request()).export_id
    refs = {row["first_name"]: row["profile_ref"] for row in world.rows(first)}
    world.say(bea, "withdrawn")
    second = world.gate.authorise(world.request()).export_id
    prove = world.gate.proofs.of_reference
    assert [holds(prove(world.officer, export, refs["Bea"])) for export in (first, second)] == [True, False]
    assert [holds(prove(world.officer, export, refs["Ada"])) for export in (first, second)] == [True, True]
    assert [entry.object["export"] for entry in world.entries("export.prove")][:1] == [second]
    assert holds(prove(world.mailer, first, refs["Bea"]))


def test_a_destination_is_told_of_nobody_but_whom_it_received(world: World) -> None:
    """A proof of who is in an export that was not fetched would be a fetch without its rules."""
    world.person("Ada")
    bea = world.person("Bea")
    first = world.gate.authorise(world.request()).export_id
    refs = {row["first_name"]: row["profile_ref"] for row in world.rows(first)}
    second = world.gate.authorise(world.request(segment="secret")).export_id
    delta = world.gate.authorise(world.request(mode="delta")).export_id
    prove = world.gate.proofs.of_reference
    world.say(bea, "withdrawn")
    rendering = world.gate.render(second, world.mailer)
    row = next(rendering.rows)  # its end is not known
    for export, ref in ((second, row.profile_ref), (second, refs["Bea"]), (delta, refs["Ada"])):
        with pytest.raises(NotFoundError):
            prove(world.mailer, export, ref)
    assert list(rendering.rows) == []
    assert holds(prove(world.mailer, second, refs["Ada"]))
    with pytest.raises(NotFoundError):
        prove(world.mailer, second, refs["Bea"])  # decided for, skipped


def test_who_was_taken_out_while_it_was_decided_is_proved_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bea = world.person("Ada"), world.person("Bea")
    proof_secrets = world.keyring.proof_secrets

    def meanwhile(numbers: object) -> dict[int, bytes]:
        monkeypatch.undo()
        world.say(bea, "withdrawn")
        return proof_secrets(numbers)  # type: ignore[arg-type]  # whatever the gate gives

    monkeypatch.setattr(world.keyring, "proof_secrets", meanwhile)
    export = world.gate.authorise(world.request()).export_id
    proofs = world.gate.proofs.of_identities("key:1", export, [ada, ada + 1, bea, bea + 1])
    assert [holds(proof) for proof in proofs] == [True, True, False, False]
    assert [proof.released for proof in proofs] == [True, True, False, False]


def test_who_objected_to_being_chosen_while_it_was_decided_is_in_no_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.person("Ada")
    bea = world.person("Bea")
    proof_secrets = world.keyring.proof_secrets

    def meanwhile(numbers: object) -> dict[int, bytes]:
        monkeypatch.undo()
        world.segments.objecting.add(bea)  # after the segment was evaluated, before the log's head is taken
        return proof_secrets(numbers)  # type: ignore[arg-type]  # whatever the gate gives

    monkeypatch.setattr(world.keyring, "proof_secrets", meanwhile)
    export = world.gate.authorise(world.request())
    assert (export.counts.members, export.counts.released) == (2, 1)
    (gone,) = world.gate.proofs.of_identities("key:1", export.export_id, [bea])
    assert not holds(gone)


def test_what_does_not_exist_is_not_proved(world: World) -> None:
    world.person("Ada")
    export = world.gate.authorise(world.request()).export_id
    with pytest.raises(NotFoundError):
        world.gate.proofs.of_reference(world.mailer, export, "00" * 16)
    with pytest.raises(NotFoundError):
        world.gate.proofs.of_identities("key:2", "e_unknown", [1])
    assert [entry.outcome for entry in world.entries("export.prove")] == ["denied"]


def test_a_destination_that_may_not_fetch_is_shown_no_membership(world: World) -> None:
    world.person("Ada")
    export = world.gate.authorise(world.request()).export_id
    ref = world.rows(export)[0]["profile_ref"]
    world.change_destination(enabled=False)
    with pytest.raises(NotPermittedError):
        world.gate.proofs.of_reference(world.mailer, export, ref)
    world.change_destination(enabled=True)
    other = msgspec.structs.replace(world.mailer, purposes=frozenset({"analytics"}))
    with pytest.raises(NotPermittedError):
        world.gate.proofs.of_reference(other, export, ref)
    assert [entry.outcome for entry in world.entries("export.prove")] == ["denied", "denied"]
