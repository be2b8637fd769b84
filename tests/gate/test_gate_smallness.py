"""What a key that sees no exact figures is answered about exports: no oracle about one person.

The attacker of these tests knows who is in a set but for one person, chooses its size as it likes, words the
question in as many ways as the budget allows, and knows how the noise is made, all but its secret.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from gate_world import EMAIL, World, running
from pyroaring import BitMap

from cdp.access import Principal
from cdp.errors import NotPermittedError
from cdp.export import ExportService
from cdp.gate.counts import MARGIN, exact, is_audience, noisy
from cdp.gate.model import DROP
from cdp.policy import Rule
from cdp.segments import PER_DAY

world_fixture = pytest.fixture(running, name="world")
LEAST = 3  # figures that an answer costs
ASKED = 1000
TRIALS = 200
MARKETER = Principal(
    key_id=7, name="m", roles=frozenset({"marketer"}), purposes=frozenset({EMAIL})
)  # fmt: skip


def allowed(people: BitMap, minimum: int, secret: bytes, question: str) -> bool:
    """What the gate answers a marketer."""
    return is_audience(
        exact(people, people, {}), minimum, noisy(people, people, {}, secret, question)
    )  # fmt: skip


def advantage(minimum: int, known: int, asked: int) -> float:
    """Return how much more often an answer is yes when she is in the set than when she is not.

    :param known: how many others are in the set; ``asked`` slightly different segments, of which the budget
        answers so many.
    """
    draw = random.Random(1815)  # noqa: S311  # the same attack each time
    others = BitMap(range(1, known + 1))

    def yes(people: BitMap) -> int:
        secret = draw.randbytes(32)
        return sum(allowed(people, minimum, secret, f"worded {number}") for number in range(asked))

    return sum(yes(others | BitMap([0])) - yes(others) for _ in range(TRIALS)) / TRIALS / asked


@pytest.mark.parametrize("minimum", [1, 100])
def test_a_thousand_segments_tell_nothing_of_one_person(minimum: int) -> None:
    """At any size of the set: at the minimum, where the exact count turns, and at the edge of the noise."""
    answered = min(ASKED, PER_DAY // LEAST)
    for known in (minimum - 1, minimum, minimum + MARGIN - 1, minimum + MARGIN):
        assert abs(advantage(minimum, known, answered)) < 0.05


@pytest.mark.parametrize("minimum", [1, 100])
def test_the_exact_count_alone_would_tell(minimum: int) -> None:
    def oracle(people: BitMap) -> bool:
        return is_audience(exact(people, people, {}), minimum, None)

    others = BitMap(range(1, minimum))
    assert (oracle(others | BitMap([0])), oracle(others)) == (True, False)


def test_fewer_than_the_minimum_never_leave_whatever_the_noise_says() -> None:
    people = BitMap(range(9))
    many = exact(BitMap(range(500)), BitMap(range(500)), {})
    assert not is_audience(exact(people, people, {}), 10, many)
    assert is_audience(many, 10, many)


def answered(world: World, principal: Principal, **more: Any) -> dict[str, Any]:
    """All that a dry run answers, but for the noised figures and the numbers of log and ledger."""
    exports = ExportService(world.gate)
    asked = {"segment": "everybody", "destination": "mailer", "purpose": EMAIL, **more}
    found = msgspec.structs.asdict(exports.request(principal, dry_run=True, **asked))
    for figure in ("members", "released", "audit_index", "as_of", "members_as_of", "created_at"):
        del found[figure]
    return {**found, "withheld": set(found["withheld"])}


@pytest.mark.parametrize("fields", [None, ["email"], ["email", "first_name", "country"]])
def test_a_dry_run_tells_nothing_of_the_one_person_in_the_segment(
    world: World, fields: list[str] | None
) -> None:
    """Nobody; somebody who refused; who consented; a minor: the same answer, the fields included.

    A destination's own key, too, sees what people got only where it may fetch them.
    """
    world.change_destination(minimum_audience=2)
    people = [
        world.person("Bea", consent="refused"),
        world.person("Cleo"),
        world.person("Dan", {"birth_date": "2015-05-05"}),
        world.person("Eve", consent=None),
    ]
    for principal in (MARKETER, world.mailer):
        said = []
        for chosen in ([], *([one] for one in people)):
            world.segments.members = BitMap(chosen)
            said.append(answered(world, principal, fields=fields))
        assert all(one == said[0] for one in said), said
        assert said[0]["status"] == "refused"
        assert "clear" in said[0]["fields"]["email"]


def test_nor_is_one_person_among_many_told_by_the_fields(world: World) -> None:
    """A limit in one jurisdiction gives one of 200 people less: officers see it, marketers what could be."""
    spared = Rule(
        id="spared",
        effect="limit",
        purpose=EMAIL,
        jurisdictions=frozenset({"UK"}),
        fields={"user.contact": DROP},
    )
    world.change(rules=(*world.bundle.rules, spared))
    for number in range(199):
        world.person(f"P{number}")
    last = world.person("Last", chosen=False)
    elsewhere = world.person("Eve", {"country": "United Kingdom"}, chosen=False)
    shown, exactly = [], []
    for more in ((), (last,), (elsewhere,)):
        world.segments.members |= BitMap(more)
        shown.append(answered(world, MARKETER, fields=["email"])["fields"])
        officers = ExportService(world.gate).request(
            world.officer,
            segment="everybody",
            destination="mailer",
            purpose=EMAIL,
            fields=["email"],
            dry_run=True,
        )
        exactly.append(officers.fields)
    assert exactly == [{"email": "clear"}, {"email": "clear"}, {"email": "clear|drop"}]
    assert shown == [{"email": "clear|drop"}] * 3


def test_one_refusal_for_every_cause_of_smallness(world: World) -> None:
    """Nobody in the segment, nobody permitted, some but few: one answer; officers count exactly."""
    said = set()
    for number, consent in enumerate((None, "refused", "granted", "granted")):
        if number:
            world.person(f"P{number}", consent=consent)  # type: ignore[arg-type]  # a state
        with pytest.raises(NotPermittedError) as caught:
            world.gate.authorise(world.request(principal=MARKETER))
        said.add(caught.value.message)
        rehearsed = world.gate.authorise(world.request(principal=MARKETER), dry_run=True)
        assert rehearsed.refusal == "minimum_audience"
    assert len(said) == 1
    assert world.gate.authorise(world.request()).counts.released == 2
