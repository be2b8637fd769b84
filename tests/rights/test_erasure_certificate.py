"""What is handed over, what is kept, what stands against an erasure, and who may come back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from contextlib import closing
from pathlib import Path
from typing import Any

from caller import Caller
from erasing_world import asked, erased, germans, shopper, worked
from platform_fixtures import Shell
from recovery_world import EMAIL, backed_up, lost, number_of, restored, running
from sqlalchemy import text

from cdp.clock import DAY, SECOND, FixedClock, SystemClock
from cdp.policy import read_folder
from cdp.settings import Settings
from cdp.store import Store


def certificate(caller: Caller, request_id: str) -> Any:
    return caller.api("GET", f"/rights/requests/{request_id}/certificate")


def _root(index: int, size: int, leaf: bytes, hashes: list[bytes]) -> bytes:
    """Return the root that an inclusion proof leads to (RFC 9162, 2.1.3.2)."""
    at, last, found = index, size - 1, leaf
    for one in hashes:
        assert last > 0
        if at & 1 or at == last:
            found = hashlib.sha256(b"\x01" + one + found).digest()
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + one).digest()
        at, last = at >> 1, last >> 1
    assert last == 0
    return found


def test_the_certificate_proves_itself_offline(caller: Caller) -> None:
    shopper(caller, "ann")
    export = germans(caller)
    made = certificate(caller, erased(caller, "ann"))
    assert made["identities"] == len(made["secrets"]) == 3
    assert made["destroyed"]["events"] == 3
    assert made["destroyed"]["consent records"] > 0
    entry = made["log"]["entry"].encode()
    head, _, note = made["log"]["proof"].partition("\n\n")
    magic, index, *hashes = head.split("\n")
    assert magic == "c2sp.org/tlog-proof@v1"
    origin, size, root, *_ = note.split("\n")
    assert made["log"]["key"].startswith(origin + "+")
    leaf = hashlib.sha256(b"\x00" + entry).digest()
    proof = [base64.b64decode(one) for one in hashes]
    assert _root(int(index.split()[1]), int(size), leaf, proof) == base64.b64decode(root)
    said = json.loads(entry)
    assert said["action"] == "rights.erased"
    references = sorted(
        hmac.digest(bytes.fromhex(secret), bytes.fromhex(said["nonce"]), "sha256")
        for secret in made["secrets"]
    )
    leaves = [hashlib.sha256(b"\x00" + one).digest() for one in references]
    pair = hashlib.sha256(b"\x01" + leaves[0] + leaves[1]).digest()
    assert hashlib.sha256(b"\x01" + pair + leaves[2]).hexdigest() == said["subjects"]
    positions = {hmac.digest(bytes.fromhex(s), export["id"].encode(), "sha256") for s in made["secrets"]}
    services = caller.services
    with services.store.reading() as connection:
        manifest = bytes(connection.execute(text("SELECT manifest FROM exports")).scalar_one())
    assert any(one in manifest for one in positions), "they find themselves in what left"


def test_it_is_handed_over_once_and_not_kept(caller: Caller, settings: Settings) -> None:
    shopper(caller, "ann", wait=False)
    request_id = erased(caller, "ann")
    made = certificate(caller, request_id)
    caller.api("GET", f"/rights/requests/{request_id}/certificate", expect=404)
    with closing(Store(settings.database)) as store, store.reading() as connection:
        assert connection.execute(text("SELECT certificate FROM erasures")).scalars().all() == [None]
    assert caller.services.keyring.destroyed_buckets([f"certificate/{request_id}"])
    assert made["secrets"]


def test_one_that_nobody_fetches_is_destroyed(caller: Caller, clock: FixedClock) -> None:
    shopper(caller, "ann", wait=False)
    request_id = erased(caller, "ann")
    clock.advance(31 * DAY)
    caller.services.erasure.expire()
    caller.api("GET", f"/rights/requests/{request_id}/certificate", expect=404)
    assert caller.services.keyring.destroyed_buckets([f"certificate/{request_id}"])


def test_the_command_writes_it_for_its_owner_alone(settings: Settings, tmp_path: Path, shell: Shell) -> None:
    with running(settings, FixedClock(SystemClock().now())) as caller:
        shopper(caller, "ann", wait=False)
        request_id = erased(caller, "ann")
    folder = tmp_path / "outside"
    folder.mkdir()
    out, again, value = folder / "certificate.json", folder / "again.json", folder / "value"
    shell("rights", "certificate", request_id, "--out", out)
    assert json.loads(out.read_text(encoding="utf-8"))["request"] == request_id
    assert out.stat().st_mode & 0o777 == 0o600
    assert "exists" in shell("rights", "certificate", request_id, "--out", out, expect=1)
    shell("rights", "certificate", request_id, "--out", again, expect=1)
    assert not again.exists()
    value.write_text("ann\n", encoding="utf-8")
    assert "may come back" in shell("rights", "readmit", "--type", "user_id", "--value-file", value)
    assert "nothing keeps" in shell("rights", "readmit", "--type", "user_id", "--value-file", value)
    value.write_bytes(b"\xff")
    assert "UTF-8" in shell("rights", "readmit", "--type", "user_id", "--value-file", value, expect=1)
    value.unlink()
    assert "cannot be read" in shell(
        "rights", "readmit", "--type", "user_id", "--value-file", value, expect=1
    )


def test_what_they_said_of_consent_is_kept_as_proof_for_its_time_and_no_longer(
    caller: Caller, clock: FixedClock
) -> None:
    shopper(caller, "ann", wait=False)
    services, number = caller.services, number_of(caller, "ann") or 0
    erased(caller, "ann")
    with services.store.reading() as connection:
        assert services.ledger.records_of(connection, [number]) == []
        kept = services.recovery.eraser.proofs.of(connection, [number])
    assert [(record.purpose, record.state) for record, _ in kept if record.purpose == EMAIL]
    assert any(evidence for _, evidence in kept)
    clock.advance(1095 * DAY + SECOND)
    services.erasure.expire()
    assert services.keyring.destroyed([number], "proof") == {number}
    with services.store.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM consent_proofs")).scalar() == 0
        assert services.audit.verify(connection).ok


def test_a_hold_stops_it_with_its_reason(caller: Caller) -> None:
    shopper(caller, "ann", wait=False)
    services = caller.services
    services.erasure.holds.append(lambda _connection, numbers: "legal_hold" if len(numbers) == 3 else "")
    request_id = asked(caller, "ann")
    assert worked(caller, request_id)["state"] == "denied"
    assert number_of(caller, "ann") is not None
    caller.api("GET", f"/rights/requests/{request_id}/certificate", expect=404)


def test_whoever_has_to_be_told_is_while_keys_are_there(caller: Caller) -> None:
    shopper(caller, "ann", wait=False)
    services, told = caller.services, []

    def tell(batch: Any, request: Any, numbers: Any) -> None:
        told.append((request.kind, len(services.keyring.deks(numbers)), batch.commit_no))

    services.erasure.before_destroying.append(tell)
    erased(caller, "ann")
    assert told == [("erasure", 3, 0)]


def test_a_failure_of_whoever_is_told_stops_nothing_that_binds(caller: Caller) -> None:
    shopper(caller, "ann", wait=False)
    services, fails = caller.services, [True]

    def tell(_batch: Any, _request: Any, _numbers: Any) -> None:
        if fails:
            raise RuntimeError("unreachable")

    services.erasure.before_destroying.append(tell)
    request_id = asked(caller, "ann")
    services.rights.advance()
    assert number_of(caller, "ann") is None, "bound all the same"
    assert caller.api("GET", f"/rights/requests/{request_id}")["state"] == "in_progress"
    fails.clear()
    caller.services.clock.advance(61 * SECOND)  # type: ignore[attr-defined]  # a clock that tests move
    assert worked(caller, request_id)["state"] == "fulfilled"


def _comes(caller: Caller, number: int, when: str = "", kind: str = "server") -> bool:
    """Send an event of ann's; returns whether the platform knows her then."""
    dated = {"timestamp": when} if when else {}
    message = {"type": "track", "event": "Viewed", "userId": "ann", "messageId": f"late-{number}", **dated}
    caller.send(message, kind=kind)
    return number_of(caller, "ann") is not None


def test_nobody_comes_back_until_an_officer_lets_them(caller: Caller, clock: FixedClock) -> None:
    shopper(caller, "ann", wait=False)
    before = number_of(caller, "ann") or 0
    erased(caller, "ann")
    clock.advance(DAY)
    assert not _comes(caller, 1, "2026-03-02T11:00:00Z")
    body = {"identifier": {"type": "user_id", "value": "ann"}}
    assert caller.api("POST", "/rights/readmissions", body) == {"readmitted": True}
    assert caller.api("POST", "/rights/readmissions", body) == {"readmitted": False}
    assert _comes(caller, 2)
    assert (number_of(caller, "ann") or 0) > before, "as somebody new"
    log = caller.api("GET", "/audit?action=rights.readmit")["items"]
    assert [one["counts"]["readmitted"] for one in log] == [0, 1]


def test_a_readmission_holds_after_a_restore_and_an_erasure_again(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        for name in ("ann", "ben"):
            shopper(caller, name, wait=False)
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        erased(caller, "ann")
        erased(caller, "ben")
        clock.advance(2 * 3600 * SECOND)
        body = {"identifier": {"type": "user_id", "value": "ann"}}
        caller.api("POST", "/rights/readmissions", body)
        assert _comes(caller, 3)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert number_of(after, "ben") is None
        assert number_of(after, "ben@people.example", "email") is None
        assert _comes(after, 4), "her word of before the restore is there"
        assert after.api("GET", "/audit/verify")["verified"]


def _returning(caller: Caller) -> None:
    """Put policies in force under which somebody who was erased begins anew."""
    given = {name: body.decode() for name, body in read_folder(caller.services.settings.policies_dir).items()}
    given["rights.yaml"] = given["rights.yaml"].replace(
        'three years"}', 'three years", live_events: begin_anew}'
    )
    made = caller.api("POST", "/policies/activate", {"files": given}, key=caller.officer("first"))
    named = {"approve": made["proposal"]["sha256"]}
    caller.api("POST", "/policies/activate", named, key=caller.officer("second"))


def test_where_policies_say_so_what_they_do_later_begins_anew(caller: Caller, clock: FixedClock) -> None:
    shopper(caller, "ann", wait=False)
    erased(caller, "ann")
    _returning(caller)
    clock.advance(DAY)
    caller.api("POST", "/sources", {"name": "files", "kind": "import"})
    assert not _comes(caller, 1), "undated"
    assert not _comes(caller, 2, "2026-03-01T11:00:00Z"), "from before"
    assert not _comes(caller, 3, "2026-03-02T11:00:00Z", "import"), "told by others"
    assert _comes(caller, 4, "2026-03-02T11:00:00Z")
    assert not [one for one in [number_of(caller, "ann@people.example", "email")] if one]


def test_somebody_who_is_gone_is_fulfilled_without_a_word(caller: Caller) -> None:
    shopper(caller, "ann", wait=False)
    request_id = asked(caller, "ann")
    other = caller.services.rights.open(
        "key:1", number_of(caller, "ann") or 0, "erasure", "officer", external_id="x-1"
    )
    first, second = worked(caller, request_id), worked(caller, other.request_id)
    assert (first["state"], second["state"]) == ("fulfilled", "fulfilled")
    fetched = [
        caller.http.get(
            f"/api/v1/rights/requests/{one}/certificate",
            headers={"Authorization": f"Bearer {caller.operator_key}"},
        ).status_code
        for one in (request_id, other.request_id)
    ]
    assert sorted(fetched) == [200, 404]


def test_a_marketer_gets_no_certificate(caller: Caller) -> None:
    shopper(caller, "ann", wait=False)
    request_id = erased(caller, "ann")
    key = caller.officer("marie", roles=("marketer",))
    caller.api("GET", f"/rights/requests/{request_id}/certificate", key=key, expect=403)
    caller.api(
        "POST",
        "/rights/readmissions",
        {"identifier": {"type": "user_id", "value": "ann"}},
        key=key,
        expect=403,
    )
    assert certificate(caller, request_id)["secrets"]
