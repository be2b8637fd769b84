"""The scan at the end of CI sees what it is there to see."""

from __future__ import annotations

from pathlib import Path

import canary
import httpx
import pytest

PERSON = "ada@people" + ".example"  # in one piece it would be found in this file's own bytecode


def answers(status: int) -> httpx.Client:
    return httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(status, text=f"for {PERSON}")),
        base_url="http://platform.example",
    )


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    noted: list[str] = []
    monkeypatch.setattr(canary, "_found", noted)
    return noted


def test_an_error_body_and_a_metric_are_searched_and_other_answers_are_not(found: list[str]) -> None:
    with answers(404) as client:
        client.get("/profiles")
    with answers(200) as client:
        client.get("/profiles")
        assert found == ["answer 404 to GET /profiles"]
        client.get("/metrics")
    assert found[1:] == ["answer 200 to GET /metrics"]


def test_a_file_is_searched_whatever_its_format(found: list[str], tmp_path: Path) -> None:
    file = tmp_path / "outside" / "blob"
    file.parent.mkdir()
    file.write_bytes(b"\x00\xff" * 5000 + PERSON.upper().encode() + b"\x00")
    canary._search(file, "blob")
    assert found == ["blob"]
    assert list(canary._files(tmp_path)) == []
