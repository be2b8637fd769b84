"""An installation that landed with version 1 of the normaliser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from caller import Caller
from litestar.testing import TestClient

from cdp import app
from cdp.clock import FixedClock
from cdp.identity import IndexPass, identifiers, index, lookup, service, version1
from cdp.settings import Settings


class Upgrade:
    """Runs a platform under version 1 and then under the version of now, whose pass the test turns."""

    def __init__(self, settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self._settings = settings
        self._clock = clock
        self._monkeypatch = monkeypatch
        self._advance = IndexPass.advance
        self._known: Caller | None = None
        monkeypatch.setattr(IndexPass, "advance", lambda _: False)

    @contextmanager
    def running(self) -> Iterator[Caller]:
        """Run the platform of now."""
        key = (self._settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
        platform = app.build(self._settings, self._clock)
        with TestClient(app.application(platform)) as http:
            caller = Caller(http, key, platform.services)
            if self._known is not None:
                caller.share_write_keys(self._known)
            self._known = caller
            yield caller

    @contextmanager
    def before(self) -> Iterator[Caller]:
        """Run the platform as it was under version 1."""
        with self._monkeypatch.context() as patched:
            patched.setattr(identifiers, "_form", lambda kind, value, _: version1.normalise(kind, value))
            for module in (service, index, lookup):
                patched.setattr(module, "VERSION", version1.VERSION)
            with self.running() as caller:
                yield caller

    def advance(self, caller: Caller) -> bool:
        """Do the pages of the pass."""
        return self._advance(caller.services.index_pass)
