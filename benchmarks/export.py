"""Export rows/s through the gate, next to a bare loop that reads, decrypts and writes the same rows.

Online Retail has 3,658 customers, too few for a rate: 20,000 plainly fictional people who said yes join
them first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import msgspec

from cdp.access import Principal, Source
from cdp.api import Services
from cdp.crypto import Place, open_sealed
from cdp.ingest import Delivery

FIELDS = ("email", "first_name")
SEGMENT: dict[str, Any] = {"name": "benchmark-everybody", "where": {"event": "Product Added"}}
_ROUNDS = 5
_PEOPLE, _BATCH = 20_000, 500


def measure(services: Services) -> dict[str, Any]:
    """Return rows per second of both and their ratio (two opened fields, JSONL)."""
    _add_people(services)
    purposes = frozenset({"*"})
    officer = Principal(key_id=1, name="benchmark", roles=frozenset({"officer"}), purposes=purposes)
    mailer, _ = services.access.create_key(
        None, f"benchmark {time.time_ns()}", {"destination"}, purposes=purposes, destination="mailer"
    )
    services.segments.apply("system", SEGMENT)
    started = time.perf_counter()
    decided = services.exports.request(
        officer,
        segment=SEGMENT["name"],
        destination="mailer",
        purpose="marketing.communications.email",
        fields=FIELDS,
    )
    authorised = time.perf_counter() - started
    if decided.id is None:
        raise AssertionError(decided.reason)
    export_id = decided.id
    with services.store.reading() as connection:
        found = services.ledger.states(connection, "marketing.communications.email")
        granted = [profile_no for profile_no, standing in found.items() if standing.state == "granted"]

    def through_the_gate() -> int:
        _, chunks = services.exports.data(mailer, export_id)
        return sum(chunk.count(b"\n") for chunk in chunks)

    gate, bare = _rate(through_the_gate), _rate(lambda: bare_loop(services, granted))
    return {
        "authorise_ms": round(1000 * authorised),
        "members": decided.members,
        "rows": decided.released,
        "rows_per_second": round(gate),
        "bare_loop_rows_per_second": round(bare),
        "ratio": round(gate / bare, 2),
    }


def _add_people(services: Services) -> None:
    source = Source(source_id=1, name="benchmark", kind="server", enabled=True)
    for start in range(0, _PEOPLE, _BATCH):
        messages = [
            msgspec.json.encode(message)
            for number in range(start, start + _BATCH)
            for message in _person(number)
        ]
        delivery = Delivery(source=source, messages=tuple(messages), received_at=services.clock.now())
        services.writer.write([delivery])
    services.mirror.refresh()


def _person(number: int) -> list[dict[str, Any]]:
    traits = {"email": f"p{number}@mail.example", "first_name": f"Heron {number}", "country": "Germany"}
    user = {"userId": f"person-{number}"}
    return [
        {"type": "identify", "messageId": f"p-{number}", "traits": traits, **user},
        {"type": "track", "event": "Product Added", "messageId": f"a-{number}", **user},
        {
            "type": "track",
            "event": "Segment Consent Preference Updated",
            "messageId": f"c-{number}",
            "context": {"consent": {"categoryPreferences": {"Email": True}}},
            **user,
        },
    ]


def bare_loop(services: Services, profile_nos: list[int]) -> int:
    """Read, decrypt and write the rows of these profiles with nothing around it."""
    workspace = services.settings.workspace
    prefixes = {name: Place(workspace, "trait_observations", name).prefix() for name in FIELDS}
    written = 0
    with services.store.reading() as connection, open("/dev/null", "wb") as out:  # noqa: PTH123  # a device, not a path
        for start in range(0, len(profile_nos), 2000):
            chunk = profile_nos[start : start + 2000]
            rows = services.profiles.observations(connection, chunk, FIELDS)
            keys = services.keyring.deks(o.identity_no for found in rows.values() for o in found.values())
            for profile_no in chunk:
                row = {
                    name: msgspec.json.decode(
                        open_sealed(keys[o.identity_no], prefixes[name], o.event_id, o.identity_no, o.sealed)
                    )
                    for name, found in rows.items()
                    if (o := found[profile_no]).sealed is not None
                }
                out.write(msgspec.json.encode(row) + b"\n")
                written += 1
    return written


def _rate(work: Callable[[], int]) -> float:
    rates: list[float] = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        rows = work()
        rates.append(rows / (time.perf_counter() - started))
    return median(rates)
