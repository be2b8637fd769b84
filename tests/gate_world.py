"""A small database of plainly fictional people around a real gate, for the tests of gate and export.

Everything is the real thing but the segments, of which the tests say who is in: evaluating definitions
has tests of its own. A test module makes its fixture by ``pytest.fixture(running, name="world")``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from pyroaring import BitMap
from sqlalchemy import select, update

from cdp.access import AccessService, Principal
from cdp.audit import AuditEntry, AuditFilter, AuditLog
from cdp.audit import initialise as initialise_audit
from cdp.clock import DAY, FixedClock
from cdp.consent import ConsentLedger, Draft, Member, RecordState, Statement
from cdp.crypto import BlindIndex, FileKeyProvider, Keyring, LinkTokens, Place, seal
from cdp.crypto.tables import deks
from cdp.gate import Gate, Released, Request
from cdp.identity import IdentityService
from cdp.identity.queries import add_identities, clusters_of, move
from cdp.policy import Bundle, load
from cdp.profiles import ProfileService, add_observations
from cdp.profiles.tables import trait_observations
from cdp.rights import Links
from cdp.segments import SegmentService
from cdp.store import Batch, Committer, Store, initialise, metadata, read_head

EMAIL = "marketing.communications.email"
START = 1_767_225_600_000_000  # 2026-01-01
POLICIES = Path(__file__).parents[1] / "policies"
BUNDLE = load(POLICIES)
CLEAR_TRAITS = ("country", "language", "plan")


class Chosen(msgspec.Struct, frozen=True):
    """What a segment service answers."""

    bitmap: BitMap
    as_of: int
    version: int
    categories: frozenset[str]
    reads: frozenset[str] = frozenset()  # these categories are of no field: none is called otherwise later


class Named(msgspec.Struct, frozen=True):
    """What the tests' one segment says of itself."""

    name: str


class Segments:
    """Segments whose members the test sets."""

    def __init__(self) -> None:
        self.members = BitMap()
        self.black = BitMap()
        self.objecting = BitMap()
        self.as_of = 0
        self.reads: frozenset[str] = frozenset()

    def evaluate(self, _name: str, *, actor: str) -> Chosen:
        assert actor.startswith("key:")
        return Chosen(BitMap(self.members), self.as_of, 1, self.reads)

    def blocked(self, _connection: object) -> BitMap:
        return BitMap(self.black)

    def restrained(self, _connection: object) -> BitMap:
        return BitMap(self.objecting)

    def list(self) -> list[Named]:
        return [Named("everybody")]


class World:
    """A store, its people and a gate.

    :param url: of a database with every table and nothing in them.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.clock = FixedClock(START)
        self.folder = folder
        self.store = Store(url)
        self.keys = Store(f"sqlite:///{folder / 'keys.sqlite'}")
        provider = FileKeyProvider.create(folder / "root.key")
        Keyring.initialise(self.keys, provider, "test", self.clock)
        self.keyring = Keyring(self.keys, provider, "test", self.clock)
        self.audit = AuditLog(self.keyring, "test.example/audit", self.clock)
        with self.store.writing() as connection, connection.begin():
            initialise(connection)
            initialise_audit(connection)
        self.committer = Committer(self.store, self.audit.append, self.clock)
        self.bundle: Bundle = BUNDLE
        self.ledger = ConsentLedger(self.keyring, self.bundle, self.clock)
        with self.committer.batch() as batch:
            self.ledger.mark_derived(batch)
        self.access = AccessService(self.store, self.committer, self.clock)
        blind = BlindIndex(self.keyring.secret("index"), "test")
        self.identity = IdentityService(
            self.committer, self.keyring, blind, self.ledger, self.bundle.identity, self.clock
        )
        self.profiles = ProfileService(self.identity, self.access, self.bundle, self.clock)
        self.segments = Segments()
        self.numbers = 0
        self.officer = Principal(
            key_id=1, name="officer", roles=frozenset({"officer"}), purposes=frozenset({"*"})
        )
        self.mailer, _ = self.access.create_key(
            None, "mailer", {"destination"}, purposes={EMAIL}, destination="mailer"
        )
        tokens = LinkTokens(self.keyring.secret("links"), "test")
        self.links = Links(self.committer, self.identity, tokens, self.clock, "https://cdp.example")
        self.gate = self.another_gate()

    def another_key(self, destination: str) -> Principal:
        """Return the key of another destination."""
        return msgspec.structs.replace(self.mailer, name=destination, destination=destination)

    def another_gate(self) -> Gate:
        """Return a gate as another process would have it."""
        return Gate(
            self.store,
            self.committer,
            self.keyring,
            lambda _connection: self.bundle,
            self.ledger,
            cast("SegmentService", self.segments),
            self.profiles,
            self.audit,
            self.access,
            self.links.unsubscribe,
            self.clock,
        )

    def close(self) -> None:
        self.store.close()
        self.keys.close()

    # -- people ---------------------------------------------------------------------------------

    def person(
        self,
        name: str,
        traits: Mapping[str, Any] | None = None,
        *,
        consent: RecordState | None = "granted",
        purpose: str = EMAIL,
        chosen: bool = True,
        separate: bool = False,
    ) -> int:
        """Store somebody with a user id and an e-mail address; returns the profile number."""
        first = self.numbers + 1
        self.numbers += 2
        numbers = (first, first + 1)
        email = f"{name.lower()}@people.example"
        given = {"email": email, "first_name": name, "country": "Germany"} | dict(traits or {})
        self.keyring.create(numbers)
        keys = self.keyring.deks(numbers)
        event = hashlib.sha256(name.encode()).digest()[:16]
        values = (("user_id", f"user-{name.lower()}"), ("email", email))
        with self.committer.batch() as batch:
            rows = []
            for number, (kind, value) in zip(numbers, values, strict=True):
                prefix = Place("test", "identities", kind).prefix()
                sealed = seal(keys[number], prefix, number.to_bytes(8), number, value.encode())
                rows.append((number, kind, sealed, self.clock.now(), event, batch.id))
            add_identities(batch.connection, rows, batch.id)
            move(batch.connection, {first + 1: (first, first)}, batch.id)
            self._observe(batch, first, given, event)
        if consent is not None:
            self.say(first, consent, purpose=purpose, separate=separate)
        if chosen:
            self.segments.members.add(first)
        self.segments.as_of = self.head()
        return first

    def observe(self, number: int, traits: Mapping[str, Any], source_id: int = 0) -> None:
        """Store more traits of somebody."""
        with self.committer.batch() as batch:
            self._observe(batch, number, traits, batch.id.to_bytes(16), source_id)

    def _observe(
        self, batch: Batch, number: int, traits: Mapping[str, Any], event: bytes, source_id: int = 0
    ) -> None:
        key = self.keyring.deks([number])[number]
        rows = []
        for seq, (name, value) in enumerate(traits.items()):
            data = msgspec.json.encode(value)
            rule = self.bundle.fields.traits.get(name)
            clear = data.decode() if rule is not None and rule.clear else None
            sealed = None
            if clear is None:
                sealed = seal(key, Place("test", "trait_observations", name).prefix(), event, number, data)
            rows.append((batch.id, seq, number, name, clear, sealed, source_id, self.clock.now(), event))
        add_observations(batch.connection, rows)

    def say(
        self,
        profile_no: int,
        state: RecordState,
        *,
        purpose: str = EMAIL,
        separate: bool = False,
        numbers: Sequence[int] = (),
        by: int | None = None,
        **more: Any,
    ) -> None:
        """Record an act of the person about a purpose, whose identities are ``numbers`` or the two made."""
        now = self.clock.now()
        numbers = numbers or (profile_no, profile_no + 1)
        members = {profile_no: self._consent_members(numbers)}
        statement = Statement(
            purpose=purpose,
            state=state,
            act=True,
            event_type="separate" if separate else "explicit",
            **{"event_time": now, **more},
        )
        draft = Draft(
            statements=(statement,),
            named=tuple(numbers),
            authenticated=profile_no if by is None else by,
            received_at=now,
            source_id=1,
            source_kind="server",
            verified=True,
        )
        profile_of = dict.fromkeys(numbers, profile_no)
        with self.committer.batch() as batch:
            self.ledger.append(batch, [draft], members, profile_of)
            self.ledger.refresh(batch, members, ())
        self.clock.advance(1000)

    def _consent_members(self, numbers: Sequence[int]) -> list[Member]:
        return [
            Member(
                identity_no=number,
                device=False,
                linked_at={other: START for other in numbers if other != number},
                vouched_at={other: START for other in numbers if other != number},
                came_with=dict.fromkeys((other for other in numbers if other != number), True),
            )
            for number in numbers
        ]

    def refresh(self, profile_no: int, numbers: Sequence[int]) -> None:
        """Derive the consent of a profile again, as identity has it done after a merge."""
        with self.committer.batch() as batch:
            self.ledger.refresh(batch, {profile_no: self._consent_members(numbers)}, ())

    def destroy(self, profile_no: int) -> None:
        """Destroy the keys of somebody, as erasure will."""
        with self.keys.writing() as connection, connection.begin():
            connection.execute(
                update(deks).where(deks.c.identity_no.in_((profile_no, profile_no + 1))).values(wrapped=None)
            )
        self.keyring.observe_epoch(-1)
        self.keyring.observe_epoch(0)

    def relink(self, numbers: Mapping[int, int]) -> None:
        """Move identities to other profiles (identity_no → profile_no); components only ever grow."""
        with self.committer.batch() as batch:
            clusters = clusters_of(batch.connection, {*numbers, *numbers.values()})
            moved = {
                number: (profile, min(clusters[number], clusters[profile]))
                for number, profile in numbers.items()
            }
            move(batch.connection, moved, batch.id)

    def head(self) -> int:
        with self.store.reading() as connection:
            return read_head(connection)[0]

    # -- asking ---------------------------------------------------------------------------------

    def request(self, **given: Any) -> Request:
        return Request(
            **{
                "segment": "everybody",
                "destination": "mailer",
                "purpose": EMAIL,
                "principal": self.officer,
                **given,
            }
        )

    def rows(self, export_id: str) -> list[dict[str, Any]]:
        """Fetch an export as the destination; returns its rows as mappings."""
        rendering = self.gate.render(export_id, self.mailer)
        names = [column.name for column in rendering.columns]
        return [named(names, row) for row in rendering.rows]

    def emails(self, export_id: str) -> set[str]:
        return {row["email"] for row in self.rows(export_id)}

    def entries(self, action: str) -> list[AuditEntry]:
        with self.store.reading() as connection:
            return self.audit.search(connection, AuditFilter(action=action))

    def about(self, identity_no: int) -> AuditFilter:
        """Return the filter for exports that concern an identity."""
        return AuditFilter(identity_nos=(identity_no,), action="export.authorise")

    def stored(self) -> bytes:
        """Return everything in the main database's tables, as bytes."""
        with self.store.reading() as connection:
            values = [
                value
                for table in metadata.sorted_tables
                for row in connection.execute(select(table))
                for value in row
            ]
        return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)

    def swap_sealed(self, one: int, other: int) -> None:
        """Put the sealed traits of one person into the rows of another."""
        with self.committer.batch() as batch:
            t = trait_observations.c
            rows = batch.connection.execute(
                select(t.identity_no, t.name, t.sealed).where(t.sealed.is_not(None))
            )
            held = {(row[0], row[1]): row[2] for row in rows}
            for (number, name), sealed in held.items():
                there = {one: other, other: one}[number]
                batch.connection.execute(
                    update(trait_observations)
                    .where(t.identity_no == there, t.name == name)
                    .values(sealed=sealed)
                )

    def change(self, **changes: Any) -> None:
        """Put another bundle in force."""
        sha = hashlib.sha256(repr((self.bundle.sha256, sorted(changes))).encode()).hexdigest()
        self.bundle = msgspec.structs.replace(self.bundle, sha256=sha, **changes)

    def change_destination(self, **changes: Any) -> None:
        """Change the destination mailer."""
        mailer = msgspec.structs.replace(self.bundle.destinations["mailer"], **changes)
        self.change(destinations={**self.bundle.destinations, "mailer": mailer})


def running(tables_url: str, tmp_path: Path) -> Iterator[World]:
    """A gate over a small database, once on each kind of store."""
    made = World(tables_url, tmp_path)
    yield made
    made.close()


def named(names: list[str], row: Released) -> dict[str, Any]:
    """Return a row as a mapping, absent values left out."""
    values = {name: value for name, value in zip(names, row.values, strict=True) if value is not None}
    return {"profile_ref": row.profile_ref, **values}


def years(count: float) -> int:
    """Return a number of years in microseconds."""
    return int(count * 365.25 * DAY)
