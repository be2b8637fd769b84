"""Dotted names and the names of generalisation levels: pure.

``user.contact`` covers ``user.contact.email``; the same goes for purposes. What lies above a key is
its lineage.
"""

from __future__ import annotations

import re
from functools import cache

DOTTED = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
"""A dotted name in snake_case."""

GENERALISATIONS: dict[str, tuple[str, ...]] = {
    "country": ("user.location", "user.contact.address"),
    "state": ("user.location", "user.contact.address"),
    "year": ("user.demographic.date_of_birth", "user.account", "user.behavior"),
    "month": ("user.demographic.date_of_birth", "user.account", "user.behavior"),
    "age_band": ("user.demographic.date_of_birth", "user.demographic.age_range"),
    "domain": ("user.contact.email", "user.contact.social_url"),
}
"""Level of ``generalise`` → categories that it makes sense for; the gate renders them."""

SENSITIVE = "sensitive"
"""In a rule, every sensitive category: one that lies above them does not name them."""

PSEUDONYMS = ("per_destination",)
"""Scopes of ``pseudonymise``."""


@cache
def lineage(key: str) -> tuple[str, ...]:
    """Return ``key`` and all that lies above it, nearest first: ``a.b.c``, ``a.b``, ``a``."""
    parts = key.split(".")
    return tuple(".".join(parts[:length]) for length in range(len(parts), 0, -1))


def covers(above: str, below: str) -> bool:
    """True when ``below`` is ``above`` or lies below it."""
    return below == above or below.startswith(above + ".")


def levels_of(category: str) -> frozenset[str]:
    """Return the levels of ``generalise`` that make sense for a category."""
    return frozenset(
        level
        for level, roots in GENERALISATIONS.items()
        if any(covers(root, category) or covers(category, root) for root in roots)
    )
