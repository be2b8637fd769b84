"""A proof file stands alone: anybody checks it offline, also after others, or its own person, were erased."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from caller import Caller
from platform_fixtures import Shell
from replay_world import (
    EMAIL,
    REVIEW,
    act,
    erase,
    exported,
    holds,
    number_of,
    numbers_of,
    person,
    preference,
    profile,
    send,
)
from sqlalchemy import delete

from cdp.gate.tables import export_records

NAMES = ("ann", "bob", "cyd", "dan")


@pytest.fixture
def people(caller: Caller) -> Caller:
    """Four people, of whom three agreed to e-mail."""
    send(caller, [*map(person, NAMES), *(preference(name, agreed=True) for name in NAMES[:3])])
    return caller


@pytest.fixture
def export(people: Caller, monkeypatch: pytest.MonkeyPatch) -> str:
    """An export while the decision about which Bob and Cyd withdrew."""
    keyring = people.services.keyring
    proof_secrets = keyring.proof_secrets

    def meanwhile(numbers: Iterable[int]) -> dict[int, bytes]:
        monkeypatch.setattr(keyring, "proof_secrets", proof_secrets)
        act(people, "bob", "withdrawn")
        act(people, "cyd", "withdrawn")
        return proof_secrets(numbers)

    monkeypatch.setattr(keyring, "proof_secrets", meanwhile)
    return exported(people)


def verifier(people: Caller) -> str:
    found: str = people.api("POST", "/audit/checkpoint")["verifier"]
    return found


def file_of(people: Caller, export: str, name: str, identity: int = 0) -> dict[str, Any]:
    asked = f"/exports/{export}/proof?profile={profile(people, name)}&format=file&identity={identity}"
    found: dict[str, Any] = people.api("GET", asked, purpose=REVIEW)
    return found


def by_secret(people: Caller, export: str, secret: bytes) -> dict[str, Any]:
    body = {"proof_secret": secret.hex()}
    found: dict[str, Any] = people.api("POST", f"/exports/{export}/proof", body, purpose=REVIEW)
    return found


def test_a_file_proves_presence_and_absence_of_each_identity(people: Caller, export: str) -> None:
    key = verifier(people)
    for name, released in (("ann", True), ("bob", False), ("cyd", False), ("dan", False)):
        files = [file_of(people, export, name, identity) for identity in range(2)]
        assert [holds(file, key) for file in files] == [released, released]
        assert files[0]["position"] != files[1]["position"]
        assert all((file["value"] is None) == (name == "dan") for file in files)
    for name in ("ann", "dan"):
        altered = file_of(people, export, name)
        altered["value"] = None if name == "ann" else "00" * 32
        with pytest.raises(AssertionError):
            holds(altered, key)


def test_erasure_of_who_was_taken_out_takes_away_no_proof_of_others(people: Caller, export: str) -> None:
    secret = people.services.keyring.proof_secrets([number := number_of(people, "bob")])[number]
    erase(people, numbers_of(people, "bob"))
    key = verifier(people)
    assert holds(file_of(people, export, "ann"), key)
    assert not any(holds(file_of(people, export, name), key) for name in ("cyd", "dan"))
    own = by_secret(people, export, secret)
    assert own["value"] is not None
    assert not holds(own, key)
    nobody = by_secret(people, export, bytes(32))
    assert nobody["value"] is None
    assert not holds(nobody, key)


def test_who_was_erased_proves_by_the_secret_of_the_certificate(people: Caller, export: str) -> None:
    secret = people.services.keyring.proof_secrets([number := number_of(people, "ann")])[number]
    erase(people, numbers_of(people, "ann"))
    assert holds(by_secret(people, export, secret), verifier(people))
    log = people.api("GET", "/audit?action=export.prove")["items"]
    assert secret.hex() not in str(log)


def test_the_commands_write_it(people: Caller, export: str, shell: Shell, tmp_path: Path) -> None:
    secret = people.services.keyring.proof_secrets([number := number_of(people, "ann")])[number]
    mine = profile(people, "ann")
    key = verifier(people)
    people.http.__exit__()  # the data directory is the command's from here on
    out = tmp_path / "proof.json"
    ask = ("audit", "prove", export, "--purpose", REVIEW)
    shell(*ask, "--profile", mine, "--out", out)
    for path in (out, tmp_path / "proof-2.json"):
        assert holds(msgspec.json.decode(path.read_bytes()), key)
    assert "exists" in shell(
        "audit", "prove", export, "--profile", mine, "--purpose", REVIEW, "--out", out, expect=1
    )
    kept = tmp_path / "outside" / "secret"
    kept.parent.mkdir()
    kept.write_text(f"{secret.hex()}\n")
    shell(
        "audit", "prove", export, "--secret-file", kept, "--purpose", REVIEW, "--out", tmp_path / "own.json"
    )
    assert holds(msgspec.json.decode((tmp_path / "own.json").read_bytes()), key)
    kept.write_text(json.dumps({"format": "of a certificate", "secrets": [bytes(32).hex(), secret.hex()]}))
    shell(*ask, "--secret-file", kept, "--out", tmp_path / "both.json")
    both = [msgspec.json.decode((tmp_path / name).read_bytes()) for name in ("both.json", "both-2.json")]
    assert [holds(one, key) for one in both] == [False, True]
    kept.write_text("ann@people.example")
    said = shell(*ask, "--secret-file", kept, "--out", tmp_path / "no.json", expect=1)
    assert "64 hex digits" in said
    assert "ann" not in said
    shell(*ask, "--out", tmp_path / "no.json", expect=1)
    shell("audit", "prove", "e_unheard_of", "--profile", mine, "--purpose", REVIEW, "--out", out, expect=1)
    assert "4 reproduced, 0 erased, 0 unexplained, root equal" in shell("audit", "replay", export)
    assert msgspec.json.decode(shell("audit", "replay", export, "--json"))["report"]["ok"]
    assert "no export" in shell("audit", "replay", "e_unheard_of", expect=1)


def test_files_are_for_officers(people: Caller, export: str) -> None:
    key = people.destination_key("mailer", EMAIL)
    path = f"/exports/{export}/proof"
    people.api("GET", f"{path}?profile_ref={'00' * 16}&format=file", key=key, expect=403)
    people.api("POST", path, {"proof_secret": "00" * 32}, key=key, expect=403)
    people.api("POST", path, {"proof_secret": "00"}, purpose=REVIEW, expect=400)
    people.api("POST", path, {"proof_secret": "00" * 32}, expect=400)
    unheard = "/exports/e_unheard_of/proof"
    people.api("POST", unheard, {"proof_secret": "00" * 32}, purpose=REVIEW, expect=404)
    people.api(
        "GET", f"{path}?profile={profile(people, 'ann')}&format=file&identity=2", purpose=REVIEW, expect=404
    )


def test_an_older_export_keeps_its_leaves_from_the_next_start_on(people: Caller, export: str) -> None:
    proofs = people.services.gate.proofs

    def as_before() -> None:
        with people.services.committer.batch() as batch:
            batch.connection.execute(delete(export_records))

    as_before()
    assert holds(file_of(people, export, "ann"), verifier(people))  # made again
    assert proofs.keep_older() == 0
    erase(people, numbers_of(people, "bob"))
    assert holds(file_of(people, export, "ann"), verifier(people))
    as_before()
    assert proofs.keep_older() == 1  # who was taken out is gone
    asked = f"/exports/{export}/proof?profile={profile(people, 'ann')}&format=file"
    assert "kept no leaves" in people.api("GET", asked, purpose=REVIEW, expect=409)["detail"]
