"""Computed tags: what they say, of whom segments find it, and what is refused, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from generated import FIELDS
from jsonschema import Draft202012Validator
from population import NOW, index_of
from rig import Rig, exact

from cdp.clock import DAY
from cdp.errors import ConflictError, DefinitionError, NotFoundError
from cdp.policy import load
from cdp.segments import Tag, parse
from cdp.segments.definition import ListOf, SegmentOf, TagOf, leaves
from cdp.segments.tags.parse import parse_tag
from cdp.segments.tags.schema import schema

ROOT = Path(__file__).parents[2]
STAGE: dict[str, Any] = {
    "kind": "customer",
    "cases": [
        {"value": "new", "where": {"not": {"event": "A"}}},
        {"value": "older", "where": {"not": {"event": "A", "within": "10d"}}},
    ],
    "otherwise": "old",
}
SCORE = {"kind": "customer", "score": {"event": "A", "count": {}}, "into": 2}
TAGGED = {"tag": "stage", "op": "in", "value": ["new", "older"]}


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path / "warehouse")
    with made.people.committer.batch() as batch:
        made.people.link(batch, [1], [2], [3, 30])
        made.people.event(batch, 2, "A", {"revenue": 10, "sku": "x"}, at=NOW - 20 * DAY)
        made.people.event(batch, 3, "A", {"revenue": 30, "sku": "x"}, at=NOW - 20 * DAY)
        made.people.event(batch, 30, "A", {"revenue": 5, "sku": "y"}, at=NOW - 2 * DAY)
    made.mirror.refresh()
    yield made
    made.close()


def apply(rig: Rig, name: str, tag: dict[str, Any]) -> Tag:
    return rig.segments.tags.apply("ann", {"name": name, **tag})


def found(rig: Rig, where: Any) -> set[int]:
    return set(rig.segments.preview({"where": where}).members)


def crowd(rig: Rig, people: int) -> None:
    """Let there be ``people`` more, of whom the n-th did A n times."""
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, *([100 + number] for number in range(people)))
        for number in range(people):
            for time in range(number + 1):
                rig.people.event(batch, 100 + number, "A", at=NOW - time - 1)
    rig.mirror.refresh()


def test_the_first_case_that_holds_says_it(rig: Rig) -> None:
    apply(rig, "stage", STAGE)
    assert rig.values([1, 2, 3]) == {1: {"stage": "new"}, 2: {"stage": "older"}, 3: {"stage": "old"}}
    assert found(rig, TAGGED) == {1, 2}
    assert found(rig, {"tag": "stage", "op": "ne", "value": "new"}) == {2, 3}
    assert found(rig, {"tag": "stage", "op": "starts_with", "value": "old"}) == {2, 3}
    assert found(rig, {"tag": "stage", "op": "exists"}) == {1, 2, 3}
    assert found(rig, {"tag": "stage", "op": "exists", "value": False}) == set()
    without = {key: value for key, value in STAGE.items() if key != "otherwise"}
    assert apply(rig, "stage", without).version == 2
    assert found(rig, {"tag": "stage", "op": "exists", "value": False}) == {3}
    assert 3 not in rig.values([1, 2, 3])


def test_amounts_ratios_and_what_is_most_frequent(rig: Rig) -> None:
    apply(rig, "spent", {"kind": "behaviour", "amount": {"event": "A", "sum": {"property": "revenue"}}})
    apply(
        rig, "stage", {"kind": "preference", "amount": {"event": "A", "most_frequent": {"property": "sku"}}}
    )
    late = {"event": "A", "where": [{"property": "event.age", "op": "lt", "value": 10}]}
    apply(rig, "share", {"kind": "behaviour", "ratio": {"of": late, "to": {"event": "A"}}})
    assert rig.values([1, 2, 3]) == {
        2: {"spent": 10.0, "stage": "x", "share": 0.0},
        3: {"spent": 35.0, "stage": "y", "share": 0.5},
    }
    assert found(rig, {"tag": "spent", "op": "between", "value": [20, 40]}) == {3}
    assert found(rig, {"tag": "share", "op": "gt", "value": 0}) == {3}
    assert found(rig, {"tag": "stage", "op": "in", "value": ["x", "z"]}) == {2}


def test_thresholds_are_kept_until_the_next_rebuild(rig: Rig) -> None:
    crowd(rig, 30)
    rig.restrained = {129}
    made = apply(rig, "score", SCORE)
    assert made.thresholds is not None
    assert (made.thresholds.people, made.thresholds.values) == (31, (14.0,))  # 1, 2, 1 … 29 times
    assert found(rig, {"tag": "score", "op": "eq", "value": 2}) == set(range(114, 129))
    assert found(rig, {"tag": "score", "op": "exists", "value": False}) == {1}
    with rig.people.committer.batch() as batch:
        for _ in range(20):
            for number in range(100, 125):
                rig.people.event(batch, number, "A", at=NOW - 1)
    rig.mirror.refresh()
    assert found(rig, {"tag": "score", "op": "eq", "value": 1}) == {2, 3}
    before = rig.segments.tags.get("score").thresholds
    again = rig.segments.tags.rebuild("ann", "score")
    assert again.thresholds is not None
    assert (again.version, before, again.thresholds.values) == (1, made.thresholds, (30.0,))
    assert 100 in found(rig, {"tag": "score", "op": "eq", "value": 1})
    assert apply(rig, "score", SCORE).thresholds == again.thresholds  # nothing changed, nothing found anew


def test_few_people_have_no_thresholds(rig: Rig) -> None:
    with pytest.raises(DefinitionError, match="needs 20 people"):
        apply(rig, "score", SCORE)
    apply(
        rig,
        "score",
        {"kind": "customer", "score": {"event": "A", "count": {}}, "thresholds": [1], "best": "low"},
    )
    assert rig.values([1, 2, 3]) == {2: {"score": 2}, 3: {"score": 1}}


def test_followed_segments_follow_their_tags(rig: Rig) -> None:
    apply(rig, "stage", STAGE)
    rig.segments.apply("ann", {"name": "some", "where": TAGGED})
    rig.follow()
    assert set(rig.stored("some")) == {1, 2}
    with rig.people.committer.batch() as batch:
        rig.people.event(batch, 2, "A", at=NOW)
    rig.follow()
    assert set(rig.stored("some")) == {1}
    apply(rig, "stage", {**STAGE, "cases": STAGE["cases"][:1], "otherwise": "older"})
    rig.follow()
    assert set(rig.stored("some")) == {1, 2, 3}


def test_a_group_is_pictured_by_its_tags(rig: Rig) -> None:
    crowd(rig, 30)
    apply(rig, "stage", {**STAGE, "cases": STAGE["cases"][:1]})
    apply(rig, "score", SCORE)
    apply(rig, "spent", {"kind": "behaviour", "amount": {"event": "A", "sum": {"property": "revenue"}}})
    apply(rig, "share", {"kind": "event", "amount": {"event": "A", "max": {"property": "event.time"}}})
    rig.segments.apply("ann", {"name": "busy", "where": {"event": "A", "count": {"gte": 20}}})
    found = rig.segments.explore.portrait("busy").shown(exact, exact=True)
    told = {one["name"]: one for one in found["attributes"] if one["kind"] == "tag"}
    assert [(v["value"], v["count"], v["everyone"]) for v in told["stage"]["values"]] == [
        ("new", 0, 1),
        ("old", 11, 32),
    ]
    assert [(v["value"], v["count"], v["everyone"]) for v in told["score"]["values"]] == [
        (1, 0, 16),
        (2, 11, 16),
    ]
    assert (told["score"]["none"]["everyone"], told["spent"]["none"]["count"]) == (1, 11)
    assert sum(v["everyone"] for v in told["spent"]["values"]) == 2
    assert [(v["year"], v["everyone"]) for v in told["share"]["values"]] == [(2024, 32)]
    only = rig.segments.explore.portrait("busy", [], ["stage"]).shown(exact, exact=True)
    assert [one["name"] for one in only["attributes"]] == ["stage"]
    with pytest.raises(NotFoundError, match="did you mean stage"):
        rig.segments.explore.portrait("busy", [], ["stag"])
    rig.segments.lists.put("ann", "staff", "grey", [(index_of(1),)])
    apply(rig, "stage", {"kind": "customer", "cases": [{"value": "x", "where": {"list": "staff"}}]})
    assert "stage" in rig.segments.explore.portrait("busy").left_out


def test_what_is_restrained_is_not_concluded_about(rig: Rig) -> None:
    apply(rig, "stage", STAGE)
    rig.restrained = {3}
    assert set(rig.values([1, 2, 3])) == {1, 2}


def test_lists_and_segments_in_cases(rig: Rig) -> None:
    rig.segments.lists.put("ann", "staff", "grey", [(index_of(30),)])
    rig.segments.apply("ann", {"name": "doers", "where": {"event": "A"}})
    cases = [{"value": "new", "where": {"list": "staff"}}, {"value": "old", "where": {"segment": "doers"}}]
    apply(rig, "stage", {"kind": "customer", "cases": cases})
    assert rig.values([1, 2, 3]) == {2: {"stage": "old"}, 3: {"stage": "new"}}


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        ({"tag": "stag", "op": "exists"}, "no tag stag .did you mean stage"),
        ({"tag": "stage", "op": "eq", "value": "nwe"}, "values new, older, old, .*did you mean new"),
        ({"tag": "stage", "op": "gt", "value": 3}, "is a string, compared by one of"),
        ({"tag": "stage", "op": "in", "value": "new"}, "in takes a list"),
        ({"tag": "stage", "op": "eq", "value": ["new"]}, "eq takes one value"),
        ({"tag": "spent", "op": "eq", "value": "new"}, "spent cannot be compared so: .*a number"),
        ({"tag": "spent", "op": "between", "value": [3]}, "between takes a list of two"),
        ({"tag": "score", "op": "gte", "value": "x"}, "compared with a number"),
        ({"tag": "score", "op": "exists", "value": 1}, "exists takes true or false"),
    ],
)
def test_what_a_tag_cannot_answer_is_refused(rig: Rig, leaf: Any, said: str) -> None:
    apply(rig, "stage", STAGE)
    apply(rig, "spent", {"kind": "behaviour", "amount": {"event": "A", "sum": {"property": "revenue"}}})
    apply(rig, "score", {"kind": "customer", "score": {"event": "A"}, "thresholds": [1]})
    with pytest.raises(DefinitionError, match=said):
        found(rig, leaf)


def test_circles_through_tags_are_refused(rig: Rig) -> None:
    apply(rig, "stage", STAGE)
    rig.segments.apply("ann", {"name": "some", "where": TAGGED})
    round_about = {**STAGE, "cases": [{"value": "new", "where": {"segment": "some"}}]}
    with pytest.raises(DefinitionError, match="tag stage → some → tag stage"):
        apply(rig, "stage", round_about)
    with pytest.raises(DefinitionError, match="tag stage → tag stage"):
        apply(rig, "stage", {**STAGE, "cases": [{"value": "new", "where": TAGGED}]})


def test_a_segment_that_a_tag_uses_is_not_deleted(rig: Rig) -> None:
    rig.segments.apply("ann", {"name": "doers", "where": {"event": "A"}})
    apply(rig, "stage", {"kind": "customer", "cases": [{"value": "old", "where": {"segment": "doers"}}]})
    with pytest.raises(ConflictError, match="tag stage uses"):
        rig.segments.delete("ann", "doers")
    rig.segments.tags.delete("ann", "stage")
    rig.segments.delete("ann", "doers")


def test_what_is_used_is_not_deleted(rig: Rig) -> None:
    apply(rig, "stage", STAGE)
    rig.segments.apply("ann", {"name": "some", "where": {"not": TAGGED}})
    apply(rig, "score", {"kind": "customer", "cases": [{"value": "a", "where": TAGGED}]})
    tags = rig.segments.tags
    with pytest.raises(ConflictError, match="segment some uses"):
        tags.delete("ann", "stage")
    rig.segments.delete("ann", "some")
    with pytest.raises(ConflictError, match="tag score uses"):
        tags.delete("ann", "stage")
    tags.delete("ann", "score")
    tags.delete("ann", "stage")
    assert tags.all() == ()
    for gone in (tags.get, lambda name: tags.delete("ann", name), lambda name: tags.rebuild("ann", name)):
        with pytest.raises(NotFoundError):
            gone("stage")
    assert apply(rig, "stage", STAGE).version == 3


def test_the_policies_say_what_a_tag_tells(rig: Rig) -> None:
    with pytest.raises(DefinitionError, match="what the tag unheard tells is not declared"):
        apply(rig, "unheard", STAGE)
    apply(rig, "stage", STAGE)
    rig.segments.apply("ann", {"name": "some", "where": {"not": TAGGED}})
    with rig.people.store.reading() as connection:
        assert "user.inferred.preference" in (rig.segments.read_by(connection, "some") or ())


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ({"kind": "mood", "cases": STAGE["cases"]}, "kind: a tag has a kind, one of: customer, event"),
        ({"kind": "customer"}, "one of the keys cases, amount, ratio, score"),
        ({**STAGE, "amount": {"event": "A"}}, "one of the keys"),
        ({**STAGE, "into": 3}, "a tag by cases has no key into"),
        ({"kind": "event", "cases": []}, "1 to 50 cases"),
        ({"kind": "event", "cases": [{"value": "a"}]}, r"cases\[0\]: a case needs the key where"),
        (
            {"kind": "event", "cases": [{"value": 5, "where": {"event": "A"}}]},
            r"cases\[0\].value: this is text",
        ),
        ({"kind": "event", "cases": [{"value": "a", "where": {"evnt": "A"}}]}, "did you mean event"),
        ({"kind": "event", "amount": {"event": "A", "count": {"gt": 1}}}, "count has no key gt"),
        ({"kind": "event", "amount": {"event": "A", "sum": {"property": "sku"}}}, "type number"),
        ({"kind": "event", "amount": {"event": "A", "sum": {"property": "event.age"}}}, "min or max"),
        ({"kind": "event", "ratio": {"of": {"event": "A"}}}, "needs the key to"),
        (
            {
                "kind": "event",
                "ratio": {"of": {"event": "A"}, "to": {"event": "A", "last": {"property": "sku"}}},
            },
            "number",
        ),
        ({"kind": "event", "score": {"event": "A"}}, "either into"),
        ({"kind": "event", "score": {"event": "A"}, "into": 1}, "2 to 100 classes"),
        ({"kind": "event", "score": {"event": "A"}, "into": True}, "2 to 100 classes"),
        ({"kind": "event", "score": {"event": "A"}, "thresholds": [2, 1]}, "ascend"),
        ({"kind": "event", "score": {"event": "A"}, "thresholds": ["x"]}, "number"),
        ({"kind": "event", "score": {"event": "A"}, "into": 3, "best": "middle"}, "high or low"),
        (
            {"kind": "event", "score": {"event": "A", "last": {"property": "sku"}}, "into": 3},
            "given to a number",
        ),
    ],
)
def test_wrong_tags_are_refused_with_their_place(tag: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        parse_tag({"name": "stage", **tag}, FIELDS)
    for text in ("name: stage\nkind: event\namount: {event: A, sum: {propert: revenue}}\n",):
        with pytest.raises(DefinitionError, match="line 3"):
            parse_tag(text, FIELDS)


def test_the_examples_hold_under_the_starter_policies() -> None:
    fields = load(ROOT / "policies").fields
    known = schema(fields)
    Draft202012Validator.check_schema(known)
    files = sorted((ROOT / "examples" / "tags").glob("*.yaml"))
    assert len(files) >= 13
    for file in files:
        tag = parse_tag(file.read_bytes(), fields)
        Draft202012Validator(known).validate(yaml.safe_load(file.read_text()))
        assert tag.name == file.stem
        assert fields.inferences[tag.name]
    for file in sorted((ROOT / "examples" / "segments").glob("*.yaml")):
        definition = parse(file.read_bytes(), fields)
        used = {leaf.name for leaf in leaves(definition.where) if isinstance(leaf, TagOf)}
        assert used <= {tag.stem for tag in files}
        assert definition.name == file.stem
        assert not any(isinstance(leaf, ListOf | SegmentOf) for leaf in leaves(definition.where))
    assert not Draft202012Validator(known).is_valid({"kind": "mood", "amount": {"event": "A"}})
