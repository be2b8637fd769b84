"""Late and out of order: a day of events ends in the same profiles, however it arrives and is cut.

An event keeps the instant at which it was received, which is part of it. Who is whom, every trait, the
timeline and the segments are functions of the set of events; so is it that everybody who is named in a
refusal refuses. What else a word does to others depends on what was heard first, on purpose, so that no date
that somebody writes lifts a no: a refusal also binds who was in the profile then, and a grant counts after
every word heard of its people before, for those who were known then. So nobody grants anything here.

Numbers of identities and profiles are given as they arrive, so people are told by their identifiers; each
arrival is of people of its own, with the same message ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import delete

from cdp import app
from cdp.access import Source
from cdp.app import Platform
from cdp.clock import DAY, SECOND, FixedClock, rfc3339
from cdp.consent import RESTRAINING
from cdp.ingest import Delivery
from cdp.ingest.tables import event_key_days, event_keys
from cdp.settings import Settings

MIDNIGHT = 1_772_323_200 * SECOND  # 2026-03-01
HOUR = 3600 * SECOND
KINDS = {"userId": "user_id", "anonymousId": "anonymous_id"}
CATEGORIES = {"Email": "marketing.communications.email", "Functional": "personalisation"}
SOURCES = {
    "server": Source(source_id=1, name="shop", kind="server", enabled=True),
    "browser": Source(source_id=2, name="web", kind="browser", enabled=True),
}
SEGMENTS: dict[str, dict[str, Any]] = {
    "buyers": {"event": "Order Completed", "count": {"gte": 2}, "within": "1d"},
    "quick": {
        "sequence": [
            {"event": "Product Viewed"},
            {"event": "Order Completed", "within": "12h"},
            {"not": {"event": "Product Viewed"}, "within": "1h"},
        ],
        "within": "1d",
    },
}


class Sent(NamedTuple):
    """One event, of the day's people; ``{}`` in an identifier is the arrival."""

    kind: str
    minute: int
    delay: int
    said: dict[str, Any]


users = st.sampled_from(["u1-{}", "u1-{}", "u2-{}"])
devices = st.sampled_from(["d1-{}", "d1-{}", "d2-{}"])
whose = st.fixed_dictionaries({}, optional={"userId": users, "anonymousId": devices}).filter(bool)
tracked = st.fixed_dictionaries(
    {
        "type": st.just("track"),
        "event": st.sampled_from(["Product Viewed", "Order Completed"]),
        "properties": st.fixed_dictionaries({"revenue": st.integers(1, 3)}),
    }
)
identified = st.fixed_dictionaries(
    {
        "type": st.just("identify"),
        "traits": st.fixed_dictionaries(
            {},
            optional={
                "country": st.sampled_from(["DE", "FR"]),
                "email": st.sampled_from(["ann-{}@shop.example", "bob-{}@shop.example"]),
                "firstName": st.sampled_from(["Ann", "Bob"]),
            },
        ),
    }
)
aliased = st.fixed_dictionaries({"type": st.just("alias"), "previousId": users | devices})
consented = st.fixed_dictionaries(
    {
        "type": st.just("track"),
        "event": st.sampled_from(["Segment Consent Preference Updated", "Product Viewed"]),
        "context": st.fixed_dictionaries(
            {
                "consent": st.fixed_dictionaries(
                    {
                        "categoryPreferences": st.dictionaries(
                            st.sampled_from(sorted(CATEGORIES)), st.just(value=False), min_size=1
                        )
                    }
                )
            }
        ),
    }
)
sent = st.builds(
    Sent,
    st.sampled_from(["server", "server", "browser"]),
    st.integers(0, 5).map(lambda turn: 240 * turn),  # of few instants, so that some are equal
    st.sampled_from([0, 1, 400, 3000]),
    st.builds(lambda ids, said: {**ids, **said}, whose, tracked | identified | aliased | consented),
)


class Day(NamedTuple):
    """A day of events, and two ways in which it arrives: an order, and where it is cut into batches."""

    events: list[Sent]
    order: list[int]
    cuts: list[set[int]]


@st.composite
def days(draw: st.DrawFn) -> Day:
    events = draw(st.lists(sent, min_size=4, max_size=12))
    order = draw(st.permutations(range(len(events))))
    cuts = st.sets(st.sampled_from(range(len(events))))
    return Day(events, order, [draw(cuts), draw(cuts)])


class Arrivals:
    """A platform at which the same day arrives again and again, of other people each time."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.services = platform.services
        self._arrived = 0
        self._people: list[dict[int, str]] = []
        self.services.mirror.refresh()
        for name, where in SEGMENTS.items():
            self.services.segments.apply("system", {"name": name, "where": where})

    def arrive(self, day: Sequence[tuple[int, Sent]], cuts: set[int]) -> dict[str, Any]:
        """Send a day in an order and return what it came to."""
        self._arrived += 1
        with self.services.store.writing() as connection, connection.begin():
            connection.execute(delete(event_keys))  # the same ids again, as they decide between equals
            connection.execute(delete(event_key_days))
        batch: list[Delivery] = []
        for place, (number, event) in enumerate(day):
            if place in cuts and batch:
                self.platform.writer.write(batch)
                batch = []
            batch.append(self._delivery(number, event))
        self.platform.writer.write(batch)
        return self._found([event for _, event in day])

    def members(self) -> list[dict[str, set[str]]]:
        """Return of each arrival whom each segment found, by their identifiers."""
        self.services.mirror.refresh()
        found = {name: self.services.segments.evaluate(name).bitmap for name in SEGMENTS}
        return [
            {name: {people[number] for number in people if number in held} for name, held in found.items()}
            for people in self._people
        ]

    @property
    def _mark(self) -> str:
        return f"-{self._arrived}"

    def _named(self, value: Any) -> Any:
        """Return what is said with the names of this arrival."""
        if isinstance(value, dict):
            return {key: self._named(inner) for key, inner in value.items()}
        return value.replace("-{}", self._mark) if isinstance(value, str) else value

    def _delivery(self, number: int, event: Sent) -> Delivery:
        stamped = MIDNIGHT + event.minute * 60 * SECOND
        said = {**self._named(event.said), "messageId": f"m{number}", "timestamp": rfc3339(stamped)}
        return Delivery(
            source=SOURCES[event.kind],
            messages=(msgspec.json.encode(said),),
            received_at=stamped + event.delay * SECOND,
        )

    def _found(self, events: Sequence[Sent]) -> dict[str, Any]:
        """Return everything that the platform holds of these people, by their identifiers."""
        services = self.services
        named = sorted({pair for event in events for pair in self._identifiers(event)})
        with services.store.reading() as connection:
            people: dict[int, list[str]] = {}
            for kind, value in named:
                number = services.identity.find(connection, kind, value)
                if number is not None:
                    profile_no = services.identity.profile_of(connection, number)
                    people.setdefault(profile_no, []).append(f"{kind}:{value}")
            unmarked = {no: " ".join(names).replace(self._mark, "-") for no, names in people.items()}
            self._people.append(unmarked)
            for event in events:
                said = event.said.get("context", {}).get("consent", {}).get("categoryPreferences", {})
                for kind, value in self._identifiers(event) if said else ():
                    (profile_no,) = (no for no, names in people.items() if f"{kind}:{value}" in names)
                    held = services.ledger.kept_states(connection, profile_no)
                    assert {held[CATEGORIES[name]].state for name in said} <= RESTRAINING
            return {
                unmarked[profile_no]: {
                    "traits": {
                        name: (one.event_id.hex(), one.value)
                        for name, one in services.profiles.traits(connection, profile_no).items()
                    },
                    "timeline": [
                        (event.occurred_at, event.received_at, event.event_id.hex())
                        for event in services.profiles.timeline(connection, profile_no, 100)
                    ],
                }
                for profile_no in people
            }

    def _identifiers(self, event: Sent) -> Iterator[tuple[str, str]]:
        said = self._named(event.said)
        yield from ((kind, said[field]) for field, kind in KINDS.items() if field in said)
        if said.get("traits", {}).get("email"):
            yield "email", said["traits"]["email"]
        if "previousId" in said:
            yield from ((kind, said["previousId"]) for kind in KINDS.values())


@pytest.fixture
def arrivals(settings: Settings) -> Iterator[Arrivals]:
    platform = app.build(settings, FixedClock(MIDNIGHT + DAY + HOUR))
    with closing(platform):
        for source in SOURCES.values():
            platform.services.access.create_source("system", source.name, source.kind)
        yield Arrivals(platform)


def test_any_order_of_a_day_of_events_ends_in_the_same_profiles(
    arrivals: Arrivals, settings: Settings
) -> None:
    few = settings.database_url.startswith("postgresql")

    @hypothesis_settings(
        max_examples=8 if few else 40,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(days())
    def same(day: Day) -> None:
        numbered = list(enumerate(day.events))
        first = arrivals.arrive(numbered, day.cuts[0])
        again = arrivals.arrive([numbered[place] for place in day.order], day.cuts[1])
        assert first == again

    same()
    members = arrivals.members()
    assert members[::2] == members[1::2]
    assert few or {name for found in members for name in found if found[name]} == set(SEGMENTS)
