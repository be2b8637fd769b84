"""A split by the id of a profile that was merged takes the merge back, whatever it was made of."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from caller import Caller
from split_world import PURPOSE, Named, Side, event, people_of
from sqlalchemy.event import listen, remove
from typer.testing import CliRunner

from cdp.cli import identity as command
from cdp.cli.client import Api
from cdp.cli.commands import app as cli
from cdp.clock import FixedClock
from cdp.identity import propose
from cdp.identity.undo import side_of

PEOPLE = people_of("", 3, 6, 6)
SEGMENTS: dict[str, dict[str, Any]] = {
    "pro": {"trait": "plan", "op": "eq", "value": "pro"},
    "buyers": {"event": "Order Completed", "count": {"gte": 2}},
}
Split = Callable[[str], None]


class Desk(Side):
    """A steward, and three people with two devices and an address or two each."""

    def __init__(self, caller: Caller, clock: FixedClock) -> None:
        super().__init__(caller, clock)
        self._sent = itertools.count()
        for place, (plan, country) in enumerate([("pro", "Germany"), ("free", "France"), ("pro", "France")]):
            one, other = f"a{2 * place}", f"a{2 * place + 1}"
            self.tell("identify", anonymousId=one, email=f"e{2 * place}", plan=plan)
            self.tell("identify", anonymousId=other, email=f"e{2 * place}", country=country)
            if place < 2:  # one may have five
                self.tell("identify", anonymousId=other, email=f"e{2 * place + 1}", language="en")
            for device in (one, other)[: 1 + place]:
                self.tell("track", anonymousId=device)
        self.services.mirror.refresh()
        for name, where in SEGMENTS.items():
            caller.api("PUT", f"/segments/{name}", {"name": name, "where": where})

    def tell(self, kind: str, **named: str) -> None:
        self.send(event(kind, f"m{next(self._sent)}", "", self.clock.now(), **named), "server")

    def named(self, who: str) -> Named:
        kinds = {"a": "anonymous_id", "e": "email", "u": "user_id"}
        return kinds[who[0]], who if who[0] != "e" else f"{who}@people.example"

    def id(self, who: str) -> str:
        """Return the id of the profile that an identifier is in."""
        found: str = self.caller.lookup(*self.named(who))["id"]
        return found

    def merge(self, *ids: str) -> None:
        assert self.change("/profiles/merge", {"ids": list(ids)}) is not None

    def split(self, profile: str) -> None:
        assert self.change(f"/profiles/{profile}/split", {}) is not None

    def all(self) -> dict[frozenset[Named], Any]:
        """Return what is known of everybody, and who they are."""
        return self.known(PEOPLE, tuple(SEGMENTS))

    def who(self, profile: str) -> set[str]:
        """Return the identifiers of the profile that an id answers for."""
        number = self.services.profile_ids.decode(profile)
        with self.store.reading() as connection:
            home = self.services.identity.profile_of(connection, number)
        return {value.partition("@")[0] for _, value in self.profiles(PEOPLE)[home]}


@pytest.fixture
def desk(caller: Caller, clock: FixedClock) -> Desk:
    return Desk(caller, clock)


def by_rest(desk: Desk, _: pytest.MonkeyPatch) -> Split:
    return desk.split


def by_graphql(desk: Desk, _: pytest.MonkeyPatch) -> Split:
    def split(profile: str) -> None:
        query = "mutation($id: ID!) {splitProfile(id: $id, dryRun: false) {dryRun after {id}}}"
        headers = {"Authorization": f"Bearer {desk.caller.operator_key}", "CDP-Purpose": PURPOSE}
        body = {"query": query, "variables": {"id": profile}}
        answer = desk.caller.http.post("/graphql", json=body, headers=headers).json()
        assert answer["data"]["splitProfile"]["dryRun"] is False

    return split


def by_command(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Split:
    def exchange(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        return desk.caller.http.request(
            request.method, path, content=request.content, headers=request.headers
        )

    monkeypatch.setattr(command, "connected", lambda: _Connected(Api(exchange, desk.caller.operator_key)))

    def split(profile: str) -> None:
        done = CliRunner().invoke(cli, ["identity", "split", profile, "--do", "--purpose", PURPOSE])
        assert done.exit_code == 0, done.output
        assert "the last merge of this profile is taken back: 4 identifiers" in done.output

    return split


class _Connected:
    def __init__(self, api: Api) -> None:
        self._api = api

    def __enter__(self) -> Api:
        return self._api

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("way", [by_rest, by_graphql, by_command])
@pytest.mark.parametrize("first", [0, 1])
def test_merged_and_split_again_everything_is_as_before(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, way: Callable[..., Split], first: int
) -> None:
    ids = [desk.id("a0"), desk.id("a2"), desk.id("a4")]
    before = desk.all()
    desk.merge(*ids[:2])
    assert desk.who(ids[1]) == desk.who(ids[0]) == {"a0", "a1", "a2", "a3", "e0", "e1", "e2", "e3"}
    split = way(desk, monkeypatch)
    split(ids[1 - first])
    assert desk.all() == before
    assert [desk.id("a0"), desk.id("a2"), desk.id("a4")] == ids
    desk.merge(*ids[:2])
    split(ids[first])
    assert desk.all() == before, "a second time, with all that was admitted again"


def test_of_several_merges_the_last_that_named_an_id_is_taken_back(desk: Desk) -> None:
    a, b, c = (desk.id(who) for who in ("a0", "a2", "a4"))
    before = desk.all()
    sides = {id_: desk.who(id_) for id_ in (a, b, c)}
    for named, split, expected in (
        ((a, c), b, (b, (a, c))),
        ((a, c), a, (c, (a, b))),
        ((b, c), b, (c, (a, b))),
        ((b, c), a, (c, (a, b))),  # the profile bears the number of a
    ):
        desk.merge(a, b)
        desk.merge(*named)
        assert desk.who(a) == desk.who(b) == desk.who(c)
        desk.split(split)
        alone, (one, other) = expected
        assert desk.who(alone) == sides[alone], (named, split)
        assert desk.who(one) == desk.who(other) == sides[one] | sides[other], (named, split)
        desk.split(other)
        assert desk.all() == before, (named, split)


def test_three_merged_at_once_come_apart_one_by_one(desk: Desk) -> None:
    ids = [desk.id(who) for who in ("a0", "a2", "a4")]
    before = desk.all()
    desk.merge(*ids)
    desk.split(ids[1])
    assert desk.who(ids[0]) == desk.who(ids[2])
    desk.split(ids[2])
    assert desk.all() == before


def test_who_joined_since_goes_with_whom_it_is_linked_to(desk: Desk) -> None:
    a, b = desk.id("a0"), desk.id("a2")
    desk.merge(a, b)
    desk.tell("identify", userId="u0", anonymousId="a3")
    desk.tell("identify", anonymousId="a5", email="e0")
    sides = {"a0", "a1", "e0", "e1", "a4", "a5", "e4"}, {"a2", "a3", "e2", "e3", "u0"}
    desk.split(b)
    assert (desk.who(a), desk.who(b)) == sides


def test_what_was_told_since_of_both_does_not_hold_them_together(desk: Desk) -> None:
    a, b = desk.id("a0"), desk.id("a2")
    sides = desk.who(a), desk.who(b)
    desk.merge(a, b)
    desk.tell("identify", anonymousId="a1", email="e3")
    desk.split(b)
    assert (desk.who(a), desk.who(b)) == sides


def test_by_way_of_a_third_neither_and_the_third_stays(desk: Desk) -> None:
    a, b = desk.id("a0"), desk.id("a2")
    sides = desk.who(a), desk.who(b)
    desk.merge(a, b)
    desk.tell("identify", userId="u0", anonymousId="a1")
    desk.tell("identify", userId="u0", anonymousId="a3")
    desk.split(b)
    assert (desk.who(a), desk.who(b)) == (sides[0] | {"u0"}, sides[1])


def test_one_identifier_leaves_where_it_is_named(desk: Desk) -> None:
    a, b = desk.id("a0"), desk.id("a2")
    desk.merge(a, b)
    assert desk.change(f"/profiles/{b}/split", {"identities": [b]}) is not None
    assert len(desk.who(b)) == 1


def test_a_link_that_matching_made_is_taken_back_as_well(desk: Desk) -> None:
    """Its ends carry traits; they are not what the profiles are called by."""
    a, b = desk.id("a0"), desk.id("a2")
    before = desk.all()
    numbers = {named: number for number, named in desk.numbers(PEOPLE).items()}
    pair = numbers[desk.named("e1")], numbers[desk.named("e3")]
    identity = desk.services.identity
    with desk.services.committer.batch() as batch:
        held = identity.lock(batch.connection, pair)
        now = desk.clock.now()
        made = propose(identity, batch, held, [pair], lambda _: b"m" * 16, now, dry_run=False)
    assert made.linked == (pair,)
    assert desk.who(a) == desk.who(b)
    desk.split(b)
    assert desk.all() == before


def undoing(desk: Desk, profile: str) -> tuple[set[str], int]:
    """Return whom a split by an id would take out, and how many statements it takes to find that."""
    asked: list[str] = []

    def note(_c: object, _k: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    numbers, identity = desk.numbers(PEOPLE), desk.services.identity
    with desk.store.reading() as connection:
        home = identity.profiles_of(connection, numbers)
        told = identity.evidence(connection, home)
        listen(connection, "before_cursor_execute", note)
        side = side_of(told, connection, desk.services.profile_ids.decode(profile), home)
        remove(connection, "before_cursor_execute", note)
    return {numbers[one][1].partition("@")[0] for one in side}, len(asked)


def test_the_history_of_links_is_read_once_however_many_merges_there_were(desk: Desk) -> None:
    a, b, c = (desk.id(who) for who in ("a0", "a2", "a4"))
    side = desk.who(b)
    desk.merge(a, b)
    first = undoing(desk, b)
    for _ in range(3):
        desk.merge(a, c)
        desk.split(c)
    desk.merge(a, c)
    assert undoing(desk, b) == first
    assert first[0] == side
