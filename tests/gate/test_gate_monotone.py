"""On real exports: property 6, and that the explanation is what was decided.

Random policies over people in a real database, of all of whom the same is told. Of some an enabling fact is
not told, or cannot be read: of them no more leaves than of the others. Then one restraint each comes to the
others: no more leaves of them than before, of the same export fetched again or of a new one. Of everybody the
explanation says what the row showed: whether there was one, and in which form each field left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import count
from typing import Any, Literal, cast

import msgspec
import pytest
from gate_world import EMAIL, World, running
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap
from test_gate_properties import FIELDS, INPUTS, PURPOSE, bundles

from cdp.gate import DecisionQuestion, Review
from cdp.gate.review.service import Prepared
from cdp.policy import Bundle, InForce, Policies, Purpose, Require, Rule, Transform
from cdp.segments import SegmentService
from cdp.store import Connection

world_fixture = pytest.fixture(running, name="world")
HOMES = (None, "Germany", "US", "US", "China")
# event type and method of a yes; what else may be said is a state
YES = {
    "agreed": ("separate", "double_opt_in"),
    "confirmed": ("explicit", "double_opt_in"),
    "separate": ("separate", "form"),
    "plain": ("explicit", "form"),
}
ADULT = {"birthday": "1990-05-05"}
MARKETING = "marketing"


class Person(msgspec.Struct, frozen=True):
    """What is told of somebody."""

    country: str | None
    said: tuple[str, ...]
    adult: bool


people = st.builds(
    Person,
    country=st.sampled_from(HOMES),
    said=st.lists(st.sampled_from(["informed", "informed", "agreed", "plain"]), max_size=2).map(
        lambda more: ("agreed", *more)
    ),
    adult=st.booleans(),
)
LOSSES = ("home", "home_unreadable", "adult", "said", "confirmed", "separate", "plain")
STOPS = (
    "withdrawn", "refused", "objected", "opted_out", "restricted", "withdrawn_above",
    "black_list", "segmentation", "erased",
)  # fmt: skip
RESTRAINTS = (*STOPS, "moved", "minor", "age_unreadable")  # what the last three come to, the rules say
# under most of what is drawn nobody is released: so everything is, to whoever agreed; and one rule asks for
# more and gives less, for it must count also of people of whom it is not known whether they meet it
OPEN = Rule(id="open", effect="permit", purpose=EMAIL, inputs=INPUTS, fields={"*": Transform("clear")})
narrow = st.builds(
    Rule,
    id=st.just("narrow"),
    effect=st.sampled_from(["permit", "limit"]),
    purpose=st.just(EMAIL),
    require=st.sampled_from([Require(not_minor=True), Require(notice_current=True), Require(max_age_days=1)]),
    fields=st.sampled_from([{"*": Transform(kind)} for kind in ("mask", "hash", "drop")]),
)
KINDS = {"clear": "clear", "hash": "hash", "mask": "less", "generalise": "less"}
_NUMBERS = count()
ASKED = Prepared(DecisionQuestion(destination="mailer", purpose=EMAIL, fields=FIELDS), None, None)


class Drawn(msgspec.Struct, frozen=True):
    """What of the policies is drawn."""

    rules: tuple[Rule, ...]
    purpose: Purpose
    controller: frozenset[str]


texts = st.builds(
    lambda bundle, more, forbids: Drawn(
        (*(rule for rule in bundle.rules[:3] if forbids or rule.effect != "forbid"), OPEN, *more),
        bundle.purposes[PURPOSE.key],
        bundle.jurisdictions.controller,
    ),
    bundles,
    st.lists(narrow, max_size=1),
    st.sampled_from([False, False, False, True]),
)


def _text(effect: Literal["permit", "limit"], require: Require) -> Drawn:
    rule = Rule(id="narrow", effect=effect, purpose=EMAIL, require=require, fields={"*": Transform("mask")})
    return Drawn((OPEN, rule), PURPOSE, frozenset({"EU"}))


KNOWN = Person("Germany", ("agreed", "informed"), adult=True)


class Town:
    """People of one world, and what left of each."""

    def __init__(self, world: World, text: Drawn) -> None:
        self.world = world
        self.told: dict[int, Mapping[str, str]] = {}
        self.home: dict[int, bool] = {}
        self.erased: set[int] = set()
        world.segments.members.clear()
        world.segments.black.clear()
        world.segments.objecting.clear()
        self.review = Review(
            world.committer,
            world.keyring,
            world.gate.facts,
            cast("InForce", self),
            cast("Policies", None),
            world.access,
            world.ledger,
            world.identity,
            cast("SegmentService", world.segments),
            world.clock,
        )
        here = world.bundle.jurisdictions
        world.change(
            rules=text.rules,
            purposes={
                **world.bundle.purposes,
                EMAIL: msgspec.structs.replace(text.purpose, basis=PURPOSE.basis | text.purpose.basis),
            },
            jurisdictions=msgspec.structs.replace(here, controller=text.controller),
        )
        world.change_destination(minimum_audience=0, contract_expires=None)

    def current(self, _connection: Connection) -> Bundle:
        """Return the policies in force, for the explanation."""
        return self.world.bundle

    def arrive(self, person: Person, lost: str = "") -> int:
        """Store somebody of whom all is told but what is lost."""
        name = f"Ada{next(_NUMBERS)}"
        traits: dict[str, Any] = {"country": person.country}
        if person.country is None or lost == "home":
            del traits["country"]
        elif lost == "home_unreadable":
            traits["country"] = ["nowhere"]
        if person.adult and lost != "adult":
            traits |= ADULT
        number = self.world.person(name, {"country": "unspecified", **traits}, consent=None)
        for said in person.said:
            if lost != "said":
                self._say(number, lost if lost in YES and said != "informed" else said)
        self.told[number] = {"email": f"{name.lower()}@people.example", "first_name": name, **ADULT}
        self.home[number] = person.country is not None and lost not in {"home", "home_unreadable"}
        return number

    def _say(self, number: int, said: str) -> None:
        if said == "informed":
            self.world.say(number, "informed")
        else:
            event_type, method = YES[said]
            self.world.say(number, "granted", separate=event_type == "separate", method=method)

    def restrain(self, number: int, how: str) -> None:
        """Add a restraining fact, or one that cannot be read."""
        world = self.world
        if number in self.erased:
            return  # nothing is told of whoever has no key
        if how == "withdrawn_above":
            world.say(number, "withdrawn", purpose=MARKETING)
        elif how == "moved":
            if self.home[number]:  # of whom no place is known, the first is no restraint
                world.observe(number, {"country": "China"})
        elif how == "minor":
            world.observe(number, {"age_band": "under 18"})
        elif how == "age_unreadable":
            world.observe(number, {"age": {"no": "age"}})
        elif how == "black_list":
            world.segments.black.add(number)
        elif how == "segmentation":
            world.segments.objecting.add(number)
        elif how == "erased":
            world.destroy(number)
            self.erased.add(number)
        else:
            world.say(number, how)  # type: ignore[arg-type]  # a state

    def export(self) -> str:
        world = self.world
        world.segments.members |= BitMap(self.told)
        world.segments.as_of = world.head()
        return world.gate.authorise(world.request(fields=FIELDS)).export_id

    def check_explained(self, rows: Mapping[int, Mapping[str, str]]) -> None:
        """Check that the explanation of each decision is what happened."""
        beside = self.erased | set(self.world.segments.objecting)  # they are let go before any rule is read
        for number in self.told.keys() - beside:
            row, said = rows.get(number), self.explained(number)
            assert _agree(row, said), (row, said)

    def explained(self, number: int) -> dict[str, str] | None:
        """Return in which form each field leaves, as the explanation has it; None of whom no row does."""
        with self.world.store.reading() as connection:
            found = self.review.explain(connection, number, ASKED)
        if not found.allowed:
            return None
        return {field.name: field.transform.kind for field in found.explanation.fields}

    def fetch(self, export: str) -> dict[int, dict[str, str]]:
        """Return in which form each field left, of whoever left."""
        rendering, named, _ = self.world.gate.render_some(export, self.world.mailer, BitMap(self.told))
        found = {}
        for row in rendering.rows:
            number = named[row.profile_ref]
            values = dict(zip([column.name for column in rendering.columns], row.values, strict=True))
            told = self.told[number]
            found[number] = {
                name: _form(str(value), told[name]) for name, value in values.items() if value is not None
            }
        return found


def _form(value: str, told: str) -> str:
    """Return what a field left as: a name that is the same for all people, whatever their values."""
    if value == told:
        return "clear"
    return "hash" if value == hashlib.sha256(told.lower().encode()).hexdigest() else f"less:{value[:1]}"


def _no_more(after: Mapping[str, str] | None, before: Mapping[str, str] | None) -> bool:
    """Whether a row is gone, or shows of each field what was shown, or less than its clear value."""
    if after is None:
        return True
    return before is not None and all(before.get(name) in {form, "clear"} for name, form in after.items())


def _agree(row: Mapping[str, str] | None, explained: Mapping[str, str] | None) -> bool:
    """Whether a row is as it was explained; what could not be told of a value is absent."""
    if row is None or explained is None:
        return row is explained
    return all(form.split(":")[0] == KINDS.get(explained[name]) for name, form in row.items())


@example(text=_text("permit", Require(not_minor=True)), person=KNOWN)
@example(text=_text("limit", Require(not_minor=True)), person=KNOWN)
@settings(
    max_examples=2,
    phases=(Phase.explicit, Phase.generate),  # each step is a commit: to shrink one takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=texts, person=people)
def test_knowing_less_or_restraining_more_never_releases_more(
    world: World, text: Drawn, person: Person
) -> None:
    town = Town(world, text)
    whole = town.arrive(person)
    lessened = {lost: town.arrive(person, lost) for lost in LOSSES}
    others = {restraint: town.arrive(person) for restraint in RESTRAINTS}
    first = town.export()
    before = town.fetch(first)
    for number in others.values():
        assert before.get(number) == before.get(whole)
    for lost, number in lessened.items():
        assert _no_more(before.get(number), before.get(whole)), lost
    town.check_explained(before)
    for restraint, number in others.items():
        town.restrain(number, restraint)
    again = town.fetch(town.export())
    town.check_explained(again)
    for after in (town.fetch(first), again):
        assert after.get(whole) == before.get(whole)
        for restraint, number in others.items():
            assert _no_more(after.get(number), before.get(number)), restraint
            assert restraint not in STOPS or number not in after, restraint
