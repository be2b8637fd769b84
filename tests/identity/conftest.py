"""A platform that links by rules which tests put in force."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rules_world import platform

from cdp.app import Platform
from cdp.clock import FixedClock
from cdp.settings import Settings


@pytest.fixture
def world(settings: Settings, clock: FixedClock) -> Iterator[Platform]:
    """A platform of which nothing runs by itself."""
    with platform(settings, clock) as built:
        yield built
