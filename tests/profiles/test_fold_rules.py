"""What each rule of survivorship says, of whatever was observed in whatever order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from population import NOW, catalogue, rule

from cdp.clock import DAY, Micros
from cdp.profiles import Observation, fold
from cdp.profiles.attest import attest

TODAY = NOW - NOW % DAY
SERVER, IMPORT, BROWSER = 1, 2, 3
NAMES = {SERVER: "shop", IMPORT: "register", BROWSER: "site"}
FIELDS = catalogue(
    traits=[
        rule("recent"),
        rule("hidden", clear=False),
        rule("hidden_long", clear=False, survivorship="longest_lived"),
        rule("trusted", survivorship="most_trusted"),
        rule("frequent", survivorship="most_frequent"),
        rule("lived", survivorship="longest_lived"),
        rule("least", "number", survivorship="min"),
        rule("latest", "time", survivorship="max"),
        rule("total", "number", survivorship="sum"),
        rule("words", survivorship="union"),
        rule("lists", "list", survivorship="union"),
        rule("address", clear=False, survivorship="validated", validated_by="verified"),
        rule("verified", "boolean"),
        rule("while", expires=10),
    ]
)
TRUST = {"trusted": {SERVER: 30, IMPORT: 20}}


def seen(
    name: str,
    value: Any,
    day: int = 0,
    source: int = SERVER,
    *,
    identity: int = 1,
    event: int | None = None,
    at: Micros | None = None,
) -> Observation:
    """What was observed on a day from today; sealed where the trait is."""
    found = FIELDS.traits.get(name)
    clear = found is not None and found.clear
    when = TODAY + day * DAY if at is None else at
    event_id = (hash((name, day, source)) & 0xFFFF if event is None else event).to_bytes(16)
    text = json.dumps(value)
    return Observation(
        7, identity, name, text if clear else None, None if clear else text.encode(), source, when, event_id
    )


def value_of(given: Sequence[Observation], name: str, now: Micros = NOW) -> Any:
    one = fold(given, FIELDS, TRUST, now)[name][7]
    return json.loads(one.value if one.value is not None else one.sealed or b"null")


SAID: list[tuple[str, Any, list[Observation]]] = [
    ("recent", "b", [seen("recent", "a", -2), seen("recent", "b", -1)]),
    ("unknown", "b", [seen("unknown", "b", -1), seen("unknown", "a", -2)]),
    ("trusted", "a", [seen("trusted", "a", -9), seen("trusted", "b", -1, IMPORT), seen("trusted", "c")]
     [:2]),
    ("trusted", "b", [seen("trusted", "b", -5, IMPORT), seen("trusted", "c", -1, BROWSER)]),
    ("frequent", "a", [seen("frequent", "a", -9), seen("frequent", "a", -8), seen("frequent", "b")]),
    ("frequent", "b", [seen("frequent", "a", -9), seen("frequent", "b", -8)]),
    # a: 8 days, from the 9th to the 1st, and b since; of the other source 3 days more of b are too few
    ("lived", "a", [seen("lived", "a", -9), seen("lived", "b", -1), seen("lived", "b", -3, IMPORT),
                    seen("lived", "c")][:3]),
    ("lived", "b", [seen("lived", "a", -9), seen("lived", "b", -7), seen("lived", "c", 0, IMPORT)]),
    ("hidden_long", "b", [seen("hidden_long", "a", -9), seen("hidden_long", "b", -8),
                          seen("hidden_long", "b", -2), seen("hidden_long", "c")]),
    ("least", 1.5, [seen("least", 2, -1), seen("least", 1.5, -2), seen("least", "0", -3)]),
    ("latest", "2024-02-01T01:00:00Z", [seen("latest", "2024-02-01T01:00:00Z"),
                                        seen("latest", "2024-02-01T03:00:00+03:00", 1)]),
    ("total", 0.3, [seen("total", 0.1), seen("total", 0.2, -1), seen("total", "7", -2)]),
    ("total", 3, [seen("total", 4), seen("total", -1, -1)]),
    ("total", "x", [seen("total", "x")]),
    ("words", ["a", "b"], [seen("words", "b", -2), seen("words", "a", -1), seen("words", "b", -3)]),
    ("lists", ["x", 1, {"k": 1, "l": 2}], [seen("lists", ["x", {"l": 2, "k": 1}], -2),
                                           seen("lists", [1, {"k": 1, "l": 2}], -1)]),
    ("while", "a", [seen("while", "a", -10), seen("while", "b", -11)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "given"), SAID, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(SAID)]
)
def test_a_rule_says(name: str, value: Any, given: list[Observation]) -> None:
    assert value_of(given, name) == value
    assert value_of(given[::-1], name) == value


def test_what_one_event_says_twice_has_one_answer() -> None:
    given = [seen("recent", word, event=9) for word in ("a", "b", "c")]
    assert len({value_of(given[turn:] + given[:turn], "recent") for turn in range(3)}) == 1


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param([], "new", id="nothing said"),
        pytest.param([(True, -4, SERVER, 1)], "old", id="the older one, before the newer was said"),
        pytest.param([(True, -6, SERVER, 1)], "new", id="before either was said"),
        pytest.param([(True, -4, IMPORT, 1)], "new", id="by another source"),
        pytest.param([(True, -4, SERVER, 2)], "old", id="of another identity of the person"),
        pytest.param([(True, -4, SERVER, 1), (True, -1, SERVER, 1)], "new", id="both: the newer"),
        pytest.param([(True, -4, SERVER, 1), (False, -3, SERVER, 1)], "new", id="taken back"),
        pytest.param([(True, -4, SERVER, 1), (False, -1, SERVER, 1)], "old", id="said of the newer one"),
    ],
)
def test_validated_stands_over_newer(flags: list[tuple[bool, int, int, int]], expected: str) -> None:
    given = [seen("address", "old", -5), seen("address", "new", -2)]
    given += [seen("verified", said, day, source, identity=about) for said, day, source, about in flags]
    assert value_of(given, "address") == expected
    assert value_of(given[::-1], "address") == expected


def test_one_event_validates_what_it_says() -> None:
    old = [seen("address", "old", -5, event=5), seen("verified", True, -5, event=5)]
    assert value_of([*old, seen("address", "new", -2)], "address") == "old"


def test_what_expired_is_as_if_never_said() -> None:
    given = [seen("while", "a", at=TODAY - 10 * DAY - 1), seen("while", "b", at=TODAY - 10 * DAY)]
    assert fold(given[:1], FIELDS, TRUST, NOW) == {}
    assert value_of(given, "while", TODAY + DAY - 1) == "b"
    assert fold(given, FIELDS, TRUST, TODAY + DAY) == {}
    late = seen("while", "late", -1)  # an observation that comes in late counts by its own time
    assert value_of([*given, late], "while", TODAY + DAY) == "late"


observed = st.lists(
    st.builds(
        seen,
        st.sampled_from([*FIELDS.traits, "unknown"]),
        st.sampled_from(["a", "b", 1, 2.5, True, "2024-01-01", ["a", 1], ["a"]]),
        st.integers(-12, 0),
        st.sampled_from([SERVER, IMPORT, BROWSER]),
        identity=st.integers(1, 2),
        event=st.integers(0, 3),
    ),
    max_size=12,
)


@given(observed.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_the_fold_is_of_the_set_alone(two: tuple[list[Observation], list[Observation]]) -> None:
    assert fold(two[0], FIELDS, TRUST, NOW) == fold(two[1], FIELDS, TRUST, NOW)
    assert attest(two[0], FIELDS, TRUST, NAMES, NOW) == attest(two[1], FIELDS, TRUST, NAMES, NOW)


@given(observed)
def test_every_survivor_was_observed_and_names_its_source(rows: list[Observation]) -> None:
    for name, survivor in attest(rows, FIELDS, TRUST, NAMES, NOW).get(7, {}).items():
        made = survivor.rule in {"sum", "union"}
        alike = [one for one in rows if (made and one.name == name) or one == survivor.observation]
        assert survivor.observation._replace(value=None) in [one._replace(value=None) for one in alike]
        assert survivor.source == NAMES[survivor.observation.source_id]
        assert survivor.sources == len(survivor.words) == len({source for source, _ in survivor.words})


def test_sources_that_differ_are_told_and_sealed_ones_are_not_compared() -> None:
    rows = [
        seen("recent", "a", -3),
        seen("recent", "b", -2),
        seen("recent", "b", -1, IMPORT),
        seen("frequent", "a", -3),
        seen("frequent", "b", -2, IMPORT),
        seen("words", "a", -3),
        seen("words", "b", -2, IMPORT),
        seen("hidden", "a", -3),
        seen("hidden", "a", -2, IMPORT),
        seen("least", 1, -3),
        seen("least", 1.0, -2, BROWSER),
        seen("trusted", "a", -1),
    ]
    found = attest(rows, FIELDS, TRUST, NAMES, NOW)[7]
    assert {name: one.conflict for name, one in found.items()} == {
        "frequent": True,
        "hidden": None,
        "least": False,
        "recent": False,
        "trusted": False,
        "words": False,
    }
    assert found["hidden"].sources == 2
