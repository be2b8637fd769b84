"""What a process beside a server runs: ``python -m cdp.beside`` prepares events for it.

It stands apart from ``cdp.app``, which uses its parts, too: it imports neither web frameworks nor analytical
engines, which would double its memory.
"""

from cdp.beside.judging import judge_by, user_id_signatures
from cdp.beside.process import calm_collector, configure_logging

__all__ = ["calm_collector", "configure_logging", "judge_by", "user_id_signatures"]
