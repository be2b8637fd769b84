"""A platform with plainly fictional people whose exports are replayed, and what happens to them since."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from caller import Caller
from platform_fixtures import POLICIES
from sqlalchemy import delete

from cdp.audit import open_checkpoint, parse_verifier
from cdp.audit.merkle import leaf_hash, verify_inclusion
from cdp.audit.sparse import SparseProof, verify_absence, verify_presence
from cdp.consent.tables import consent_records, consent_standings
from cdp.crypto import verify_signature
from cdp.identity.tables import (
    identifier_index,
    identities,
    link_candidates,
    link_suppressions,
    links,
    profile_members,
)
from cdp.ingest.tables import events
from cdp.journal import Erasure, Fact
from cdp.policy import read_folder
from cdp.profiles.tables import trait_observations
from cdp.segments.tables import list_entries

EMAIL = "marketing.communications.email"
REVIEW = "compliance_review"
_NUMBERS = itertools.count()
_ROWS = (
    (events, "identity_no"),
    (trait_observations, "identity_no"),
    (consent_records, "identity_no"),
    (consent_standings, "profile_no"),
    (list_entries, "identity_no"),
    (identifier_index, "identity_no"),
    (identities, "identity_no"),
    (profile_members, "identity_no"),
    *((table, end) for table in (link_candidates, links, link_suppressions) for end in ("low", "high")),
)


def person(name: str, *, country: str = "Germany", plan: str = "gold", **more: Any) -> dict[str, Any]:
    """Return the message that says who somebody is; with a user id and an address."""
    traits = {"email": f"{name}@people.example", "country": country, "first_name": name.title(), "plan": plan}
    return said("identify", name, traits={**traits, **more})


def said(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "messageId": f"m-{next(_NUMBERS)}", "userId": name, **more}


def on_device(device: str, plan: str = "gold") -> dict[str, Any]:
    """Return the message by which a device, and nobody else, becomes known."""
    traits = {"country": "Germany", "plan": plan}
    return {"type": "identify", "messageId": f"m-{next(_NUMBERS)}", "anonymousId": device, "traits": traits}


def preference(name: str, *, agreed: bool) -> dict[str, Any]:
    consent = {"consent": {"categoryPreferences": {"Email": agreed}}}
    return said("track", name, event="Segment Consent Preference Updated", context=consent)


def act(caller: Caller, name: str, state: str, purpose: str = EMAIL) -> None:
    who = [{"type": "user_id", "value": name}]
    caller.api("POST", "/consents", {"identifiers": who, "purpose": purpose, "state": state})


def black_list(caller: Caller, *names: str) -> None:
    """Make the black list hold these people."""
    members = [{"type": "user_id", "value": name} for name in names]
    caller.api("PUT", "/lists/robinson", {"kind": "black", "members": members})


def profile(caller: Caller, name: str, kind: str = "user_id") -> str:
    found: str = caller.lookup(kind, name)["id"]
    return found


def split(caller: Caller, name: str) -> None:
    """Carve somebody's user id out of their profile."""
    mine = profile(caller, name)
    caller.api(
        "POST", f"/profiles/{mine}/split", {"identities": [mine], "dry_run": False}, purpose="data_quality"
    )


def activate(caller: Caller, file: str, old: str, new: str) -> None:
    """Put policies in force that differ from the shipped ones in one place."""
    files = {name: content.decode() for name, content in read_folder(POLICIES).items()}
    assert old in files[file]
    files[file] = files[file].replace(old, new, 1)
    tag = next(_NUMBERS)
    made = caller.api("POST", "/policies/activate", {"files": files}, key=caller.officer(f"first-{tag}"))
    approved = {"approve": made["proposal"]["id"]}
    caller.api("POST", "/policies/activate", approved, key=caller.officer(f"second-{tag}"))


def exported(caller: Caller, plan: str = "gold", **more: Any) -> str:
    """Export whoever has a plan to the mailer; returns the export's id."""
    where = {"trait": "plan", "op": "eq", "value": plan}
    _patiently(caller, "PUT", f"/segments/{plan}", {"where": where})
    body = {"segment": plan, "destination": "mailer", "purpose": EMAIL, **more}
    made: str = _patiently(caller, "POST", "/exports", body)["id"]
    return made


def _patiently(caller: Caller, method: str, path: str, body: object) -> Any:
    """Ask again while a mirror that drops erased people answers 503."""
    headers = {"Authorization": f"Bearer {caller.operator_key}"}
    for _ in range(100):
        answer = caller.http.request(method, f"/api/v1{path}", json=body, headers=headers)
        if answer.status_code != 503:
            break
        time.sleep(0.05)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


def replayed(caller: Caller, export: str) -> dict[str, Any]:
    """Replay an export; returns the report."""
    begun = caller.api("POST", f"/exports/{export}/replay", expect=202)
    caller.services.replays.wait()
    found = caller.api("GET", f"/exports/{export}/replays/{begun['replay']}")
    assert found["state"] == "done", found
    report: dict[str, Any] = found["report"]
    return report


def number_of(caller: Caller, value: str, kind: str = "user_id") -> int:
    """Return the identity of an identifier."""
    with caller.services.store.reading() as connection:
        found = caller.services.identity.find(connection, kind, value)
    assert found is not None
    return found


def numbers_of(caller: Caller, *names: str) -> list[int]:
    """Return all identities of people."""
    services = caller.services
    found = set[int]()
    with services.store.reading() as connection:
        for name in names:
            number = services.identity.find(connection, "user_id", name)
            assert number is not None
            found.update(
                services.identity.members(connection, services.identity.profile_of(connection, number))
            )
    return sorted(found)


def erase(caller: Caller, numbers: Collection[int], *, rows: bool = True, proof: bool = True) -> None:
    """Do of an erasure what a replay can see of it.

    :param rows: delete the rows, too; a restore only destroys keys and the index.
    :param proof: destroy the proof keys, too.
    """
    services = caller.services
    services.keyring.destroy(numbers)
    if proof:
        services.keyring.destroy(numbers, "proof")
    tables = _ROWS if rows else ((identifier_index, "identity_no"),)
    with services.committer.batch() as batch:
        batch.facts.extend(Fact(identity_no=number, line=Erasure()) for number in numbers)
        for table, column in tables:
            batch.connection.execute(delete(table).where(table.c[column].in_(numbers)))
        services.audit.forget(batch.connection, numbers)
        batch.erase()
    services.identity.observe_epoch(-1)


def holds(file: dict[str, Any], verifier: str) -> bool:
    """Check a proof file offline, by nothing but the log's key; returns whether the person was released."""
    assert set(file) == {
        "export", "position", "value", "decided", "taken_out", "manifest_root", "changed_root", "audit_index",
        "entry", "inclusion", "checkpoint",
    }  # fmt: skip
    stated = open_checkpoint(file["checkpoint"], parse_verifier(verifier), verify_signature)
    entry = msgspec.json.decode(file["entry"])
    inclusion = [base64.b64decode(node) for node in file["inclusion"]]
    leaf = leaf_hash(file["entry"].encode())
    assert verify_inclusion(file["audit_index"], stated.size, leaf, inclusion, stated.root)
    assert (entry["action"], entry["object"]["export"]) == ("export.authorise", file["export"])
    roots = [entry["object"][name] for name in ("manifest_root", "changed_root")]
    assert roots == [file["manifest_root"], file["changed_root"]]
    decided, taken_out = (bytes.fromhex(root) for root in roots)
    place = bytes.fromhex(file["position"])
    if file["value"] is None:
        assert verify_absence(decided, place, path_of(file["decided"]))
        return False
    value = bytes.fromhex(file["value"])
    assert verify_presence(decided, place, value, path_of(file["decided"]))
    if verify_absence(taken_out, place, path_of(file["taken_out"])):
        return True
    assert verify_presence(taken_out, place, bytes(32), path_of(file["taken_out"]))
    return False


def path_of(shown: dict[str, Any]) -> SparseProof:
    other = shown["other"]
    return SparseProof(
        tuple(bytes.fromhex(one) for one in shown["siblings"]),
        None if other is None else (bytes.fromhex(other[0]), bytes.fromhex(other[1])),
    )


def send(caller: Caller, messages: Iterable[dict[str, Any]]) -> None:
    """Send messages, and wait until segments see them."""
    caller.send(*messages, wait=True)
