"""How the log is asked: an index of bitmaps beside it, from which every answer is exact.

``find`` answers, ``fold`` keeps the index up with the log, ``disagreements`` checks it against the entries,
``uses_by_day`` counts uses. Nothing here is part of the log: all of it can be made again from the entries.
"""

from cdp.audit.asking.days import DayOfUses, uses_by_day
from cdp.audit.asking.matches import Found, find
from cdp.audit.asking.spans import disagreements, fold, is_behind, rebuild

__all__ = ["DayOfUses", "Found", "disagreements", "find", "fold", "is_behind", "rebuild", "uses_by_day"]
