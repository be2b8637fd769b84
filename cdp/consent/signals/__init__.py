"""Consent signals of the outside world: pure decoders, and ``Listener``, which hears all of them."""

from cdp.consent.signals.bits import MalformedSignalError
from cdp.consent.signals.gpp import Heard
from cdp.consent.signals.listen import Listener

__all__ = ["Heard", "Listener", "MalformedSignalError"]
