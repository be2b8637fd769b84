"""`kill -9` of the server at random points under load: nothing lost, nothing doubled, all as if undisturbed.

`make bench` does the same fifty times to `cdp serve` (`benchmarks/kills.py`).
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from platform_fixtures import Shell
from running import running

from benchmarks.kills import rounds, unlike
from benchmarks.sending import sending
from benchmarks.standing import source_of
from cdp import app
from cdp.settings import Settings

ROUNDS = 5


def test_a_server_killed_under_load_loses_and_doubles_nothing(
    settings: Settings, shell: Shell, tmp_path: Path
) -> None:
    with closing(app.build(settings)) as platform:
        services = platform.services
        source, write_key = source_of(services)
        with (
            running(settings, tmp_path / "log") as server,
            sending(tmp_path / "tries", write_key, [server.port]) as client,
        ):
            assert rounds(services, source, server, client, ROUNDS, seed=7) == []
            assert unlike(services, source, client) == []
            assert any(one.status == 0 for one in client.tries()), "a call was cut off"
        list(services.journal.lines())  # raises where a line was altered, or a segment is missing
    assert "verifies" in shell("audit", "verify")
