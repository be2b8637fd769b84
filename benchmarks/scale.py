"""A large population, written straight into the tables, for what is measured per million people.

Everybody is one identity with a country, an e-mail address and a first name (both sealed) and a recorded
word on e-mail marketing. It is written as ingest would write it, without the way through ingest: that is
measured elsewhere, and a million people would take minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from cdp.api import Services
from cdp.clock import DAY
from cdp.consent import Record, Standing
from cdp.consent.queries import add_records
from cdp.consent.states.queries import add_states
from cdp.crypto import Place, seal
from cdp.identity.tables import identities, profile_members
from cdp.profiles import add_observations
from cdp.store import insert_many

PURPOSE = "marketing.communications.email"
SEALED = ("email", "first_name")
_PAGE = 20_000
_COUNTRIES = ("Germany", "France", "United Kingdom", "United States", "China")


def populate(services: Services, people: int, *, sealed: bool = True) -> None:
    """Add ``people`` profiles; four in five said yes, one in ten no, one in ten nothing.

    :param sealed: also write the sealed traits (and make the keys), which an export opens.
    """
    for start in range(0, people, _PAGE):
        _page(services, min(_PAGE, people - start), sealed=sealed)


def _page(services: Services, size: int, *, sealed: bool) -> None:
    now = services.clock.now()
    numbers = services.committer.reserve("identity_no", size)
    if sealed:
        services.keyring.create(numbers)
    with services.committer.batch() as batch:
        connection = batch.connection
        insert_many(
            connection,
            identities,
            ("identity_no", "type", "value", "created_at", "first_event_id", "batch"),
            [(no, "user_id", b"", now, no.to_bytes(16), batch.id) for no in numbers],
        )
        insert_many(
            connection,
            profile_members,
            ("identity_no", "profile_no", "cluster_no", "batch"),
            [(no, no, no, batch.id) for no in numbers],
        )
        add_observations(connection, list(_observations(services, numbers, batch.id, now, sealed=sealed)))
        said: list[tuple[int, Literal["withdrawn", "granted"]]] = [
            (no, "withdrawn" if no % 10 == 0 else "granted") for no in numbers if no % 10 != 5
        ]
        records = [
            Record(
                record_id=no,
                identity_no=no,
                purpose=PURPOSE,
                state=state,
                act=True,
                event_time=now - no % 700 * DAY,
                received_at=now - no % 700 * DAY,
                source_kind="server",
                source_id=1,
                verified=True,
            )
            for no, state in said
        ]
        add_records(connection, batch.id, records)
        states = [
            (
                no,
                services.ledger.rules.names[PURPOSE],
                Standing(
                    purpose=PURPOSE,
                    state=state,
                    reason=state,
                    since=now - no % 700 * DAY,
                    granted_at=now - no % 700 * DAY if state == "granted" else None,
                    expires_at=now + (730 - no % 700) * DAY if state == "granted" else None,
                    event_type="separate",
                    notice_current=True,
                    record_id=no,
                ),
            )
            for no, state in said
        ]
        add_states(connection, batch.id, states)


def _observations(
    services: Services, numbers: range, batch: int, now: int, *, sealed: bool
) -> Iterator[tuple[Any, ...]]:
    workspace = services.settings.workspace
    prefixes = {name: Place(workspace, "trait_observations", name).prefix() for name in SEALED}
    keys = services.keyring.deks(numbers) if sealed else {}
    seq = 0
    for no in numbers:
        event = no.to_bytes(16)
        country = msgspec.json.encode(_COUNTRIES[no % len(_COUNTRIES)]).decode()
        yield (batch, seq, no, "country", country, None, 1, now, event)
        seq += 1
        if sealed:
            for name, value in (("email", f"p{no}@mail.example"), ("first_name", f"Heron {no}")):
                envelope = seal(keys[no], prefixes[name], event, no, msgspec.json.encode(value))
                yield (batch, seq, no, name, None, envelope, 1, now, event)
                seq += 1
