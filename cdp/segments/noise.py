"""noise: the count that a marketer sees (privacy.md, "Counts"). Pure.

Invariants: the same set always gives the same noise (sticky), so asking again averages nothing away; a
set that differs in one person gives independent noise, so comparing two counts does not single that person
out; the result is a multiple of 10 and never negative. What this resists is bounded by the number of
counts that a key may ask for.
"""

from __future__ import annotations

import hashlib
import hmac
import math

from pyroaring import BitMap

_STEP = 10
_SCALE = 5.0  # of the two-sided geometric noise: one person more or less shifts its odds by e^(1/5)


def noised(members: BitMap, secret: bytes) -> int:
    """Return the size of ``members`` with sticky two-sided geometric noise, rounded to 10.

    :param secret: at least 16 random bytes of this workspace, kept from whoever sees the counts.
    :raises ValueError: the secret is too short.
    """
    if len(secret) < 16:
        raise ValueError("the secret needs at least 16 bytes")
    numbers = members.to_array()
    drawn = hmac.new(secret, b"cdp/count/v1" + numbers.tobytes(), hashlib.sha256).digest()
    shift = _geometric(drawn[:8]) - _geometric(drawn[8:16])
    return max(0, _STEP * math.floor((len(members) + shift) / _STEP + 0.5))


def _geometric(drawn: bytes) -> int:
    """Return a geometric number of failures (success 1 − e^(−1/scale)) from 64 uniform bits."""
    uniform = (int.from_bytes(drawn) + 1) / (1 << 64)
    return math.floor(-_SCALE * math.log(uniform))
