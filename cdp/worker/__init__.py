"""The threads behind the API: the batching writer, and the clockwork."""

from cdp.worker.clockwork import Beside, Periodic, Worker
from cdp.worker.writer import Writer

__all__ = ["Beside", "Periodic", "Worker", "Writer"]
