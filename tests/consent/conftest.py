"""Fixtures of the consent tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_world import World


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """Return a ledger with one profile."""
    made = World(database_url, tmp_path)
    yield made
    made.close()
