"""What whoever is no officer sees of an export's numbers tells nothing about one person."""

from __future__ import annotations

from pyroaring import BitMap

from cdp.gate.counts import OTHER, exact, noisy
from cdp.gate.model import Counts

EVERYBODY = BitMap(range(1000))


def shown(withheld: dict[str, BitMap], *, secret: int = 0, question: str = "q") -> Counts:
    gone = BitMap.union(BitMap(), *withheld.values())
    return noisy(EVERYBODY, EVERYBODY - gone, withheld, secret.to_bytes(32), question)


def test_that_something_is_withheld_does_not_show() -> None:
    """``other`` stands there with nobody in it, too, and as often with the same number."""
    nobody = [shown({}, secret=n).withheld for n in range(500)]
    somebody = [shown({"objected": BitMap([7])}, secret=n).withheld for n in range(500)]
    assert all(set(one) == {OTHER} for one in nobody + somebody)
    zeros = [sum(one[OTHER] == 0 for one in some) for some in (nobody, somebody)]
    assert abs(zeros[0] - zeros[1]) < 75


def test_whether_a_reason_is_named_hardly_depends_on_the_tenth_person() -> None:
    for count in (9, 10):
        people = {"objected": BitMap(range(count))}
        assert sum("objected" in shown(people, secret=n).withheld for n in range(500)) < 50
    many = {"objected": BitMap(range(200))}
    assert all("objected" in shown(many, secret=n).withheld for n in range(500))


def test_equal_sets_do_not_show_as_equal_numbers() -> None:
    """With nobody withheld, members and released are the same people."""
    pairs = [shown({}, secret=n) for n in range(200)]
    assert sum(one.members == one.released for one in pairs) < 60


def test_the_same_export_asked_again_shows_the_same_and_another_does_not() -> None:
    assert shown({}) == shown({})
    answers = {shown({}, question=f"segment {n}").members for n in range(50)}
    assert len(answers) > 4


def test_exact_counts_add_up_and_leave_out_what_is_empty() -> None:
    gone = {"objected": BitMap([1, 2]), "restricted": BitMap()}
    found = exact(EVERYBODY, EVERYBODY - gone["objected"], gone)
    assert (found.members, found.released, found.withheld) == (1000, 998, {"objected": 2})
