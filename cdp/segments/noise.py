"""noise: the count that somebody sees who may not know it exactly (privacy.md, "Counts"). Pure.

Invariants:

1. The noise follows from the *question* and from the set that answers it, so asking again while nobody has
   come or gone averages nothing away.
2. Any other question, and any other set, gets independent noise. Were it the set alone, two questions with
   equal answers ("A" and "A without her") would show that their sets are equal, and that she is not in A.
3. The result is a multiple of 10 and never negative; 0 stands for fewer than 10.

What this resists is bounded by the number of questions (``counting.py``): one person more or less shifts
the odds of each answer by e^(1/15) at most, so that ``n`` answers about one person tell no more than √n/15
standard deviations would: with 60 of them a guess is right in about 60 of 100 cases.
"""

from __future__ import annotations

import hashlib
import hmac
import math

from pyroaring import BitMap

_STEP = 10
_SCALE = 15.0  # of the two-sided geometric noise; its standard deviation is √2 times that


def fingerprint(members: BitMap, secret: bytes, question: str) -> bytes:
    """Return 32 bytes that stand for a question with its answer.

    :param secret: at least 16 random bytes of this workspace, kept from whoever sees the counts.
    :param question: what was asked, in a form in which the same question is the same text.
    :raises ValueError: the secret is too short.
    """
    if len(secret) < 16:
        raise ValueError("the secret needs at least 16 bytes")
    asked = question.encode()
    drawn = hmac.new(secret, b"cdp/count/v2" + len(asked).to_bytes(8) + asked, hashlib.sha256)
    drawn.update(members.to_array().tobytes())
    return drawn.digest()


def noised(members: BitMap, secret: bytes, question: str) -> int:
    """Return the size of ``members`` with sticky two-sided geometric noise, rounded to 10.

    The parameters are those of ``fingerprint``.
    """
    return shifted(len(members), fingerprint(members, secret, question))


def shifted(size: int, drawn: bytes) -> int:
    """Return a size with the noise that a fingerprint stands for."""
    shift = _geometric(drawn[:8]) - _geometric(drawn[8:16])
    return max(0, _STEP * math.floor((size + shift) / _STEP + 0.5))


def _geometric(drawn: bytes) -> int:
    """Return a geometric number of failures (success 1 − e^(−1/scale)) from 64 uniform bits."""
    uniform = (int.from_bytes(drawn) + 1) / (1 << 64)
    return math.floor(-_SCALE * math.log(uniform))
