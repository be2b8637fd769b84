"""The threads behind the API: the batching writer, and the clockwork."""

from cdp.worker.answering import Answering
from cdp.worker.clockwork import Beside, Periodic, Worker
from cdp.worker.preparing import Preparing
from cdp.worker.rates import Rates
from cdp.worker.room import Room
from cdp.worker.writer import Writer

__all__ = [
    "Answering", "Beside", "Periodic", "Preparing", "Rates", "Room", "Worker", "Writer",
]  # fmt: skip
