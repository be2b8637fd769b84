"""All of it, with the real core: who is found, and that nothing clear is left behind."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from caller import Caller
from left_behind import files, left, tables
from people import Person, are_one, run
from scripted import object_to_it, rows

from cdp.matching import match, service
from cdp.matching.tables import match_models, match_pairs
from cdp.settings import Settings

_PEOPLE = 60
_TWICE = 30


def test_people_are_found_and_nothing_clear_is_left_behind(
    caller: Caller,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spill))
    monkeypatch.setenv("TMPDIR", str(spill))
    monkeypatch.chdir(spill)
    people = [Person(number) for number in range(_PEOPLE)]
    caller.send(*(person.shop() for person in people))
    caller.send(*(person.newsletter() for person in people[:_TWICE]))
    object_to_it(caller, 0)
    seen: list[dict[str, bytes]] = []
    core = match

    def watched(*given: Any, **more: Any) -> Any:
        found = core(*given, **more)
        seen.append(files(spill, settings.data_dir))
        return found

    monkeypatch.setattr(service, "match", watched)
    gc.collect()
    held = pa.total_allocated_bytes()
    ended = run(caller)
    assert (ended["state"], ended["excluded"], ended["records"]) == ("done", 1, _PEOPLE + _TWICE - 1)
    found = sum(are_one(caller, number) for number in range(1, _TWICE))
    assert found + ended["queued"] >= _TWICE - 2
    assert ended["linked"] == found, "nobody is taken for somebody else"
    assert not are_one(caller, 0)
    again = run(caller)
    assert (again["state"], again["linked"]) == ("done", 0)
    caller.api("GET", "/identity/review")
    output = capfd.readouterr()
    haystack = {
        **files(spill, settings.data_dir, settings.data_dir.parent),
        **tables(settings.database_url),
        **tables(settings.keys_database_url),
        "output": (output.out + output.err).encode(),
    }
    assert any(row.model for row in rows(caller, match_models))
    assert any(row.waterfall for row in rows(caller, match_pairs))
    assert seen
    for found_in in (*seen, haystack):
        assert left(found_in, people) == set()
    assert not list(spill.iterdir()), "nothing was written beside the data folder"
    gc.collect()
    assert pa.total_allocated_bytes() <= held + 100_000


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_failure_of_the_core_names_no_value(
    caller: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    people = [Person(number) for number in range(4)]
    caller.send(*(person.shop() for person in people))

    def fails(table: pa.Table, *_given: Any, **_more: Any) -> Any:
        raise ValueError(str(table.to_pylist()))

    monkeypatch.setattr(service, "match", fails)
    assert run(caller)["state"] == "failed"
    output = capfd.readouterr()
    printed = output.out + output.err
    assert "ValueError" in printed
    haystack = {**files(settings.data_dir.parent), **tables(settings.database_url)}
    assert left({**haystack, "output": printed.encode()}, people) == set()
