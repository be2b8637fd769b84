"""Bulk import: provenance kept, nothing lifted, nothing doubled, bad rows named without their content."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from caller import Caller
from sqlalchemy import func, select
from typer.testing import CliRunner

from cdp.cli import consent as command
from cdp.cli.client import Api
from cdp.cli.commands import app as cli
from cdp.clock import DAY, SECOND, FixedClock, rfc3339
from cdp.consent.tables import consent_records
from cdp.errors import UnavailableError

EMAIL = "marketing.communications.email"
FILE = "a" * 64
COLUMNS = ("identifier_type", "identifier_value", "purpose", "state", "event_time", "provenance")


def row(user: str, state: str = "granted", **more: Any) -> dict[str, Any]:
    return {
        "identifiers": [{"type": "email", "value": f"{user}@people.example"}],
        "purpose": EMAIL,
        "state": state,
        "event_time": "2025-05-01T10:00:00Z",
        **more,
    }


def send(caller: Caller, *rows: object, file: str = FILE, **more: Any) -> dict[str, Any]:
    body = {"file": file, "rows": list(enumerate(rows, 1)), **more}
    answer = caller.api("POST", "/consents/import", body)
    assert isinstance(answer, dict)
    return answer


def state(caller: Caller, user: str) -> str:
    profile = caller.lookup("email", f"{user}@people.example")["id"]
    found = caller.api("GET", f"/profiles/{profile}/consents", purpose="compliance_review")["items"]
    return next(str(item["state"]) for item in found if item["purpose"] == EMAIL)


def records(caller: Caller) -> int:
    with caller.services.store.reading() as connection:
        return connection.execute(select(func.count()).select_from(consent_records)).scalar_one()


def test_an_import_grants_where_nothing_was_recorded_and_lifts_nothing(
    caller: Caller, clock: FixedClock
) -> None:
    caller.write_key("import")
    live = {"identifiers": row("eve")["identifiers"], "purpose": EMAIL}
    caller.api("POST", "/consents", {**live, "state": "withdrawn"})
    clock.advance(SECOND)
    answer = send(caller, row("ann"), row("bob", "withdrawn"), row("eve", event_time=rfc3339(clock.now())))
    assert (answer["rows"], answer["changed"], answer["problems"]) == (3, 3, [])
    assert [state(caller, user) for user in ("ann", "bob", "eve")] == ["granted", "withdrawn", "withdrawn"]
    clock.advance(SECOND)
    caller.api("POST", "/consents", {**live, "state": "granted"})
    assert state(caller, "eve") == "granted", "an act of hers does"


def test_a_file_sent_twice_counts_once(caller: Caller, clock: FixedClock) -> None:
    caller.write_key("import")
    rows = [row("ann"), row("bob", "refused"), row("ann", event_time="2024-01-01T00:00:00Z")]
    send(caller, *rows)
    held = records(caller)
    clock.advance(DAY)
    again = send(caller, *rows)
    assert (again["duplicates"], again["changed"], records(caller)) == (3, 0, held)
    renamed = send(caller, rows[1], rows[2], file="b" * 64)
    assert (renamed["changed"], renamed["unchanged"], records(caller)) == (0, 2, held)


BAD = [
    ({**row("ann"), "purpose": "marketing.pigeons"}, "unknown_purpose"),
    (row("ann", "maybe"), "malformed"),
    (row("ann", surprise=1), "malformed"),
    (None, "malformed"),
    ({**row("ann"), "identifiers": []}, "malformed"),
    ({**row("ann"), "identifiers": [{"type": "email", "value": "nobody"}]}, "bad_identifier"),
    ({**row("ann"), "identifiers": [{"type": "shoe_size", "value": "44"}]}, "bad_identifier"),
    (row("ann", event_time="yesterday"), "bad_time"),
    (row("ann", event_time=None), "no_time"),
    (row("ann", event_time="2031-01-01T00:00:00Z"), "future"),
    (row("ann", "restricted"), "officer_only"),
    (row("ann", "restriction_lifted"), "officer_only"),
    (row("ann", method="double_opt_in"), "method_of_ours"),
    (row("ann", "withdrawn", method="one_click"), "method_of_ours"),
    (row("ann", recipients=["nobody"]), "unknown_recipient"),
]


def test_bad_rows_are_named_and_their_neighbours_land(caller: Caller) -> None:
    caller.write_key("import")
    answer = send(caller, *[bad for bad, _ in BAD], row("bob"))
    assert answer["problems"] == [
        {"row": number, "reason": reason} for number, (_, reason) in enumerate(BAD, 1)
    ]
    assert (answer["changed"], answer["rejected"], answer["quarantined"]) == (1, len(BAD), 0)
    assert state(caller, "bob") == "granted"
    later = send(caller, row("ann", "withdrawn", event_time="2031-01-01T00:00:00Z"), file="c" * 64)
    assert later["changed"] == 1, "a refusal is never lost to a wrong clock"


def test_who_may_import(caller: Caller) -> None:
    body = {"file": FILE, "rows": [(1, row("ann"))]}
    caller.api("POST", "/consents/import", body, expect=400)
    for kind in ("browser", "server"):
        caller.api("POST", "/consents/import", body, key=caller.write_key(kind), expect=403)
    assert caller.api("POST", "/consents/import", body, key=caller.write_key("import"))["changed"] == 1
    for wrong in (
        {**body, "source": "test-server"},
        {**body, "file": "../x"},
        {**body, "rows": [[1, {}]] * 1001},
    ):
        assert caller.api("POST", "/consents/import", wrong, expect=413 if len(wrong["rows"]) > 1 else 400)


# -- the command ------------------------------------------------------------------------------------


def write(folder: Path, kind: str, rows: Sequence[dict[str, Any]]) -> Path:
    path = folder / "outside" / f"consents.{kind}"
    path.parent.mkdir(exist_ok=True)
    if kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl":
        path.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def people(count: int) -> list[dict[str, Any]]:
    return [
        {
            "identifier_type": "email",
            "identifier_value": f"user-{number}@people.example",
            "purpose": EMAIL,
            "state": "granted" if number % 3 else "withdrawn",
            "event_time": "2025-05-01T10:00:00Z",
            "provenance": "paper forms, box 7",
        }
        for number in range(count)
    ]


@pytest.fixture
def run(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what runs ``cdp consent import`` against the caller's application; it may be cut off."""
    calls = {"left": 10**9}

    def exchange(request: httpx.Request) -> httpx.Response:
        calls["left"] -= 1
        if calls["left"] < 0:
            raise UnavailableError("the line is dead")
        return caller.http.request(
            request.method, request.url.raw_path.decode(), content=request.content, headers=request.headers
        )

    @contextmanager
    def connected() -> Any:
        yield Api(exchange, caller.operator_key)

    monkeypatch.setattr(command, "connected", connected)

    def go(*words: str, most: int = 10**9) -> Any:
        calls["left"] = most
        return CliRunner().invoke(cli, ["consent", "import", *words, "--json"])

    return go


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_command_reads_every_format(caller: Caller, run: Any, tmp_path: Path, kind: str) -> None:
    caller.write_key("import")
    done = run(str(write(tmp_path, kind, people(30))))
    assert done.exit_code == 0, done.output
    assert msgspec.json.decode(done.output)["changed"] == 30
    assert [state(caller, f"user-{number}") for number in (0, 1)] == ["withdrawn", "granted"]


def test_an_import_that_was_cut_off_is_run_again_without_doubling(
    caller: Caller, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller.write_key("import")
    monkeypatch.setattr(command, "_CHUNK", 10)
    file = write(tmp_path, "csv", people(35))
    cut = run(str(file), most=2)
    assert isinstance(cut.exception, UnavailableError)
    assert records(caller) == 20
    done = msgspec.json.decode(run(str(file)).output)
    assert (done["changed"], done["duplicates"], records(caller)) == (15, 20, 35)


def test_bad_lines_are_named_by_number(caller: Caller, run: Any, tmp_path: Path) -> None:
    caller.write_key("import")
    file = tmp_path / "outside" / "consents.csv"
    file.parent.mkdir()
    file.write_bytes(
        b"identifier_type,identifier_value,purpose,state,event_time\n"
        b"email,ann@people.example,marketing.communications.email,granted,2025-01-01\n"
        b"email,bad,marketing.communications.email,granted,2025-01-01\n"
        b"email,b\xffb@people.example,marketing.communications.email,granted,2025-01-01\n"
        b"email,short@people.example\n"
    )
    done = run(str(file))
    assert done.exit_code == 1
    answer = msgspec.json.decode(done.output)
    assert answer["problems"] == [
        {"row": 3, "reason": "bad_identifier"},
        {"row": 4, "reason": "malformed"},
        {"row": 5, "reason": "malformed"},
    ]
    assert (answer["changed"], answer["reasons"]) == (1, {"bad_identifier": 1, "malformed": 2})
    assert "people.example" not in done.output
