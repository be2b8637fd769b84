"""Events prepared in another process than that which stores them: what goes between the two."""

from cdp.ingest.apart.asked import Answer, Ask, read_answer, read_ask, write
from cdp.ingest.apart.counted import Counting, bring
from cdp.ingest.apart.packed import Packed, pack, unpack

__all__ = [
    "Answer", "Ask", "Counting", "Packed", "bring", "pack", "read_answer", "read_ask", "unpack", "write",
]  # fmt: skip
