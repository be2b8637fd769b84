"""Loads the part that speaks to NATS, which is an extra, where it is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdp.errors import MissingExtraError
from cdp.intake.address import Address

if TYPE_CHECKING:
    from cdp.intake.jetstream import JetStream


def open_stream(address: Address) -> JetStream:
    """Return the stream at an address; it is connected to when it is first needed.

    :raises MissingExtraError: its library is not installed.
    """
    try:
        from cdp.intake.jetstream import JetStream  # noqa: PLC0415  # an extra, needed only when chosen
    except ModuleNotFoundError as error:
        raise MissingExtraError("nats", "an intake through NATS JetStream") from error
    return JetStream(address)
