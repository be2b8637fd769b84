"""asked: what a process that stores events asks of one that prepares them for it, and what that answers.

An answer under other policies than those asked for is none: whoever asked prepares that delivery itself.
"""

from __future__ import annotations

import msgspec

from cdp.ingest.apart.counted import Grown
from cdp.ingest.apart.packed import Packed
from cdp.ingest.model import Delivery


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A delivery to prepare, or what was counted since it was asked for last.

    :param policies: the SHA-256 of the bundle to judge by.
    :param plans: how many versions of tracking plans there are at least.
    :param epoch: of erasures: where it has moved, values held in memory are dropped.
    """

    policies: str
    plans: int
    epoch: int
    delivery: Delivery | None


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What was asked for; neither where it could not be done."""

    packed: Packed | None = None
    grown: Grown | None = None


_encode = msgspec.msgpack.Encoder().encode
_ask, _answer = msgspec.msgpack.Decoder(Ask), msgspec.msgpack.Decoder(Answer)


def write(message: Ask | Answer) -> bytes:
    """Return either as bytes."""
    return _encode(message)


def read_ask(frame: bytes) -> Ask:
    """Return what is asked."""
    return _ask.decode(frame)


def read_answer(frame: bytes) -> Answer:
    """Return what was answered."""
    return _answer.decode(frame)
