"""The garbage collector is calm while a platform is served, and as it was after that."""

from __future__ import annotations

import gc

import pytest
from litestar.testing import TestClient

from cdp import app
from cdp.settings import Settings


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_it_is_as_it_was_once_the_server_stops(settings: Settings) -> None:
    before = gc.get_threshold()
    with TestClient(app.application(app.build(settings))):
        assert gc.get_threshold() > before
        assert gc.get_freeze_count()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
