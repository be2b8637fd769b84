"""An attack on the counts: somebody who knows everything but one thing about one person wants to know that.

The attacker knows who is in every set that is asked about, but whether the target is; has a marketer's budget
of one day; and knows how the noise is made, all but its secret. The advantage is how much more often "she is
in" is said when she is than when she is not: 1 is certainty, 0 is a coin.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from itertools import count, islice

import pytest
from pyroaring import BitMap

from cdp.segments import PER_DAY, noised

TARGET = 0
TRIALS = 300
BOUND = 0.32  # √60/15 standard deviations give 0.20; on top, three standard errors of so many trials
SCALE = 15.0
Question = tuple[str, BitMap, bool]
"""Its text, who is known to be in the answer, and whether the target belongs there if she is in."""
Ask = Callable[[random.Random], Iterator[Question]]
Show = Callable[[BitMap, bytes, str], int]
Answer = tuple[Question, int]


CROWDS = [BitMap(range(1 + place, 90, 1 + place % 4)) for place in range(40)]


def crowd(draw: random.Random) -> BitMap:
    return draw.choice(CROWDS)


def pairs(draw: random.Random) -> Iterator[Question]:
    """A, and A without her: the difference is she."""
    for number in count():
        known = crowd(draw)
        yield f"A{number}", known, True
        yield f"A{number} and not (born 1815-12-10 in London)", known, False


def unions(draw: random.Random) -> Iterator[Question]:
    """Other sets each time, all of which hold her if she is in."""
    yield from ((f"A or B{number}", crowd(draw), True) for number in count())


def repeated(draw: random.Random) -> Iterator[Question]:
    """The same again and again."""
    known = crowd(draw)
    yield from (("A", known, True) for _ in count())


def reworded(draw: random.Random) -> Iterator[Question]:
    """The same set in other words each time, to average its noise away."""
    known = crowd(draw)
    yield from ((f"A and amount < {number}e9", known, True) for number in count(1))


ATTACKS = pytest.mark.parametrize("ask", [pairs, unions, repeated, reworded])


def by_odds(answers: list[Answer]) -> bool:
    """Weigh each answer by its odds under either truth: nothing does better against independent noise."""
    weight = 0.0
    for (_, known, hers), shown in {question[0]: (question, shown) for question, shown in answers}.values():
        weight += math.log(chance(shown, len(known) + hers) / chance(shown, len(known)))
    return weight > 0


def chance(shown: int, size: int) -> float:
    """The probability of an answer when the set has ``size`` members."""
    return below(shown + 5 - size) - (below(shown - 5 - size) if shown else 0.0)


def below(shift: int) -> float:
    """The probability of noise below ``shift``."""
    step = math.exp(-1 / SCALE)
    return step ** (1 - shift) / (1 + step) if shift <= 0 else 1 - step**shift / (1 + step)


def by_size(answers: list[Answer]) -> bool:
    """Believe the numbers as they stand."""
    return sum(shown - len(known) for (_, known, hers), shown in answers if hers) > 0


def by_equality(answers: list[Answer]) -> bool:
    """Where A and A without her are shown as the same number again and again, they are the same people."""
    shown = [number for _, number in answers]
    return sum(a == b for a, b in zip(shown[::2], shown[1::2], strict=True)) < len(answers) / 4


def advantage(ask: Ask, conclude: Callable[[list[Answer]], bool], show: Show) -> float:
    draw = random.Random(1815)  # noqa: S311  # the same attack each time

    def concludes(*, inside: bool) -> bool:
        secret = draw.randbytes(32)
        asked = list(islice(ask(draw), PER_DAY))
        truth = BitMap([TARGET]) if inside else BitMap()
        return conclude(
            [
                ((text, known, hers), show(known | truth if hers else known, secret, text))
                for text, known, hers in asked
            ]
        )

    right = sum(concludes(inside=True) for _ in range(TRIALS))
    wrong = sum(concludes(inside=False) for _ in range(TRIALS))
    return (right - wrong) / TRIALS


@ATTACKS
@pytest.mark.parametrize("conclude", [by_odds, by_size, by_equality])
def test_a_days_budget_does_not_tell_whether_somebody_is_in(
    ask: Ask, conclude: Callable[[list[Answer]], bool]
) -> None:
    assert abs(advantage(ask, conclude, noised)) < BOUND


@ATTACKS
def test_without_noise_the_same_attack_succeeds(ask: Ask) -> None:
    assert advantage(ask, by_size, lambda members, _secret, _question: len(members)) == 1


def test_rounding_alone_does_not_help() -> None:
    def rounded(members: BitMap, _secret: bytes, _question: str) -> int:
        return 10 * math.floor(len(members) / 10 + 0.5)

    assert advantage(pairs, lambda answers: not equal(answers), rounded) > 0.9


def equal(answers: list[Answer]) -> bool:
    """Tell whether every pair is shown as the same number."""
    shown = [number for _, number in answers]
    return shown[::2] == shown[1::2]


def test_noise_that_follows_from_the_set_alone_would_tell_that_two_sets_are_equal() -> None:
    def by_set_alone(members: BitMap, secret: bytes, _question: str) -> int:
        return noised(members, secret, "")

    assert advantage(pairs, by_equality, by_set_alone) > 0.9


def test_without_a_budget_the_attack_would_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PER_DAY", 20 * PER_DAY)
    monkeypatch.setitem(globals(), "TRIALS", 20)
    assert advantage(reworded, by_odds, noised) > 0.6
