"""A plan that is inferred accepts what it was inferred from."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp.access import Source
from cdp.ingest import Delivery, Event, EventShape, FieldShape, Message, infer_plan
from cdp.ingest.catalogue.shapes import EVERY, FIRST, Shapes
from cdp.ingest.plans.infer import ENOUGH
from cdp.ingest.plans.judge import Judge
from cdp.ingest.plans.read import read_plan

SOURCE = Source(source_id=1, name="shop", kind="server", enabled=True)
NAMES = st.sampled_from(["plan", "order_id", "a.b", "a", "b", "firstName", "Ada Example", "x" * 65, ""])
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner), max_leaves=5
)
GIVEN = st.dictionaries(NAMES, VALUES, max_size=5)
KINDS = st.sampled_from(
    [("track", "Seen"), ("track", "¿Seen?"), ("page", "Home"), ("page", "page"), ("screen", "Start"),
     ("identify", "identify"), ("group", "group"), ("alias", "alias")]
)  # fmt: skip


def event(kind: tuple[str, str], given: dict[str, Any]) -> Event:
    """Return an event of a plainly fictional customer."""
    type_, name = kind
    delivery = Delivery(source=SOURCE, messages=(b"{}",), received_at=0)
    return Event(
        message=Message(delivery, b"{}", 1),
        event_id=b"",
        day=0,
        type=type_,  # type: ignore[arg-type]  # one of KINDS
        name=name,
        identifiers=(("user_id", "u-1"),),
        occurred_at=0,
        stamped_at=0,
        properties=given,
        traits=given if type_ == "identify" else {},
        context={"page": {"path": "/"}, "any": given},
        rest={"traits": given} if type_ == "group" else {},
        statements=(),
    )


def seen(events: list[Event]) -> list[EventShape]:
    """Return what the catalogue holds of events."""
    shapes = Shapes({"Home"})
    for one in events:
        shapes.note(one)
    found = []
    for tally in shapes.take():
        _, type_, name = tally.key
        fields: dict[tuple[str, str], FieldShape] = {}
        for (part, field, kind), count in tally.fields:
            held = fields.get((part, field), FieldShape(part, field, {}, 0, 0))
            fields[part, field] = msgspec.structs.replace(held, types=held.types | {kind: count})
        found.append(
            EventShape(
                type=type_,
                name=name,
                seen=tally.seen,
                looked_at=tally.looked_at,
                first_seen_at=0,
                last_seen_at=0,
                fields=tuple(fields.values()),
            )
        )
    return found


@given(KINDS, st.lists(GIVEN, max_size=12), st.sampled_from([1, ENOUGH]))
@settings(max_examples=50)
def test_a_plan_accepts_what_it_was_inferred_from(
    kind: tuple[str, str], sent: list[dict[str, Any]], times: int
) -> None:
    events = [event(kind, fields) for fields in sent * times]
    events += [event(("page", "Home"), fields) for fields in sent]
    plan = infer_plan(seen(events))
    judge = Judge(read_plan(plan), 1)
    assert {one["type"] for one in plan["events"]} >= ({"page"} if sent else set())
    for one in events:
        verdict = judge(one)
        assert verdict is None or (one.name, verdict.event) == ("¿Seen?", "unplanned")


def test_what_each_event_had_is_required_once_enough_were_seen() -> None:
    events = [event(("track", "Seen"), {"a": 1, "b": "x"} if at else {"a": 1}) for at in range(ENOUGH)]
    for some, required in ((events, ["a"]), (events[1:], None)):
        (planned,) = infer_plan(seen(some))["events"]
        assert planned["schema"].get("required") == required
        assert set(planned["schema"]["properties"]) == {"a", "b"}


def test_of_many_events_all_are_counted_and_some_looked_at() -> None:
    count = FIRST + 10 * EVERY
    events = [event(("track", "Seen"), {"a": 1})] * count
    (tally,) = (one for one in seen(events) if one.type)
    assert tally.seen == count
    assert tally.looked_at == FIRST + (count // EVERY - FIRST // EVERY)
    (field,) = tally.fields
    assert tally.share(field) == 1.0


def test_what_is_kept_is_bounded() -> None:
    events = [
        event(("track", f"Seen {name}x"), {f"a{name}": 1 for name in range(2)}) for name in range(6_000)
    ]
    events += [event(("track", "Wide"), {f"a_{at}": 1 for at in range(9_999)})]
    shapes = Shapes(())
    for one in events[:2_000] + events[-1:] + events:
        shapes.note(one)
    tallies = shapes.take()
    assert len(tallies) <= 5_000
    assert max(len(tally.fields) for tally in tallies) == 1_000
