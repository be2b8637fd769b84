"""A merge never widens what may be done, and a split never shakes off a no (consent, rules 4 and 5).

The table that a lawyer reads is played row by row; random histories look for what it forgot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from caller import Caller
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from merging_world import EMAIL, People

from cdp.clock import FixedClock, Micros
from cdp.policy import covers

TABLE = Path(__file__).parents[2] / "docs" / "merging-and-consent.md"
STATES = {
    "agreed": "granted",
    "refused": "refused",
    "withdrew": "withdrawn",
    "objected": "objected",
    "was restricted": "restricted",
}
CLAUSE = re.compile(
    r"(?P<who>[ABD]) (?P<verb>agreed|refused|withdrew|objected|was restricted|said nothing)"
    r"(?: for (?P<recipient>[a-z]+))?(?: (?P<how>all marketing|by import|in a stamp|in a browser))?"
)
TOGETHER = re.compile(r"(?P<one>[ABD]) and (?P<other>[ABD]) came together")


class Row(NamedTuple):
    """One line of the table."""

    number: str
    before: str
    merged: str
    meanwhile: str
    after: str
    again: str
    why: str


def rows() -> list[Row]:
    """Read the table."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [Row(*line) for line in cells if line[0].isdigit()]


class Play:
    """One row of the table, done."""

    def __init__(self, people: People, row: Row) -> None:
        self.people, self.row = people, row
        self.wrong: list[str] = []
        self.heard: list[str] = []

    def __call__(self) -> list[str]:
        row, people = self.row, self.people
        for clause in row.before.split(", "):
            self._hear(clause)
        apart = [who for who in self.heard if people.id_of(who) == self._profile(who)]
        first, *others = self.heard
        if len(apart) > 1:
            people.merge(*self.heard)
        self._expect("merged", [first], row.merged)
        for told in filter(None, row.meanwhile.split("; ")):
            clause, _, state = told.partition(": ")
            before = list(self.heard)
            self._hear(clause)
            self.heard = before
            self._expect(told, [first], state)
        for other in others:
            people.split(other)
        for wanted in row.after.split(", "):
            who, state = wanted.split()
            self._expect("after the split", [who], state)
        people.merge(*self.heard)
        self._expect("merged again", [first], row.again)
        return self.wrong

    def _profile(self, who: str) -> str:
        named = self.people.named(who)
        found = self.people.caller.lookup(named["type"], named["value"])["id"]
        assert isinstance(found, str)
        return found

    def _expect(self, when: str, several: Iterable[str], state: str) -> None:
        for who in several:
            found = self.people.state(who)
            if found != state:
                self.wrong.append(f"row {self.row.number}, {when}: {who} is {found}, not {state}")

    def _hear(self, clause: str) -> None:
        together = TOGETHER.fullmatch(clause)
        if together:
            self.heard += [together["one"], together["other"]]
            self.people.seen(together["one"], together["other"])
            return
        found = CLAUSE.fullmatch(clause)
        assert found, f"row {self.row.number}: what does {clause!r} mean?"
        who, verb, how = found["who"], found["verb"], found["how"]
        if who not in self.heard:
            self.heard.append(who)
            self.people.seen(who)
        if verb == "said nothing":
            return
        state = STATES[verb]
        if how == "in a browser":
            self.people.act_in_browser(who, agreed=state == "granted")
        elif how == "in a stamp":
            self.people.seen(who, consent={"Email": state == "granted"})
        elif how == "by import":
            self.people.imported(who, state)
        else:
            purpose = "marketing" if how == "all marketing" else EMAIL
            self.people.said(who, state, purpose, [found["recipient"]] if found["recipient"] else [])


def test_the_table_says_what_is_done(caller: Caller, clock: FixedClock) -> None:
    table = rows()
    assert len(table) >= 15
    wrong = [line for row in table for line in Play(People(caller, clock), row)()]
    assert not wrong, "\n".join(wrong)


# -- random histories -------------------------------------------------------------------------------

PURPOSES = (EMAIL, "marketing.communications.sms", "analytics")
ABOVE = ("marketing", "marketing.communications")
RECIPIENTS = ("mailer", "crm", "nobody_named")
PEOPLE = ("A1", "A2", "B1", "B2", "D1")
who = st.sampled_from(PEOPLE)
state = st.sampled_from(["granted", "granted", "granted", "withdrawn", "objected", "restricted"])
purpose = st.sampled_from([EMAIL, EMAIL, "analytics", *ABOVE])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), who, state, purpose, st.sampled_from([(), (), ("mailer",), ("crm",)])),
        st.tuples(st.just("say"), who, state, st.just(EMAIL), st.just(())),
        st.tuples(st.just("browse"), st.just("D1"), st.booleans()),
        st.tuples(st.just("meet"), st.lists(who, min_size=2, max_size=3, unique=True), st.booleans()),
        st.tuples(st.just("merge"), who, who),
        st.tuples(st.just("merge"), st.just("A1"), st.just("B1")),
        st.tuples(st.just("split"), who),
        st.tuples(st.just("split"), st.sampled_from(["A1", "B1"])),
    ),
    min_size=6,
    max_size=14,
)


class No(NamedTuple):
    """A restraint: when, for what, and who were one person with whom it was said of."""

    at: Micros
    purpose: str
    people: frozenset[int]


class Yes(NamedTuple):
    """An act that may lift a restraint."""

    at: Micros
    purpose: str
    number: int


class Town:
    """Six identifiers, and all that was said of them."""

    def __init__(self, caller: Caller, clock: FixedClock) -> None:
        self.people = People(caller, clock)
        self.services = caller.services
        self.noes: list[No] = []
        self.yeses: list[Yes] = []
        self.grants: set[tuple[int, str]] = set()
        self.merges = self.splits = self.closed = 0

    def numbers(self) -> dict[int, str]:
        found = {self.people.number(who): who for who in PEOPLE}
        return {number: who for number, who in found.items() if number is not None}

    def homes(self) -> dict[int, int]:
        numbers = self.numbers()
        with self.services.store.reading() as connection:
            return self.services.identity.profiles_of(connection, numbers)

    def with_(self, number: int) -> frozenset[int]:
        homes = self.homes()
        return frozenset(other for other, home in homes.items() if home == homes[number])

    def permitted(self) -> dict[tuple[str, str], set[int]]:
        """Return (purpose, recipient) → the identities of whoever may be used for it."""
        homes, ledger, now = self.homes(), self.services.ledger, self.people.clock.now()
        with self.services.store.reading() as connection:
            return {
                (key, recipient): {number for number, home in homes.items() if home in found}
                for key in PURPOSES
                for states in [ledger.standings(connection, key, set(homes.values()))]
                for recipient in RECIPIENTS
                for found in [states.granted(now, recipient)]
            }

    # -- what happens ---------------------------------------------------------------------------

    def say(self, who: str, state: str, key: str, recipients: Sequence[str]) -> None:
        at = self.people.clock.now()
        self.people.said(who, state, key, recipients)
        number = self.people.number(who)
        assert number is not None
        if state == "granted":
            self.grants.add((number, key))
            self.yeses.append(Yes(at, key, number))
        else:
            self.noes.append(No(at, key, self.with_(number)))

    def browse(self, who: str, agreed: bool) -> None:  # noqa: FBT001  # drawn
        at = self.people.clock.now()
        self.people.act_in_browser(who, agreed=agreed)
        number = self.people.number(who)
        if number is not None and agreed:
            self.grants.add((number, EMAIL))
        elif number is not None:
            self.noes.append(No(at, EMAIL, self.with_(number)))

    def meet(self, several: Sequence[str], server: bool) -> None:  # noqa: FBT001  # drawn
        """Have a message without a word about consent name them together."""
        if any(who[0] != "B" for who in several) and len({who[0] for who in several}) == len(several):
            self._changing(lambda: self.people.seen(*several, kind="server" if server else "browser"))

    def merge(self, one: str, other: str) -> None:
        for who in (one, other):
            if self.people.number(who) is None:
                self.people.seen(who)
        self._changing(lambda: self.people.merge(one, other, expect=(200, 400, 403, 409)))

    def split(self, who: str) -> None:
        if self.people.number(who) is not None:
            before = self.homes()
            self.people.split(who, expect=(200, 400))
            self.splits += before != self.homes()

    def _changing(self, change: Callable[[], object]) -> None:
        """Do what may merge, and see that it widens nothing."""
        before, was = self.permitted(), self.homes()
        change()
        after, now = self.permitted(), self.homes()
        self.merges += any(was[number] != now[number] for number in was)
        for (key, recipient), people in after.items():
            for home in {now[number] for number in people}:
                members = {number for number in was if now[number] == home}
                if any(now[other] != home for other, old in was.items() if old in {was[n] for n in members}):
                    continue  # somebody left it: that is a split
                parts = {was[number] for number in members}
                allowed = {was[number] for number in members & before[key, recipient]}
                for part in parts - allowed:
                    assert self._neutral(key, {n for n in members if was[n] == part}, members), (
                        "a merge permits what was not permitted to one of its parts"
                    )

    def _neutral(self, key: str, part: set[int], everyone: set[int]) -> bool:
        """True when nobody of a part has any record, and all are devices or came with one of the others."""
        identity, ledger = self.services.identity, self.services.ledger
        with self.services.store.reading() as connection:
            records = ledger.records_of(connection, part)
            devices = identity.devices(connection, part)
            (first,) = (
                {item.identity_no: item.first_event_id for item in identity.identifiers(connection, home)}
                for home in {identity.profile_of(connection, next(iter(part)))}
            )
        if any(covers(record.purpose, key) for record in records):
            return False
        elsewhere = {first[number] for number in everyone - part if number in first}
        return all(number in devices or first[number] in elsewhere for number in part)

    # -- what always holds ----------------------------------------------------------------------

    def check(self) -> None:
        """A profile that may be used has taken back every no that was ever said of one of its members."""
        homes = self.homes()
        for (key, _), people in self.permitted().items():
            for home in {homes[number] for number in people}:
                members = {number for number, other in homes.items() if other == home}
                assert any((number, key) in self.grants for number in members), "a yes went elsewhere"
                for no in self.noes:
                    if covers(no.purpose, key) and no.people & members:
                        self.closed += 1
                        assert any(
                            yes.at > no.at
                            and yes.number in members
                            and covers(no.purpose, yes.purpose)
                            and covers(yes.purpose, key)
                            for yes in self.yeses
                        ), "a no of the time when they were one was shaken off"


def test_over_random_histories_a_merge_never_widens_and_a_split_shakes_off_no_no(
    caller: Caller, clock: FixedClock
) -> None:
    towns: list[Town] = []

    @settings(
        max_examples=25 if caller.services.store.single_writer else 8,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(steps=STEPS)
    def run(steps: list[tuple[Any, ...]]) -> None:
        town = Town(caller, clock)
        towns.append(town)
        for who in ("A1", "B1"):  # who has agreed has something to lose
            town.say(who, "granted", EMAIL, ())
        for step, *how in steps:
            getattr(town, step)(*how)
            town.check()

    run()
    assert sum(town.merges for town in towns) > len(towns) / 2
    assert any(town.splits for town in towns)
    assert any(town.closed for town in towns), "somebody took a no back"
