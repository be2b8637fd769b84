"""Files of rows become events, once, whatever stops the command; what cannot is kept, and read again."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from caller import Caller
from importing import Importer

from cdp.clock import DAY, SECOND, FixedClock, parse_rfc3339

EMAIL = "marketing.communications.email"
MAPPING = f"""
time_zone: Europe/Berlin
time: at
identifiers: {{user_id: customer, email: mail}}
traits: {{plan: plan}}
events:
  - {{name: Order Completed, when: [{{column: price, given: true}}],
     properties: {{revenue: {{column: price, type: number}}}}}}
consents:
  - {{purpose: {EMAIL}, provenance: old CRM,
     state: {{column: optin, values: {{"yes": granted, "no": withdrawn}}}}}}
"""
NOON = parse_rfc3339("2026-01-01T12:00:00Z") // SECOND
HEADER = "customer,mail,at,plan,price,optin"


@pytest.fixture
def run(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> Importer:
    caller.api("POST", "/sources", {"name": "old", "kind": "import"})
    return Importer(caller, monkeypatch)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The folder in which clear data of the test lies."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def mapped(folder: Path, text: str = MAPPING, name: str = "mapping.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def counts(report: dict[str, Any]) -> dict[str, int]:
    names = ("rows", "left_out", "stored", "duplicates", "quarantined", "refused", "suppressed")
    return {name: report[name] for name in names if report[name]}


def assert_balanced(caller: Caller) -> None:
    """Whatever a row was made into, everything received is accounted for."""
    found = caller.services.counts.of()
    assert found
    assert [one for one in found if not one.balanced] == []


def names_of(caller: Caller, user: str) -> list[str]:
    profile = caller.lookup("user_id", user)["id"]
    found = caller.api("GET", f"/profiles/{profile}/events", purpose="data_quality")["items"]
    return sorted(item["name"] for item in found)


def state(caller: Caller, user: str) -> str:
    profile = caller.lookup("user_id", user)["id"]
    found = caller.api("GET", f"/profiles/{profile}/consents", purpose="compliance_review")["items"]
    return next((str(item["state"]) for item in found if item["purpose"] == EMAIL), "missing")


def test_rows_become_facts_and_consents_that_lift_nothing(
    caller: Caller, run: Importer, outside: Path, clock: FixedClock
) -> None:
    live = {"identifiers": [{"type": "user_id", "value": "eve"}], "purpose": EMAIL, "state": "withdrawn"}
    caller.write_key("server")
    caller.api("POST", "/consents", live)
    clock.advance(DAY)
    file = write(
        outside / "people.csv",
        "ann,ann@people.example,2026-02-01 10:00,gold,17.5,",
        "joe,,2026-02-01 10:00,,,yes",
        "eve,,2026-03-01,basic,,yes",  # a grant that is newer than her withdrawal
        "bob,,2026-02-01,basic,,no",
        "bob,,rubbish,basic,,no",
        ",,2026-02-01,basic,,",
    )
    words = (file, "--source", "old", "--mapping", mapped(outside))
    report = run(*words, refused=True)
    assert counts(report) == {"rows": 6, "stored": 8, "quarantined": 2}
    assert {(one["cause"], *one["rows"]) for one in report["causes"]} == {
        ("adapter_failure: time is not the time that the mapping says", 6),
        ("adapter_failure: none of its identifiers has a value", 7),
    }
    assert "2 in quarantine" in report["error"]
    assert [state(caller, user) for user in ("joe", "eve", "bob")] == ["granted", "withdrawn", "withdrawn"]
    assert names_of(caller, "ann") == ["Order Completed", "identify"]
    assert names_of(caller, "joe") == ["Consent Imported"]
    profile = caller.lookup("email", "ann@people.example")["id"]
    found = caller.api("GET", f"/profiles/{profile}/events", purpose="data_quality")["items"]
    assert {item["occurred_at"] for item in found} == {"2026-02-01T09:00:00Z"}, "in the mapping's zone"
    # the same file again counts once, and is known without being read
    assert counts(run(*words, refused=True)) == counts(report)
    assert len(caller.api("GET", "/imports")["items"]) == 1
    actions = [entry["action"] for entry in caller.api("GET", "/audit?action=import.end")["items"]]
    assert actions == ["import.end"]


def test_what_lies_in_quarantine_is_read_again_by_a_corrected_mapping(
    caller: Caller, run: Importer, outside: Path
) -> None:
    rows = ["ann,,2026-02-01,gold,17.5,", "bob,,2026-02-01,gold,1 250,", "cat,,2026-02-01,gold,free,"]
    file = write(outside / "orders.csv", *rows)
    report = run(file, "--source", "old", "--mapping", mapped(outside), refused=True)
    assert counts(report) == {"rows": 3, "stored": 2, "quarantined": 2}
    wrong = "events[0].properties.revenue is not a number"
    assert [item["cause"] for item in caller.api("GET", "/quarantine")["items"]] == [wrong, wrong]
    # until then they are found for who asks what is kept of them, and when they are erased
    quarantine, normalise = caller.services.quarantine, caller.services.identity.normalise
    with caller.services.store.reading() as connection:
        kept, whole = quarantine.messages_of(connection, {("user_id", "bob")}, normalise, {}, 100)
    assert (len(kept), whole) == (1, True)
    assert b"1 250" in kept[0][1]
    assert len(quarantine.telling(lambda text: text == "cat", ["cat"])) == 1
    fixed = MAPPING.replace(
        "column: price, type: number", "column: price, values: {1 250: '1250'}, otherwise: '0', type: number"
    )
    run("--correct", report["id"], "--mapping", mapped(outside, fixed, "fixed.yaml"))
    replayed = caller.api("POST", "/quarantine/replay")
    assert (replayed["stored"], replayed["duplicates"], replayed["quarantined"]) == (4, 0, 0)
    assert caller.api("GET", "/quarantine")["items"] == []
    assert names_of(caller, "bob") == ["Order Completed", "identify"]
    assert_balanced(caller)
    # the file itself by the corrected mapping: what was taken counts once
    again = run(file, "--source", "old", "--mapping", outside / "fixed.yaml")
    assert counts(again) == {"rows": 3, "duplicates": 6}
    refused = run(
        "--correct", report["id"], "--mapping", mapped(outside, "events: []", "bad.yaml"), refused=True
    )
    assert refused["error"] == "mapping:1: the key 'identifiers' is missing"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_row_whose_events_are_invalid_lies_in_quarantine_once_as_it_was(
    caller: Caller, run: Importer, outside: Path
) -> None:
    named = "{name: {column: plan}}"
    text = f"identifiers: {{user_id: customer}}\ntraits: {{price: price}}\nevents: [{named}, {named}]\n"
    file = write(outside / "named.csv", "ann,,,ann@people.example,5,", "bob,,,Seen,5,")
    report = run(file, "--source", "old", "--mapping", mapped(outside, text), refused=True)
    assert counts(report) == {"rows": 2, "stored": 4, "quarantined": 1}
    fixed = text.replace("column: plan", "value: Seen")
    run("--correct", report["id"], "--mapping", mapped(outside, fixed, "fixed.yaml"))
    replayed = caller.api("POST", "/quarantine/replay")
    assert (replayed["stored"], replayed["duplicates"], replayed["quarantined"]) == (2, 1, 0)
    assert names_of(caller, "ann") == ["Seen", "Seen", "identify"]
    assert_balanced(caller)


def test_parquet_with_nested_columns(caller: Caller, run: Importer, outside: Path) -> None:
    rows = 1_200  # several pieces
    table = pa.table(
        {
            "who": [{"id": f"user-{row % 7}", "mails": ["a"]} for row in range(rows)],
            "at": pa.array([(NOON + row % 60) * SECOND for row in range(rows)], pa.timestamp("us")),
            "price": pa.array([Decimal(row) / 4 for row in range(rows)], pa.decimal128(10, 2)),
        }
    )
    pq.write_table(table, outside / "orders.parquet")
    text = """
time_zone: Asia/Tokyo
time: at
identifiers: {user_id: {column: [who, id]}}
events: [{name: Order Completed, properties: {revenue: {column: price, type: number}}}]
"""
    report = run(outside / "orders.parquet", "--source", "old", "--mapping", mapped(outside, text))
    assert counts(report) == {"rows": rows, "stored": rows}
    profile = caller.lookup("user_id", "user-3")["id"]
    path = f"/profiles/{profile}/events?limit=500"
    found = caller.api("GET", path, purpose="data_quality")["items"]
    assert sum(item["properties"]["revenue"] for item in found) == sum(range(3, rows, 7)) / 4
    assert {item["occurred_at"][:14] for item in found} == {"2026-01-01T03:"}


def test_an_import_that_was_broken_off_goes_on_where_it_was(
    caller: Caller, run: Importer, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.cli.import_file._ROWS", 10)
    rows = [f"user-{number},,2026-02-01,gold,{'x' if number % 10 == 3 else 5}," for number in range(45)]
    file, mapping = write(outside / "long.csv", *rows), mapped(outside)
    words = (file, "--source", "old", "--mapping", mapping)
    run.broken_off(*words, calls=3)
    (begun,) = caller.api("GET", "/imports")["items"]
    assert (begun["rows"], begun["row"], begun["quarantined"], begun["finished_at"]) == (20, 21, 2, None)
    # another process sends rows out of turn: nothing of them is taken
    body = {"after": 0, "rows": [[2, rows[0].split(",")]], "columns": HEADER.split(",")}
    caller.api("POST", f"/imports/{begun['id']}/rows", body, expect=409)
    report = run(*words, refused=True)
    assert counts(report) == {"rows": 45, "stored": 80, "quarantined": 5}
    assert len(caller.api("GET", "/quarantine")["items"]) == 5
    # a file that changes between the runs
    other = write(outside / "other.csv", *[row.replace("user", "other") for row in rows])
    run.broken_off(other, *words[1:], calls=2)
    other.write_text(other.read_text() + "late,,2026-02-01,gold,5,\n")
    refused = run(other, *words[1:], refused=True)
    assert "an import of another file ended at row 11" in refused["error"]
    keyed = mapped(outside, MAPPING + "message_id: {text: '{customer}/{at}'}\n", "keyed.yaml")
    keyed_words = (other, "--source", "old", "--mapping", keyed)
    assert counts(run(*keyed_words, refused=True)) == {"rows": 46, "stored": 82, "quarantined": 5}
    other.write_text(other.read_text() + "later,,2026-02-01,gold,5,\n")
    assert counts(run(*keyed_words, refused=True)) == {
        "rows": 47, "stored": 2, "duplicates": 82, "quarantined": 5,
    }  # fmt: skip
    assert run(other, *words[1:], "--anew", refused=True)["rows"] == 47


def test_a_file_that_changes_while_it_is_read_is_noticed(
    caller: Caller, run: Importer, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.cli.import_file._ROWS", 10)
    file = write(outside / "moving.csv", *[f"user-{number},,2026-02-01,gold,5," for number in range(30)])
    send = run._send

    def meddled(request: Any) -> Any:
        answer = send(request)
        if request.url.path.endswith("/rows"):
            file.write_text(file.read_text() + "late,,2026-02-01,gold,5,\n")
        return answer

    monkeypatch.setattr(run, "_send", meddled)
    refused = run(file, "--source", "old", "--mapping", mapped(outside), refused=True)
    assert "the file changed while it was read" in refused["error"]
    (begun,) = caller.api("GET", "/imports")["items"]
    assert (begun["rows"], begun["finished_at"]) == (10, None)


def test_segment_messages_bad_lines_and_huge_rows(caller: Caller, run: Importer, outside: Path) -> None:
    file = outside / "messages.jsonl"
    line = '{"type":"track","userId":"ann","event":"Seen","properties":{"text":"%s"}}\n'
    own = '{"type":"track","userId":"ann","event":"Own","messageId":"m-1"}\n'
    file.write_bytes(
        (line % "a" + own + own + "not json\n" + line % ("x" * 40_000) + line % ("x" * 300_000)).encode()
        + b'{"userId":"ann","event":"\xff"}\n'
        + b'{"type":"track","event":"Nobody"}\n'
    )
    report = run(file, "--source", "old", refused=True)
    assert counts(report) == {"rows": 8, "stored": 2, "duplicates": 1, "quarantined": 5}
    kinds = sorted(item["kind"] for item in caller.api("GET", "/quarantine")["items"])
    assert len(kinds) == 5
    assert kinds.count("adapter_failure") == 3
    assert names_of(caller, "ann") == ["Own", "Seen"]
    assert caller.api("POST", "/quarantine/replay")["quarantined"] == 5
    assert_balanced(caller)
    csv_file = write(outside / "people.csv", "ann,,2026-02-01,gold,5,")
    assert "needs a mapping" in run(csv_file, "--source", "old", refused=True)["error"]
    bad = mapped(outside, MAPPING.replace("column: price", "column: prize"))
    refused = run(csv_file, "--source", "old", "--mapping", bad, refused=True)
    assert "mapping:7: the file's column 'prize' is not declared; did you mean 'price'?" in refused["error"]
    refused = run(csv_file, "--source", "none", "--mapping", mapped(outside), refused=True)
    assert "name one enabled source of kind import" in refused["error"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_may_import_as_whom(caller: Caller) -> None:
    caller.api("POST", "/sources", {"name": "old", "kind": "import"})
    body = {"file": "a" * 64, "form": "jsonl"}
    own = caller.write_key("import")
    begun = caller.api("POST", "/imports", {**body, "source": "test-import"}, key=own)
    caller.api("POST", "/imports", {**body, "source": "old"}, key=own, expect=403)
    caller.api("POST", "/imports", body, key=caller.write_key("server"), expect=403)
    steward = caller.api("POST", "/keys", {"name": "s", "roles": ["steward"], "purposes": ["*"]})["key"]
    caller.api("POST", "/imports", {**body, "source": "old"}, key=steward, expect=403)
    rows = f"/imports/{begun['id']}/rows"
    for wrong in (
        {"after": 0, "rows": []},
        {"after": 0, "rows": [[1, {}], [1, {}]]},
        {"after": 0, "rows": [[0, {}]]},
        {"after": 0, "rows": [[1, [2]]], "columns": ["a", "b"]},
        {"after": 0, "rows": [], "unreadable": [[1, "sad", ""]]},
        {"after": 0, "rows": [], "unreadable": [[1, "columns", "*"]]},
    ):
        caller.api("POST", rows, wrong, key=own, expect=400)
    caller.api("POST", "/imports/none/finish", key=own, expect=404)
