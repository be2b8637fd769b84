"""Exact splits where the rules set links aside, identifiers were indexed anew and rules changed between.

As in ``test_flow_split_exact.py`` the measure is a fresh installation that hears the same with what stands
revoked suppressed from the start, here under the rules of the end. It is asserted that limits, caps, aliases,
guesses and spellings of one value were reached, so the histories are drawn from fixed seeds.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from caller import Caller
from platform_fixtures import NOW, Template
from rules_world import Change, files
from split_world import GMAIL, History, Named, Side, event, people_of, twin_of, under_version_1
from sqlalchemy import select

from cdp.clock import DAY, SECOND, FixedClock
from cdp.identity import IndexPass, propose
from cdp.identity.tables import link_candidates, links

SEEDS = range(4)
STRICT: tuple[Change, ...] = (
    ("priority: 2, limit: {count: 5}", "priority: 2, limit: {count: 2}"),
    ("priority: 3, limit: {count: 5}", "priority: 3, limit: {count: 1, period: monthly}"),
    ("priority: 6, limit: {count: 200}", "priority: 6, limit: {count: 1, period: daily}"),
    ("priority: 4, limit: {count: 5}", "priority: 4, limit: {count: 1}"),
    ("priority: 5, limit: {count: 50}", "priority: 5, limit: {count: 6}"),
    ("profile_cap: 500", "profile_cap: 6"),
    ("growth_alarm: 100", "growth_alarm: 6"),
)
REACHED = {
    "accepted",
    "suppressed",
    "cap",
    "unique:user_id",
    "limit:email",
    "limit:phone",
    "limit:anonymous_id",
    "limit:external:crm",
}
ORIGINS = {"event", "alias", "merge", "match", "index"}
OPENINGS: tuple[tuple[dict[str, str], ...], ...] = (
    ({"email": "e0"}, {"email": "e1"}, {"email": "e2"}),
    ({"anonymousId": "a0"}, {}, {"anonymousId": "a1"}),
    ({"crm": "0"}, {"phone": "0"}, {"crm": "1"}, {"phone": "1"}),
)
"""What reaches a limit each, before steps at random."""
DOTTED, PLAIN = "m.0", "m0"  # one address there, and two under version 1
IndexesAnew = Callable[[IndexPass], bool]


@pytest.fixture
def indexes_anew(monkeypatch: pytest.MonkeyPatch) -> IndexesAnew:
    """What does the pages of an index pass, which no worker does meanwhile."""
    advance = IndexPass.advance
    monkeypatch.setattr(IndexPass, "advance", lambda _: False)
    return advance


@pytest.fixture
def here(indexes_anew: IndexesAnew, caller: Caller, clock: FixedClock) -> Side:  # noqa: ARG001  # before it
    """The platform that events, merges, splits and other rules happen to."""
    return Side(caller, clock)


@pytest.fixture
def there(
    here: Side,
    request: pytest.FixtureRequest,
    database_url: str,
    tmp_path: Path,
    templates: Callable[[str], Template],
) -> Iterator[Side]:
    """The fresh one."""
    clock = FixedClock(NOW)
    with twin_of(request, database_url, tmp_path, templates, clock) as caller:
        made = Side(caller, clock)
        made.hears(here)
        yield made


class Officers:
    """Who puts rules in force on one side."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._keys = [side.caller.officer(name) for name in ("first", "second")]

    def activate(self, *changes: Change) -> None:
        """Put rules in force, and have the pass bring everybody under them."""
        api = self._side.caller.api
        given = {name: content.decode() for name, content in files(*changes).items()}
        proposed = api("POST", "/policies/activate", {"files": given}, key=self._keys[0])
        api("POST", "/policies/activate", {"approve": proposed["proposal"]["sha256"]}, key=self._keys[1])
        passes = self._side.services.rules_pass
        while passes.advance():
            pass
        assert passes.passes()[0].state == "done"


class Strict(History):
    """One example: few identifiers of many types, said over three days."""

    def __init__(self, here: Side, there: Side, officers: Officers, seed: int) -> None:
        self.seed = seed
        self.draw = random.Random(seed)  # noqa: S311  # the same histories each time
        super().__init__(here, there)
        self._officers = officers

    def named(self) -> list[Named]:
        return [
            *people_of(self.ending, 2, 3, 3),
            *(("email", f"{name}{self.ending}@{GMAIL}") for name in (DOTTED, PLAIN)),
            *(("phone", self.phone(n).replace(" ", "")) for n in range(2)),
            *(("external:crm", f"c{n}{self.ending}") for n in range(2)),
        ]

    def phone(self, number: int) -> str:
        """Return a number as people write it."""
        return f"+49 30 {1_000_000 + 10 * self.seed + number}"

    def tell(self, kind: str, source_kind: str, seconds: int, named: dict[str, str]) -> None:
        """Send an event of one of six half days before."""
        told_at = self.start - 40 * DAY + seconds * DAY // 2 + len(self.sent) * SECOND  # no two at once
        plain = {key: value for key, value in named.items() if key not in {"phone", "crm", "mail"}}
        body = event(kind, f"m{len(self.sent)}{self.ending}", self.ending, told_at, **plain)
        if "phone" in named:
            body.setdefault("traits", {})["phone"] = self.phone(int(named["phone"]))
        if "mail" in named:
            body.setdefault("traits", {})["email"] = f"{named['mail']}{self.ending}@{GMAIL}"
        if "crm" in named:
            ids = [{"type": "crm", "id": f"c{named['crm']}{self.ending}"}]
            body["context"] = {"externalIds": ids}
        self.sent.append((self.here.clock.now(), body, source_kind))
        self.here.send(body, source_kind)

    def match(self, one: int, other: int) -> None:
        """Link two identities by a guess, where the rules let it."""
        known = self.known()
        pair = tuple(sorted({known[one % len(known)], known[other % len(known)]})) if known else ()
        if len(pair) < 2:
            return
        low, high = pair
        services = self.here.services
        with services.committer.batch() as batch:
            held = services.identity.lock(batch.connection, {low, high})
            told = hashlib.sha256(f"{self.ending} {low} {high} {one}".encode()).digest()[:16]
            now = self.here.clock.now()
            propose(services.identity, batch, held, [(low, high)], lambda _: told, now, dry_run=False)
        self.here.clock.advance(SECOND)

    def run(self) -> None:
        """Do steps at random, in every second example the later ones under rules that let more be one."""
        draw = self.draw
        for place, named in enumerate(OPENINGS[self.seed % len(OPENINGS)]):
            self.tell("identify", "server", place % 2, {"userId": "u0", **named})
        for step in range(15):
            if self.seed % 2 and step == 6:  # in the middle
                self._officers.activate()
            kind = draw.choices(
                ["identify", "track", "alias", "merge", "carve", "revoke", "match"], [8, 2, 2, 2, 3, 2, 3]
            )[0]
            if kind in {"merge", "carve", "revoke", "match"}:
                getattr(self, kind)(draw.randrange(60), draw.randrange(60))
                continue
            source = draw.choice(["server", "server", "server", "browser", "import"])
            self.tell(kind, source, draw.randrange(6), self._names(kind))
        if self.seed % 2:
            self._officers.activate(*STRICT)

    def _names(self, kind: str) -> dict[str, str]:
        draw = self.draw
        user, device = f"u{draw.randrange(2)}", f"a{draw.randrange(3)}"
        if kind == "alias":
            return {"previousId": device, "userId": user}
        if kind == "track":
            return {"anonymousId": device, **({"userId": user} if draw.random() < 0.5 else {})}
        given = {
            "anonymousId": device,
            "email": f"e{draw.randrange(3)}",
            "mail": draw.choice([DOTTED, PLAIN]),
            "phone": str(draw.randrange(2)),
            "crm": str(draw.randrange(2)),
            "plan": draw.choice(["pro", "free"]),
        }
        chosen = dict(draw.sample(sorted(given.items()), draw.randrange(1, 5)))
        if draw.random() < 0.6 or not chosen.keys() - {"plan", "email", "mail", "phone"}:
            chosen["userId"] = user
        return chosen


def begin_under_version_1(
    sides: tuple[Side, Side],
    histories: list[Strict],
    monkeypatch: pytest.MonkeyPatch,
    indexes_anew: IndexesAnew,
) -> None:
    """Have both sides know two spellings of an address by version 1, and index everybody anew."""
    for side in sides:
        with under_version_1(monkeypatch):
            for history in histories:
                for place, mail in enumerate((DOTTED, PLAIN)):
                    address = f"{mail}{history.ending}@{GMAIL}"
                    body = event(
                        "identify", f"v{place}", history.ending, NOW - (50 + place) * DAY, userId=f"u{place}"
                    )
                    body["messageId"] += history.ending
                    side.send({**body, "traits": {"email": address}}, "server")
                    number = side.numbers([("email", address)])
                    side.before |= dict.fromkeys(number, ("email", address))
        passes = side.services.index_pass
        passes.look()
        while indexes_anew(passes):
            pass


def test_each_side_is_exact_whatever_the_rules_set_aside(
    here: Side, there: Side, monkeypatch: pytest.MonkeyPatch, indexes_anew: IndexesAnew
) -> None:
    officers = [Officers(side) for side in (here, there)]
    histories = [Strict(here, there, officers[0], seed) for seed in SEEDS]
    begin_under_version_1((here, there), histories, monkeypatch, indexes_anew)
    assert here.before == there.before
    for one in officers:
        one.activate(*STRICT)
    for history in histories:
        history.start = here.clock.now()
        history.run()
        history.replay()
        assert here.numbers(history.people) == there.numbers(history.people)
        assert here.profiles(history.people) == there.profiles(history.people), history.seed
    everybody = [named for history in histories for named in history.people]
    assert here.known(everybody) == there.known(everybody)
    with here.store.reading() as connection:
        reasons = set(connection.execute(select(links.c.reason).distinct()).scalars())
        origins = set(connection.execute(select(link_candidates.c.origin).distinct()).scalars())
    assert reasons >= REACHED
    assert origins >= ORIGINS
    assert sum(history.changed for history in histories) > len(histories), "stewards do something"
