"""The scan at the end of CI sees what it is there to see."""

from __future__ import annotations

import sys
from pathlib import Path

import canary
import httpx
import pyarrow as pa
import pytest
from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter

from cdp.warehouse.files import Directory

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


@pytest.mark.parametrize("at", ["@", "%40"])
@pytest.mark.parametrize("domain", ["mail.example", "Example.ORG", "example.com", "a.b.example"])
def test_an_address_in_a_domain_that_is_nobodys_is_a_canary(found: list[str], at: str, domain: str) -> None:
    canary.check("here", f"x: ada{at}{domain}, y".encode())
    canary.check("elsewhere", f"https://{domain}/ada{at}shop".encode())
    assert found == ["here"]


def test_the_values_of_the_mirror_are_searched_although_its_pages_are_compressed(
    found: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "outside"
    folder.mkdir()
    values = [f"Product {number} https://shop.example/p/{number * 7919}" for number in range(200)]
    for person, seen in (("", []), (f"Note for {PERSON}", ["mirror"])):
        column = ["AAA", *values, person, *values, "ZZZ"]  # neither the least nor the greatest
        file = Directory(folder).write("events", pa.table({"at": range(len(column)), "product": column}))
        canary._search(folder / file.name, "mirror")
        assert found == seen


def test_a_mirror_that_cannot_be_read_is_told(found: list[str], tmp_path: Path) -> None:
    file = tmp_path / "events.parquet"
    file.write_bytes(b"PAR1 no metadata PAR1")
    canary._search(file, "mirror")
    assert found == ["mirror: not searched, it cannot be read"]
    file.unlink()


def test_what_a_test_reads_of_its_log_is_searched(
    found: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sys.stderr.write(PERSON)
    capsys.readouterr()
    assert [place.partition(" (call): ")[2] for place in found] == ["errors"]


def test_an_error_body_that_a_sources_client_got_is_searched(found: list[str]) -> None:
    class Refusing(BaseAdapter):
        def send(self, request: PreparedRequest, **_: object) -> Response:  # type: ignore[override]  # all that is asked
            answer = Response()
            answer.request, answer.status_code, answer._content = request, 400, PERSON.encode()
            return answer

        def close(self) -> None:
            pass

    with Session() as session:
        session.mount("http://platform.example", Refusing())
        session.post("http://platform.example/v1/batch")
    assert found == ["answer 400 to POST /v1/batch"]
