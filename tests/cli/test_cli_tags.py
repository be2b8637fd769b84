"""``cdp tag …``, as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

Shell = Callable[..., str]
STAGE = """\
name: lifecycle
kind: customer
cases:
  - {value: lost, where: {tag: recency, op: eq, value: 1}}
otherwise: there
"""
RECENCY = """\
name: recency
kind: customer
score: {event: Order Completed, min: {property: event.age}}
best: low
thresholds: [30, 90]
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two tags, of which the first uses the second."""
    stage, recency = tmp_path / "lifecycle.yaml", tmp_path / "recency.yaml"
    stage.write_text(STAGE)
    recency.write_text(RECENCY)
    return stage, recency


def test_files_are_applied_in_the_order_in_which_they_are_used(
    shell: Shell, files: tuple[Path, Path]
) -> None:
    printed = shell("tag", "apply", *map(str, files)).splitlines()
    assert [line.split(",")[0] for line in printed] == ["tag recency", "tag lifecycle"]
    assert "tells user.inferred.churn_risk" in printed[1]
    listed = msgspec.json.decode(shell("tag", "list", "--json"))
    assert [(tag["name"], tag["version"]) for tag in listed] == [("lifecycle", 1), ("recency", 1)]
    files[0].write_text(STAGE.replace("there", "around"))
    shell("tag", "apply", str(files[0]))
    assert "otherwise changed: there → around" in shell("tag", "history", "lifecycle")
    files[0].write_text(STAGE)
    shell("tag", "apply", str(files[0]))
    shown = shell("tag", "show", "lifecycle")
    assert "otherwise: there" in shown
    assert "version 1" in shell("tag", "rebuild", "recency")
    assert "uses this tag" in shell("tag", "delete", "recency", expect=1)
    shell("tag", "delete", "lifecycle")
    assert shell("tag", "delete", "recency") == "tag recency deleted\n"


def test_what_is_wrong_is_named_with_its_file_and_line(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(STAGE.replace("where", "whree"))
    assert f"{file}:4: cases[0]: a case has no key whree (did you mean where?)" in shell(
        "tag", "apply", str(file), expect=1
    )
    file.write_text(STAGE)
    assert "there is no tag recency; apply it first" in shell("tag", "apply", str(file), expect=1)
    other = tmp_path / "other.yaml"
    other.write_text(STAGE)
    assert "is in" in shell("tag", "apply", str(file), str(other), expect=1)
    circle = STAGE.replace("tag: recency", "tag: lifecycle")
    file.write_text(circle)
    shell("tag", "apply", str(file), expect=1)


def test_a_schema_for_editors(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "tag.schema.json"
    assert "yaml-language-server" in shell("tag", "schema", "--out", str(file))
    assert msgspec.json.decode(file.read_bytes())["title"] == "A computed tag"
