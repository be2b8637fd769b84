"""How deliveries come to the pipeline: directly, or sealed through a stream (``docs/intake.md``).

``Direct`` hands them to the writer of this process. ``StreamIntake`` seals and publishes them, and the
``Consumer`` of a ``cdp worker`` hands them to its writer. What speaks to NATS is loaded by ``open_stream``.
"""

from cdp.intake.address import Address, read_address
from cdp.intake.consume import Consumer
from cdp.intake.envelope import Envelopes
from cdp.intake.lanes import Sorter
from cdp.intake.model import LANES, Backlog, Carried, Direct, Intake
from cdp.intake.open import open_stream
from cdp.intake.stream import StreamIntake

__all__ = [
    "LANES",
    "Address",
    "Backlog",
    "Carried",
    "Consumer",
    "Direct",
    "Envelopes",
    "Intake",
    "Sorter",
    "StreamIntake",
    "open_stream",
    "read_address",
]
