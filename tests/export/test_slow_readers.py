"""A reader that pauses between pieces: what happens meanwhile binds the next piece, in every format."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator

import pyarrow.parquet as pq
import pytest
from gate_world import World, running, years

from cdp.clock import SECOND, day
from cdp.errors import CdpError, NotAuthenticatedError, NotPermittedError
from cdp.export import ExportService
from cdp.gate import Format

world_fixture = pytest.fixture(running, name="world")


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp.export.formats._FIRST", 2)
    monkeypatch.setattr("cdp.export.formats._MOST", 2)


def begun(world: World, kind: Format) -> Iterator[bytes]:
    """Begin to fetch an export of everybody."""
    export = world.gate.authorise(world.request(fields=("email",), format=kind)).export_id
    return ExportService(world.gate).data(world.mailer, export)[1]


def emails(kind: Format, data: bytes) -> list[str]:
    """Read a file as its recipient does."""
    if kind == "parquet":
        found: list[str] = pq.read_table(io.BytesIO(data)).column("email").to_pylist()
        return found
    lines = data.decode().splitlines()
    if kind == "csv":
        return [line.split(",")[1] for line in lines[1:]]
    return [json.loads(line)["email"] for line in lines]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_who_withdraws_in_a_pause_is_in_no_piece_after(world: World, kind: Format) -> None:
    people = {f"p{number}@people.example": world.person(f"P{number}") for number in range(6)}
    order = emails(kind, b"".join(begun(world, kind)))
    pieces = begun(world, kind)
    data = next(pieces)
    world.say(people[order[0]], "withdrawn")  # on its way already: that is what recalls are for
    world.say(people[order[2]], "withdrawn")  # read ahead, not handed over
    world.segments.objecting.add(people[order[4]])  # no profiling any more
    world.say(people[order[4]], "granted")
    data += b"".join(pieces)
    assert emails(kind, data) == [order[0], order[1], order[3], order[5]]


def revoke(world: World) -> None:
    world.access.revoke_key("key:1", "mailer")


def switch_off(world: World) -> None:
    world.change_destination(enabled=False)


def let_the_contract_end(world: World) -> None:
    ends = world.bundle.destinations["mailer"].contract_expires
    assert ends is not None
    while not world.bundle.destinations["mailer"].contract_ended(day(world.clock.now())):
        world.clock.advance(years(1))


@pytest.mark.parametrize(
    ("act", "error", "reason"),
    [
        (revoke, NotAuthenticatedError, "key_ended"),
        (switch_off, NotPermittedError, "destination_off"),
        (let_the_contract_end, NotPermittedError, "contract_expired"),
    ],
)
def test_what_ends_in_a_pause_ends_the_fetch(
    world: World, act: Callable[[World], None], error: type[CdpError], reason: str
) -> None:
    for number in range(6):
        world.person(f"P{number}")
    pieces = begun(world, "jsonl")
    next(pieces)
    act(world)
    with pytest.raises(error):
        next(pieces)
    assert world.entries("export.fetch")[0].object["reason"] == reason
    assert world.entries("export.fetched") == [], "everybody counts as delivered"


def test_a_key_that_expires_in_a_pause_ends_the_fetch(world: World) -> None:
    for number in range(6):
        world.person(f"P{number}")
    world.mailer, _ = world.access.create_key(
        None,
        "brief",
        world.mailer.roles,
        purposes=world.mailer.purposes,
        destination="mailer",
        expires_at=world.clock.now() + SECOND,
    )
    pieces = begun(world, "jsonl")
    next(pieces)
    world.clock.advance(SECOND)  # and nothing is committed
    with pytest.raises(NotAuthenticatedError):
        next(pieces)


def test_a_field_that_may_not_leave_any_more_leaves_in_no_piece_after(world: World) -> None:
    for number in range(4):
        world.person(f"P{number}")
    export = world.gate.authorise(world.request(fields=("email", "first_name"))).export_id
    pieces = ExportService(world.gate).data(world.mailer, export)[1]
    data = next(pieces)
    drop = next(iter(world.bundle.rules[0].fields.values()))
    limit = type(world.bundle.rules[0])(
        id="no-names",
        effect="limit",
        purpose=world.request().purpose,
        fields={"user.name": type(drop)("drop")},
    )
    world.change(rules=(*world.bundle.rules, limit))
    rest = b"".join(pieces)
    assert all("first_name" in json.loads(line) for line in data.splitlines())
    assert [set(json.loads(line)) for line in rest.splitlines()] == [{"profile_ref", "email"}] * 2


def test_pieces_are_small_whatever_the_rows_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp.export.formats._MOST", 2000)
    monkeypatch.setattr("cdp.export.formats._PIECE", 8000)
    for number in range(30):
        world.person(f"P{number}", {"last_name": "x" * 1000})
    export = world.gate.authorise(world.request(fields=("last_name",))).export_id
    sizes = [len(piece) for piece in ExportService(world.gate).data(world.mailer, export)[1]]
    assert max(sizes) <= 8000
    assert len(sizes) < 10
