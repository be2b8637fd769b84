"""``cdp segment history | overlap | funnel | retention | portrait``, as a user runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdp.cli.client import connected
from cdp.settings import Settings

Shell = Callable[..., str]


@pytest.fixture
def explored(shell: Shell, settings: Settings) -> Shell:
    """A shell over twelve people, of whom four viewed something and two ordered it a day later."""
    messages: list[dict[str, Any]] = []
    for number in range(12):
        country = "DE" if number < 8 else "FR"
        user = {"userId": f"u{number}"}
        messages.append(
            {"type": "identify", "messageId": f"i{number}", **user, "traits": {"country": country}}
        )
        for event, most, day in (("Product Viewed", 4, 27), ("Order Completed", 2, 28)):
            if number < most:
                stamp = {"timestamp": f"2026-02-{day}T09:00:00Z"}
                named = {"type": "track", "event": event, "messageId": f"{event}{number}"}
                messages.append({**named, **user, **stamp})
    with connected(settings) as api:
        key = api.post("/sources", {"name": "shop", "kind": "server"})["write_key"]
        api.ingest(key, messages, wait=True)
        for name, where in (
            ("germans", {"trait": "country", "op": "eq", "value": "DE"}),
            ("viewers", {"event": "Product Viewed"}),
        ):
            api.call("PUT", f"/segments/{name}", body={"where": where})
    return shell


def lines(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines() if line.strip()]


def test_history_tells_what_each_version_changed(explored: Shell, tmp_path: Path) -> None:
    file = tmp_path / "germans.yaml"
    file.write_text("name: germans\nwhere: {trait: country, op: eq, value: FR}\n")
    explored("segment", "apply", str(file))
    (first, change, last) = explored("segment", "history", "germans").splitlines()
    assert first.startswith("version 2: ")
    assert " by key:" in first
    assert (change, last[:11]) == ("  where.value changed: DE → FR", "version 1: ")
    versions = msgspec.json.decode(explored("segment", "history", "germans", "--json"))
    assert [one["version"] for one in versions] == [2, 1]


def test_an_overlap_is_a_matrix(explored: Shell) -> None:
    (head, germans, viewers, note) = lines(explored("segment", "overlap", "germans", "viewers"))
    assert head == ["segment", "germans", "viewers"]
    assert germans == ["germans", "8", "4", "(50.0%)"]
    assert viewers == ["viewers", "4", "(100.0%)", "4"]
    assert note[:3] == ["as", "of", "commit"]
    found = msgspec.json.decode(explored("segment", "overlap", "germans", "viewers", "--json"))
    assert found["pairs"][0]["count"] == 4
    assert "2 to 20" in explored("segment", "overlap", "germans", expect=1)


def test_a_funnel_is_a_line_a_step(explored: Shell, tmp_path: Path) -> None:
    file = tmp_path / "funnel.yaml"
    file.write_text(
        "sequence:\n- {event: Product Viewed}\n- {not: {event: Order Refunded}}\n- {event: Order Completed}\n"
    )
    (_, viewed, absent, ordered, done) = lines(explored("segment", "funnel", str(file)))
    assert viewed[-3:] == ["4", "100.0%", "–"]
    assert absent[-3:] == ["–", "–", "–"]
    assert ordered[-3:] == ["2", "50.0%", "50.0%"]
    assert done[:5] == ["completed", "by", "2", "people", "(50.0%),"]
    file.write_text("among: viewers\nsequence:\n- {event: Product Viewed}\n- {event: A, within: 1 day}\n")
    assert "funnel.yaml:4: " in explored("segment", "funnel", str(file), expect=1)


def test_a_retention_table_is_a_line_a_cohort(explored: Shell, tmp_path: Path) -> None:
    file = tmp_path / "retention.yaml"
    file.write_text(
        "start: {event: Product Viewed}\nreturn: {event: Order Completed}\nevery: day\nperiods: 2\n"
        "from: 2026-02-27\ntimezone: Europe/Berlin\n"
    )
    found = lines(explored("segment", "retention", str(file)))
    assert found[0] == ["from", "people", "day", "0", "day", "1", "day", "2"]
    assert found[1] == ["2026-02-26T23:00:00Z", "4", "0", "(0.0%)", "2", "(50.0%)", "0", "(0.0%)"]
    assert found[-2][-2:] == ["–", "–"]
    assert "Europe/Berlin," in found[-1]


def test_a_portrait_is_a_table_a_trait(explored: Shell) -> None:
    found = lines(explored("segment", "portrait", "viewers", "--trait", "country"))
    assert found[0][:7] == ["segment", "viewers,", "version", "1:", "4", "of", "12"]
    assert found[1:3] == [["country"], ["value", "people", "share", "of", "everyone", "index"]]
    assert found[3] == ["DE", "4", "100.0%", "66.7%", "1.5"]
    assert found[4] == ["FR", "0", "0.0%", "33.3%", "0.0"]
    assert [row[0] for row in found[5:]] == ["(other)", "(none)"]
    everything = explored("segment", "portrait", "viewers")
    assert "order_count" in everything
