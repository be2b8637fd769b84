"""What the platforms of one test after another need not do anew: a fifth of the tests' time would go there.

1. Engines of one kind of database share its compiled statements; every store has an engine of its own, and
   SQLAlchemy compiles each statement once for each.
2. The collector looks for cycles seldom, and never among what was there before the first test; what a server
   does about it (``calm_collector``) would have it look through everything at the end of each test.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.util import LRUCache

from cdp import beside
from cdp.app import serving
from cdp.store import dialect

calm_collector = beside.calm_collector
"""What a server does, for the test of it."""

_STATEMENTS = 5_000
_OBJECTS = 50_000, 10, 10
_new = dialect.make_engine
_first: dict[str, Engine] = {}


def make_engine(url: str) -> Engine:
    """Return an engine that shares the statements of the first of its kind, once that was connected."""
    engine = _new(url)
    first = _first.setdefault(engine.dialect.name, engine)
    if first is engine:
        engine._compiled_cache = LRUCache(_STATEMENTS)
    elif getattr(first.dialect, "server_version_info", None):
        engine.dialect = engine.pool._dialect = first.dialect
        engine._compiled_cache = first._compiled_cache
    return engine


@contextmanager
def left_alone() -> Iterator[None]:
    """Stand for ``calm_collector``."""
    yield


def pytest_configure() -> None:
    """Have every test of this process use them."""
    dialect.make_engine = make_engine
    serving.calm_collector = left_alone  # type: ignore[attr-defined]  # by the name that it calls


def pytest_collection_finish() -> None:
    """Have the collector leave alone what is there by now."""
    gc.freeze()
    gc.set_threshold(*_OBJECTS)


def pytest_unconfigure() -> None:
    """Let extension modules find everything freed when the process ends."""
    gc.unfreeze()
