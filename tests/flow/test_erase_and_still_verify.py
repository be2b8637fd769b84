"""Erase and still verify: nothing of a person is left, nothing brings them back, and the log verifies.

Canaries come in through every way there is. Before the erasure what has to go is noted as bytes: clear
values, blind indexes, wrapped keys, ciphertexts. Afterwards every file and every table is searched for them.
Left may be what names nobody: tags of the journal and tombstones (keyed hashes), numbers, and the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from caller import Caller
from erasing_world import erased, germans
from recovery_world import EMAIL, backed_up, lost, restored, running, say
from sqlalchemy import inspect, select, text

from cdp.clock import SECOND, FixedClock
from cdp.consent.tables import consent_records
from cdp.crypto import Place, open_sealed
from cdp.crypto.tables import deks
from cdp.errors import SealError
from cdp.identity.tables import identifier_index, identities
from cdp.ingest.tables import events, quarantine
from cdp.profiles.tables import trait_observations
from cdp.settings import Settings
from cdp.store import Store, among

NAME = "canary-user-9017"
MAIL = "quillon@people.example"
PHONE = "+442079460917"
DEVICE = "canary-device-9017"
IDS = {"userId": NAME, "anonymousId": DEVICE}
CLEAR = [
    NAME,
    MAIL,
    PHONE,
    DEVICE,
    "Quillonette",
    "QUILLON20",
    "plan-of-quillon",
    "quillon-engraved",
    "Heron Row 17",
]
NAMED = [("user_id", NAME), ("email", MAIL), ("phone", PHONE), ("anonymous_id", DEVICE)]
CONSENT = {"consent": {"categoryPreferences": {"Email": True}, "note": "quillon-engraved"}}
MUTATION = """mutation($events: [EventInput!]!) { ingest(events: $events) { success } }"""


def _events() -> list[tuple[str, dict[str, Any]]]:
    """Return (path, body) of what sources send."""
    traits = {
        "email": MAIL,
        "phone": PHONE,
        "firstName": "Quillonette",
        "country": "Germany",
        "plan": "plan-of-quillon",
        "address": {"street": "Heron Row 17"},
        "hobby": "quillon-engraved",
    }
    track = {"event": "Product Added", "properties": {"coupon": "QUILLON20", "engraving": "quillon-engraved"}}
    return [
        ("identify", {**IDS, "traits": traits, "context": CONSENT}),
        ("track", {**IDS, **track, "context": {"ip": "203.0.113.17", **CONSENT}}),
        ("page", {**IDS, "name": "Home", "properties": {"url": f"https://shop.example/?e={MAIL}"}}),
        ("screen", {**IDS, "name": "Start"}),
        ("group", {**IDS, "groupId": "g1", "traits": {"name": "Quillonette"}}),
        ("alias", {"userId": NAME, "previousId": DEVICE}),
        ("batch", {"batch": [{"type": "track", **IDS, **track}, {"type": "nonsense", "userId": NAME}]}),
        (
            "import",
            {"batch": [{"type": "track", **IDS, **track}, {"type": "track", "event": MAIL, "userId": MAIL}]},
        ),
    ]


class _Ways:
    """Every way in, sent again exactly as it was."""

    def __init__(self, caller: Caller, clock: FixedClock) -> None:
        self.sent = [
            (path, msgspec.json.encode(_numbered(path, number, body)))
            for number, (path, body) in enumerate(_events())
        ]
        self.mail = {"type": "email", "value": MAIL}
        self.user = {"type": "user_id", "value": NAME}
        self._import_key = caller.write_key("import")
        self._clock = clock

    def push(self, caller: Caller) -> None:
        """Send everything that a source sends."""
        for path, body in self.sent:
            answer = caller.http.post(f"/v1/{path}", content=body, auth=(caller.write_key(), ""))
            assert answer.status_code == 200, answer.text
        event = {"type": "track", "userId": NAME, "event": "Viewed", "messageId": "gql-1"}
        asked = {"query": MUTATION, "variables": {"events": [event]}}
        headers = {"Authorization": f"Bearer {caller.write_key()}"}
        assert "errors" not in caller.http.post("/graphql", json=asked, headers=headers).json()
        self._clock.advance(SECOND)
        row = {
            "identifiers": [self.mail],
            "purpose": EMAIL,
            "state": "granted",
            "event_time": "2026-02-01T00:00:00Z",
            "provenance": f"taken over with {MAIL}",
        }
        caller.api("POST", "/consents/import", {"file": "ab" * 32, "rows": [[1, row]]}, key=self._import_key)

    def say(self, caller: Caller) -> None:
        """Do what others do about the person: officers, stewards, and the person on their page."""
        said = {"identifiers": [self.user, self.mail], "purpose": "analytics", "state": "refused"}
        caller.api("POST", "/consents", said)
        for kind in ("grey", "white"):
            caller.api("PUT", f"/lists/{kind}", {"kind": kind, "members": [self.mail, self.user]})
        found = caller.lookup("user_id", NAME)
        caller.api(
            "POST",
            f"/profiles/{found['id']}/reveal",
            {"fields": ["email"], "purpose": "data_quality", "reason": MAIL},
            purpose="data_quality",
        )
        made = caller.api("POST", "/preferences/links", {"identifier": self.mail, "kind": "manage"})
        self.page = made["url"].partition("/preferences")[2]
        assert caller.http.get("/preferences" + self.page).status_code == 200
        caller.api("POST", "/rights/requests", {"identifier": self.mail, "kind": "access"})


def _numbered(path: str, number: int, body: dict[str, Any]) -> dict[str, Any]:
    if "batch" in body:
        return {
            "batch": [{**one, "messageId": f"{path}-{number}-{at}"} for at, one in enumerate(body["batch"])]
        }
    return {**body, "messageId": f"{path}-{number}"}


def _needles(caller: Caller, numbers: list[int]) -> dict[str, bytes]:
    """Return what has to go: clear values, blind indexes, wrapped keys, ciphertexts."""
    services = caller.services
    found = {f"clear {value}": value.encode() for value in CLEAR}
    columns = {
        "index": (identifier_index, identifier_index.c.blind_index),
        "value": (identities, identities.c.value),
        "event": (events, events.c.sealed),
        "trait": (trait_observations, trait_observations.c.sealed),
        "evidence": (consent_records, consent_records.c.sealed),
    }
    with services.store.reading() as connection:
        for name, (table, column) in columns.items():
            rows = connection.execute(select(column).where(among(table.c.identity_no, numbers))).scalars()
            held = [bytes(row) for row in rows if row is not None]
            assert held, f"no {name} to look for"
            found |= {f"{name} {at}": one for at, one in enumerate(held)}
        rows = connection.execute(select(quarantine.c.sealed)).scalars()
        found |= {f"quarantined {at}": bytes(one) for at, one in enumerate(rows)}
    with services.keyring.store.reading() as connection:
        mine = deks.c.domain == "person", among(deks.c.identity_no, numbers)
        rows = connection.execute(select(deks.c.wrapped).where(*mine)).scalars()
        found |= {f"key {at}": bytes(one) for at, one in enumerate(rows)}
    return found


def _haystack(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Yield every file of the platform, the values of its Parquet files, and every row of its databases."""
    for path in sorted(settings.data_dir.parent.rglob("*")):
        if path.is_file() and "outside" not in path.parts:
            yield path.name, path.read_bytes()
            if path.suffix == ".parquet":
                yield path.name, repr(pq.read_table(path).to_pylist()).encode()
    for url in (settings.database, settings.keys_database):
        with closing(Store(url)) as store, store.reading() as connection:
            for name in inspect(connection).get_table_names():
                for row in connection.execute(text(f"SELECT * FROM {name}")):  # noqa: S608  # our own names
                    cells = (bytes(c) if isinstance(c, bytes | memoryview) else str(c).encode() for c in row)
                    yield name, b"\x00".join(cells)


def _left(settings: Settings, needles: dict[str, bytes]) -> set[tuple[str, str]]:
    """Return (needle, place) of what is found, as bytes, as hex or, of text, in any case."""
    forms = {name: {needle.lower(), needle.hex().encode()} for name, needle in needles.items()}
    found: set[tuple[str, str]] = set()
    for place, content in _haystack(settings):
        lowered = content.lower()
        found |= {(name, place) for name, several in forms.items() if any(one in lowered for one in several)}
    return found


def _attempted(caller: Caller, backup: list[tuple[int, str, bytes]]) -> int:
    """Try every key that there is on every value of a backup; returns how many it opened."""
    keyring, opened = caller.services.keyring, 0
    for domain in ("person", "proof"):
        with keyring.store.reading() as connection:
            numbers = list(
                connection.execute(select(deks.c.identity_no).where(deks.c.domain == domain)).scalars()
            )
        for key in keyring.openable(numbers, domain).values():
            for number, kind, sealed in backup:
                place = Place(keyring.workspace, "identities", kind).prefix()
                try:
                    open_sealed(key, place, number.to_bytes(8), number, sealed)
                except SealError:
                    continue
                opened += 1
    return opened


def test_nothing_is_left_and_the_log_still_verifies(
    settings: Settings, clock: FixedClock, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with running(settings, clock) as caller:
        caller.api("POST", "/sources", {"name": "files", "kind": "import"})
        ways = _Ways(caller, clock)
        caller.send(
            {
                "type": "identify",
                "userId": "ben",
                "traits": {"email": "ben@people.example", "country": "Germany"},
            }
        )
        ways.push(caller)
        ways.say(caller)
        for name in ("ben", NAME):
            say(caller, name, True, 1)
        caller.send({"type": "track", "event": "Viewed", "userId": "ben"}, wait=True)
        germans(caller)
        services = caller.services
        with services.store.reading() as connection:
            profile_no = services.identity.profile_of(
                connection, services.identity.find(connection, "user_id", NAME) or 0
            )
            numbers = services.identity.members(connection, profile_no)
            sealed = connection.execute(
                select(identities.c.identity_no, identities.c.type, identities.c.value)
            ).all()
        assert len(numbers) >= len(NAMED)
        needles = _needles(caller, numbers)
        backup = [(int(no), kind, bytes(value)) for no, kind, value in sealed if no in numbers]
        assert _attempted(caller, backup) == len(backup)
        before = {name for name, _ in _left(settings, needles)}
        assert {"clear plan-of-quillon", "clear QUILLON20"} < before, (
            "declared and clear, in tables and files"
        )
        backed_up(caller, tmp_path / "outside" / "backup")

        erased(caller, MAIL, "email")
        assert _attempted(caller, backup) == 0
        assert _left(settings, needles) == set()
        assert caller.api("GET", "/audit/verify")["verified"]

        ways.push(caller)
        caller.api("POST", "/quarantine/replay", {})
        assert _gone(caller)
        left = {(name, place) for name, place in _left(settings, needles) if not name.startswith("clear")}
        assert left == set()
        assert caller.http.get("/preferences" + ways.page).status_code == 404
        assert caller.lookup("user_id", "ben")
    lost(settings)
    restored(settings, tmp_path / "outside" / "backup")
    with running(settings, clock, caller) as after:
        assert _gone(after)
        assert _left(settings, needles) == set()
        ways.push(after)
        assert _gone(after)
        assert after.lookup("user_id", "ben")
    output = capfd.readouterr()
    assert not [value for value in CLEAR if value in output.out + output.err]


def _gone(caller: Caller) -> bool:
    """Return whether nothing that identifies the person finds anybody; their device may be another's now."""
    services = caller.services
    with services.store.reading() as connection:
        found = [services.identity.find(connection, kind, value) for kind, value in NAMED[:3]]
    return found == [None] * 3
