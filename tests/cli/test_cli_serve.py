"""What becomes of a server that is killed."""

from __future__ import annotations

import time

from served import served

from cdp.cli.lock import data_lock
from cdp.settings import Settings


def test_a_killed_server_leaves_nothing_that_serves_or_holds_the_lock(settings: Settings) -> None:
    with served(settings) as (_, process):
        with data_lock(settings.data_dir) as held:
            assert not held
        process.kill()  # its worker is another process, which nobody ends now
        deadline = time.monotonic() + 60
        held = False
        while not held and time.monotonic() < deadline:
            time.sleep(0.1)
            with data_lock(settings.data_dir) as held:
                pass
    assert held
