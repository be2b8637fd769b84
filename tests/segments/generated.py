"""Hypothesis strategies: small populations and any definition over them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from population import NOW, catalogue, rule

from cdp.clock import DAY, Micros, parse_rfc3339

TAGS = ["stage", "spent", "share", "score"]
FIELDS = catalogue(
    properties=[rule("revenue", "number"), rule("sku"), rule("gift", "boolean")],
    traits=[rule("country"), rule("plan", survivorship="most_trusted"), rule("age", "number")],
    context=[rule("page.path")],
    inferences=TAGS,
)
TRUST = {1: 5, 2: 9, 3: -1}
NAMES = ["Order Completed", 'O\'Brien "quoted" \\ ; DROP TABLE events --', "Ünïcode 事件"]
WORDS = ["", "a", "A", "ab", "b'c", "%_", "é"]
NUMBERS = st.integers(-8, 40).map(lambda n: n / 4)
SPANS = ["1d", "2d", "36h", "90m"]
EDGES = [0, 90 * 60 * 10**6, 36 * 3600 * 10**6, DAY, 2 * DAY, 3 * DAY]
INSTANTS = st.sampled_from([NOW - edge + step for edge in EDGES for step in (-1, 0, 1)] + [NOW + DAY])
CALENDAR = [
    "today", "today-1d", "today+1d", "this_week", "this_month-1w", "this_year", "2024-10-03",
    "today-1mo", "today-1y", "this_month-1mo", "this_quarter-1q", "this_year+1y",
]  # fmt: skip
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])
STARTS = st.sampled_from([NOW] * 7 + [parse_rfc3339(text) for text in (
    "2024-03-10T06:30:00Z",  # half an hour before clocks are put forward in New York
    "2024-03-31T00:30:00Z",  # … in Berlin
    "2024-10-27T00:30:00Z",  # in an hour that Berlin has twice, the first time
    "2024-11-03T06:30:00Z",  # … New York, the second time
    "2024-02-29T12:00:00Z",
    "2024-02-29T23:30:00Z",  # 1 March in Berlin
    "2025-01-01T02:00:00Z",  # the old year in New York
)])  # fmt: skip
"""When it is: mostly where the dates of windows are, now and then where days are odd."""
DATES = ["2024-10-02T00:00:00Z", "2024-10-03T12:00:00+00:00", "2024-10-04T00:00:00.000001Z"]

properties = st.fixed_dictionaries(
    {},
    optional={
        "revenue": NUMBERS,
        "sku": st.sampled_from(WORDS),
        "gift": st.booleans(),
        "context.page.path": st.sampled_from(WORDS),
    },
)
events = st.fixed_dictionaries(
    {
        "identity": st.integers(1, 6),
        "name": st.sampled_from(NAMES),
        "type": st.sampled_from(["track", "track", "page"]),
        "at": INSTANTS,
        "properties": properties,
    }
)
traits = st.one_of(
    st.tuples(st.sampled_from(["country", "plan"]), st.sampled_from([*WORDS, None])),
    st.tuples(st.just("age"), st.one_of(st.none(), NUMBERS)),
).flatmap(
    lambda pair: st.fixed_dictionaries(
        {
            "identity": st.integers(1, 6),
            "name": st.just(pair[0]),
            "value": st.just(pair[1]),
            "source": st.integers(1, 4),
            "at": INSTANTS,
        }
    )
)


def moved(things: list[dict[str, Any]], by: Micros) -> list[dict[str, Any]]:
    """Return events or observations so much later."""
    return [{**thing, "at": thing["at"] + by} for thing in things]


def comparison(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    value: st.SearchStrategy[Any] = {
        "string": st.sampled_from(WORDS),
        "number": NUMBERS,
        "boolean": st.booleans(),
    }[kind]
    ops = {
        "string": ["eq", "ne", "contains", "starts_with"],
        "number": ["eq", "ne", "lt", "lte", "gt", "gte"],
        "boolean": ["eq", "ne"],
    }[kind]
    plain = st.fixed_dictionaries({"op": st.sampled_from(ops), "value": value})
    several = st.fixed_dictionaries({"op": st.just("in"), "value": st.lists(value, min_size=1, max_size=3)})
    exists = st.fixed_dictionaries({"op": st.just("exists"), "value": st.booleans()})
    return st.one_of(plain, several, exists, *([between("op")] if kind == "number" else []))


def between(_: str) -> st.SearchStrategy[dict[str, Any]]:
    pairs = st.tuples(NUMBERS, NUMBERS).map(sorted)
    return st.fixed_dictionaries({"op": st.just("between"), "value": pairs})


def merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


CLOCKS = {"event.hour": "number"}
KINDS = {"revenue": "number", "sku": "string", "gift": "boolean", "context.page.path": "string"}
ORDER = ["lt", "lte", "gt", "gte"]
AGES = st.sampled_from([edge / DAY for edge in EDGES] + [0.5, 30.0])
ages: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(ORDER), "value": AGES}),
    st.tuples(AGES, AGES).map(lambda pair: {"op": "between", "value": sorted(pair)}),
)
on_the_clock = st.one_of(
    st.fixed_dictionaries(
        {
            "property": st.just("event.hour"),
            "op": st.sampled_from(["eq", *ORDER]),
            "value": st.integers(0, 23),
        }
    ),
    st.fixed_dictionaries(
        {
            "property": st.just("event.weekday"),
            "op": st.just("in"),
            "value": st.lists(st.integers(1, 7), min_size=1),
        }
    ),
    st.sampled_from(["2024-10-02T00:00:00Z", "2024-10-04T00:00:00.000001Z"]).map(
        lambda date: {"property": "event.time", "op": "gte", "value": date}
    ),
)
conditions = st.one_of(
    st.sampled_from(list(KINDS)).flatmap(
        lambda name: comparison(KINDS[name]).map(lambda found: {"property": name, **found})
    ),
    ages.map(lambda found: {"property": "event.age", **found}),
    on_the_clock,
)
COUNT = st.sampled_from(["eq", "ne", "lt", "lte", "gt", "gte"])


def aggregate(function: str, name: str) -> st.SearchStrategy[dict[str, Any]]:
    compared: st.SearchStrategy[tuple[str, Any]]
    if function in {"count", "distinct"}:
        compared = st.tuples(COUNT, st.integers(0, 3)) | st.sampled_from(
            [("between", [0, 2]), ("in", [0, 3])]
        )
    elif {**KINDS, **CLOCKS}[name] == "number":
        compared = st.tuples(COUNT, NUMBERS)
    else:
        several = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)
        compared = st.one_of(
            st.tuples(st.sampled_from(["eq", "ne", "contains"]), st.sampled_from(WORDS)),
            st.tuples(st.just("in"), several),
            st.tuples(st.just("exists"), st.booleans()),
        )
    extra = {} if function == "count" else {"property": name}
    return compared.map(lambda pair: {function: {**extra, pair[0]: pair[1]}})


aggregates = st.one_of(
    st.just({}),
    aggregate("count", ""),
    *(
        aggregate(function, "revenue")
        for function in ("sum", "avg", "min", "max", "distinct", "first", "last", "most_frequent")
    ),
    *(aggregate(function, "sku") for function in ("distinct", "first", "last", "most_frequent")),
    aggregate("most_frequent", "event.hour"),
    st.tuples(st.sampled_from(["min", "max"]), st.sampled_from(ORDER), AGES).map(
        lambda found: {found[0]: {"property": "event.age", found[1]: found[2]}}
    ),
)
sides: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.sampled_from(["sum", "avg", "min", "distinct", "last"]).map(
        lambda function: {function: {"property": "revenue"}}
    ),
)
windows: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.sampled_from(SPANS).map(lambda span: {"within": span}),
    st.sampled_from(DATES).map(lambda date: {"from": date}),
    st.sampled_from(DATES).map(lambda date: {"to": date}),
    st.just({"from": DATES[0], "to": DATES[2]}),
    st.sampled_from(CALENDAR).map(lambda point: {"from": point}),
    st.sampled_from(CALENDAR).map(lambda point: {"to": point}),
)
event_leaves = merged(
    st.sampled_from(NAMES).map(lambda name: {"event": name}),
    st.sampled_from([{}, {"type": "page"}]),
    st.lists(conditions, max_size=2).map(lambda found: {"where": found} if found else {}),
    aggregates,
    windows,
)
ratios = st.tuples(
    *[merged(st.sampled_from(NAMES).map(lambda name: {"event": name}), sides, windows)] * 2,
    st.sampled_from(["eq", "ne", *ORDER]),
    NUMBERS,
).map(lambda found: {"ratio": {"of": found[0], "to": found[1]}, found[2]: found[3]})
happenings = merged(
    st.sampled_from(NAMES[:2]).map(lambda name: {"event": name}),
    st.lists(conditions, max_size=1).map(lambda found: {"where": found} if found else {}),
)
within = st.sampled_from(SPANS).map(lambda span: {"within": span})
maybe_within: st.SearchStrategy[dict[str, Any]] = st.one_of(st.just({}), within)
absences = happenings.map(lambda step: {"not": step})
sequences = st.tuples(
    st.tuples(
        happenings,
        st.lists(merged(st.one_of(happenings, happenings, absences), maybe_within), max_size=3),
        st.one_of(merged(happenings, maybe_within), merged(absences, within)),
    ).map(lambda parts: {"sequence": [parts[0], *parts[1], parts[2]]}),
    maybe_within,
).map(lambda parts: closed({**parts[0], **parts[1]}))


def closed(leaf: dict[str, Any]) -> dict[str, Any]:
    """Give every negated step behind the last one that happens a window."""
    for step in reversed(leaf["sequence"]):
        if "not" not in step:
            return leaf
        step.setdefault("within", "1d")
    return leaf


trait_leaves = st.one_of(
    comparison("string").flatmap(
        lambda found: st.sampled_from([{"trait": "country", **found}, {"trait": "plan", **found}])
    ),
    comparison("number").map(lambda found: {"trait": "age", **found}),
)
others = st.sampled_from(
    [{"segment": "other"}, {"list": "some"}, {"sample": 0.5}, {"sample": 0.3, "salt": "s"}, {"sample": 1}]
)
leaves = st.one_of(event_leaves, event_leaves, sequences, ratios, trait_leaves, others)
STAGES = ["new", "old", "older"]
exists = st.booleans().map(lambda value: {"op": "exists", "value": value})
tag_leaves = st.one_of(
    st.one_of(
        st.fixed_dictionaries({"op": st.sampled_from(["eq", "ne"]), "value": st.sampled_from(STAGES)}),
        st.just({"op": "in", "value": ["new", "older"]}),
        st.just({"op": "starts_with", "value": "old"}),
        exists,
    ).map(lambda found: {"tag": "stage", **found}),
    st.tuples(st.sampled_from(["spent", "share"]), comparison("number")).map(
        lambda found: {"tag": found[0], **found[1]}
    ),
    st.one_of(
        st.fixed_dictionaries({"op": COUNT, "value": st.integers(0, 5)}),
        st.just({"op": "in", "value": [1, 3]}),
        st.just({"op": "between", "value": [2, 9]}),
        exists,
    ).map(lambda found: {"tag": "score", **found}),
)


ages_of = st.sampled_from(NAMES[:2]).map(lambda name: {"event": name, "min": {"property": "event.age"}})


def amount(*functions: str) -> st.SearchStrategy[dict[str, Any]]:
    """What a person's events amount to, compared with nothing."""
    return st.sampled_from(functions).map(
        lambda function: {} if function == "count" else {function: {"property": "revenue"}}
    )


happened = merged(
    st.sampled_from(NAMES[:2]).map(lambda name: {"event": name}),
    st.lists(conditions, max_size=1).map(lambda found: {"where": found} if found else {}),
    windows,
)
tags = st.fixed_dictionaries(
    {
        "stage": st.fixed_dictionaries(
            {
                "cases": st.tuples(*[leaves.filter(lambda found: "segment" not in found)] * 3).map(
                    lambda wheres: [{"value": v, "where": w} for v, w in zip(STAGES, wheres, strict=True)]
                )
            },
            optional={"otherwise": st.sampled_from(STAGES)},
        ),
        "spent": merged(
            happened, amount("count", "sum", "avg", "min", "distinct", "last", "most_frequent")
        ).map(lambda found: {"amount": found}),
        "share": st.tuples(merged(happened, sides), merged(happened, sides)).map(
            lambda found: {"ratio": {"of": found[0], "to": found[1]}}
        ),
        "score": st.tuples(
            merged(happened, amount("count", "sum", "distinct", "min")) | ages_of,
            st.lists(NUMBERS, min_size=1, max_size=3, unique=True).map(sorted),
            st.sampled_from([{}, {"best": "low"}]),
        ).map(lambda found: {"score": found[0], "thresholds": found[1], **found[2]}),
    }
)
definitions = st.recursive(
    st.one_of(leaves, leaves, leaves, tag_leaves),
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=3).map(lambda found: {"all": found}),
        st.lists(parts, min_size=1, max_size=3).map(lambda found: {"any": found}),
        parts.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)
nested = definitions.filter(lambda found: '"segment"' not in json.dumps(found))
"""What the segment ``other`` may be, which the others use."""
groups = st.lists(st.integers(1, 6), min_size=6, max_size=6)
