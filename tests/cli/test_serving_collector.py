"""The garbage collector is calm while a platform is served, and as it was after that."""

from __future__ import annotations

import gc

import pytest
from frugal import calm_collector
from litestar.testing import TestClient

from cdp import app
from cdp.app import serving
from cdp.settings import Settings


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_it_is_as_it_was_once_the_server_stops(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "calm_collector", calm_collector)
    gc.unfreeze()
    before = gc.get_threshold()
    with TestClient(app.application(app.build(settings))):
        assert gc.get_threshold() > before
        assert gc.get_freeze_count()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
    gc.freeze()
