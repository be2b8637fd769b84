"""A delivery sealed for its way through a stream, and opened again.

All of it is sealed, under the bucket key of the hour (``intake/2026-03-01T12``), and bound to the number
under which the stream knows it: one that is altered, or that somebody sends on under another number, does not
open. What travels is the ``Delivery`` as it is, so that its nonces, its source as it was at receipt and the
time of receipt are those of the process that took the call.
"""

from __future__ import annotations

import msgspec

from cdp.clock import Clock, Micros, rfc3339
from cdp.crypto import Dek, Keyring, Place, open_sealed, seal
from cdp.errors import KeyAccessError, SealError
from cdp.ingest import Delivery
from cdp.intake.model import Carried

KIND = "intake"
_AHEAD: Micros = 3_600_000_000  # how far the clock of another process may be before ours
_KEPT = 4  # keys of hours in memory


class _Inside(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed.

    :param context: JSON of the batch's context, which may hold numbers that MessagePack cannot.
    """

    delivery: Delivery
    context: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Inside).decode


def bucket_of(at: Micros) -> str:
    """Return the bucket of what is sealed at an instant."""
    return f"{KIND}/{rfc3339(at)[:13]}"


class Envelopes:
    """Seals and opens."""

    def __init__(self, keyring: Keyring, clock: Clock) -> None:
        self._keyring = keyring
        self._clock = clock
        self._prefix = Place(keyring.workspace, KIND, "sealed").prefix()
        self._keys: dict[str, Dek] = {}

    def seal(self, delivery: Delivery) -> Carried:
        """Seal a delivery of at least one message under the key of this hour.

        :raises UnavailableError: there is no key to be had.
        """
        number, at = delivery.each()[0].nonce, self._clock.now()
        inside = _Inside(
            msgspec.structs.replace(delivery, context=None), msgspec.json.encode(delivery.context)
        )
        sealed = seal(self._key(bucket_of(at)), self._prefix, number.to_bytes(8), 0, _encode(inside))
        return Carried(number, at, sealed)

    def open(self, carried: Carried) -> Delivery:
        """Return what was sealed.

        :raises SealError: it was altered, or its key is gone for good.
        :raises UnavailableError: its key cannot be had now.
        """
        if not 0 < carried.at <= self._clock.now() + _AHEAD:
            raise SealError("it says to be sealed at no time that can be")
        name = bucket_of(carried.at)
        try:
            key = self._key(name)
        except KeyAccessError:
            if name < self._keyring.oldest(KIND) or self._keyring.destroyed_buckets([name]):
                raise SealError("the key of its hour was destroyed") from None
            raise
        plain = open_sealed(key, self._prefix, carried.number.to_bytes(8), 0, carried.sealed)
        try:
            inside = _decode(plain)
            return msgspec.structs.replace(inside.delivery, context=msgspec.json.decode(inside.context))
        except msgspec.MsgspecError:
            raise SealError("it was sealed by a version that this one does not understand") from None

    def _key(self, name: str) -> Dek:
        found = self._keys.get(name)
        if found is None:
            found = self._keyring.bucket(name)
            self._keys = {**dict(list(self._keys.items())[1 - _KEPT :]), name: found}
        return found
