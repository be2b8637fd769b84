"""Which lane of a stream a delivery takes: a glance at its messages, which decides nothing else.

1. What says to restrain somebody goes first, in a lane of its own, so that it never waits behind a backlog. A
   batch is cut in two for it at most.
2. The rest stays together, in the partition of whom its first message names: what a browser sends of one
   person goes to one partition, and a batch of many people to some.

The pipeline judges every message itself: whatever is taken wrongly here is only early or late.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from cdp.consent import RESTRAINING, Listener
from cdp.ingest import Delivery
from cdp.intake.model import PARTITIONS, URGENT
from cdp.policy import Bundle


class _Glance(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What is looked at of a message; all of it may be of any type."""

    type: Any = None
    event: Any = None
    name: Any = None
    context: Any = None
    user_id: Any = None
    anonymous_id: Any = None


_NOTHING = _Glance()
_decode = msgspec.json.Decoder(_Glance).decode


class Sorter:
    """Sorts deliveries into lanes.

    :param key: 32 bytes; what tells partitions apart is keyed, so that they tell nobody who is in them.
    """

    def __init__(self, bundle: Bundle, key: bytes) -> None:
        self._key = key
        self.adopt(bundle)

    def adopt(self, bundle: Bundle) -> None:
        """Listen for what these policies take for a word on consent."""
        self._listen = Listener(bundle.signals)

    def __call__(self, delivery: Delivery) -> list[tuple[str, Delivery]]:
        """Return (lane, delivery or a part of it), the urgent one first."""
        seen = [_glance(raw) for raw in delivery.messages]
        urgent = [place for place, one in enumerate(seen) if self._restrains(one, delivery)]
        if len(urgent) == len(seen):
            return [(URGENT, delivery)]
        if not urgent:
            return [(self._partition(seen[0]), delivery)]
        others = sorted(set(range(len(seen))).difference(urgent))
        rest = delivery.part(others)
        return [(URGENT, delivery.part(urgent)), (self._partition(seen[others[0]]), rest)]

    def _restrains(self, seen: _Glance, delivery: Delivery) -> bool:
        told = delivery.statements
        if told:
            return any(said.state in RESTRAINING for said in told)
        context = {**_held(delivery.context), **_held(seen.context)}
        gpc = delivery.sec_gpc and delivery.source.kind == "browser"
        if not (context or gpc or seen.event):
            return False
        kind = delivery.type or seen.type
        try:
            heard = self._listen(
                kind if isinstance(kind, str) else "track",
                seen.event if isinstance(seen.event, str) else "",
                context,
                delivery.received_at,
                received_at=delivery.received_at,
                sec_gpc=gpc,
            )
        except Exception:  # noqa: BLE001  # the pipeline says what is wrong with it
            return False
        return any(said.state in RESTRAINING for said in heard.statements)

    def _partition(self, seen: _Glance) -> str:
        whom = f"{seen.anonymous_id or seen.user_id}".encode(errors="replace")
        digest = hashlib.blake2b(whom, key=self._key, digest_size=2, person=b"cdp/lanes").digest()
        return PARTITIONS[int.from_bytes(digest) % len(PARTITIONS)]


def _glance(raw: bytes) -> _Glance:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NOTHING


def _held(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
