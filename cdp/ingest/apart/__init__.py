"""Events prepared in another process than that which stores them: what goes between the two."""

from cdp.ingest.apart.asked import Answer, Ask, read_answer, read_ask, write
from cdp.ingest.apart.counted import Counting, bring
from cdp.ingest.apart.frames import answer_all, read_frame, write_frame
from cdp.ingest.apart.packed import Packed, pack, unpack

__all__ = [
    "Answer", "Ask", "Counting", "Packed", "answer_all", "bring", "pack", "read_answer", "read_ask",
    "read_frame", "unpack", "write", "write_frame",
]  # fmt: skip
