"""The threads behind the API: the batching writer, and the clockwork."""

from cdp.worker.clockwork import Beside, Periodic, Worker
from cdp.worker.rates import Rates
from cdp.worker.room import Room
from cdp.worker.writer import Writer

__all__ = ["Beside", "Periodic", "Rates", "Room", "Worker", "Writer"]
