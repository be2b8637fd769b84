"""The gate: the one exit. It decides what may leave, row by row and field by field, and renders it.

``Gate.authorise`` and ``Gate.render`` are its verbs; ``decide`` and ``compile_sets`` are the pure core,
and read every person alike.
"""

from cdp.gate.bind import bind
from cdp.gate.compile import compile_sets
from cdp.gate.decide import decide, meet
from cdp.gate.model import (
    Authorisation,
    Column,
    Decision,
    Facts,
    FactSets,
    Format,
    Partition,
    Released,
    Rendering,
    Request,
    Terms,
    Truth,
    Value,
)
from cdp.gate.release import Gate

__all__ = [
    "Authorisation",
    "Column",
    "Decision",
    "FactSets",
    "Facts",
    "Format",
    "Gate",
    "Partition",
    "Released",
    "Rendering",
    "Request",
    "Terms",
    "Truth",
    "Value",
    "bind",
    "compile_sets",
    "decide",
    "meet",
]
