"""What is appended: a stamp on every event costs no rows, and no refusal is lost to that."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import DAY
from cdp.consent import RESTRAINING, Member, Record, RecordState, Statement, standing
from cdp.consent.news import Latest
from cdp.consent.precedence import may_lift
from cdp.policy import Purpose

EMAIL = "marketing.communications.email"
ME = 1
GPC: dict[str, Any] = {"signal": "gpc"}


def record(day: float, said: str, purpose: str = EMAIL, **changes: Any) -> Record:
    kind, state = said.split()
    given: dict[str, Any] = {
        "record_id": int(day * 100),
        "identity_no": ME,
        "purpose": purpose,
        "state": state,
        "act": kind == "act",
        "event_time": int(day * DAY),
        "received_at": int(day * DAY),
        "source_kind": "server",
        "source_id": 1,
        "verified": True,
    }
    return Record(**{**given, **changes})


def said(words: str, purpose: str = EMAIL, **changes: Any) -> Statement:
    kind, state = words.split()
    given: dict[str, Any] = {"purpose": purpose, "state": state, "act": kind == "act", "event_time": 99 * DAY}
    return Statement(**{**given, **changes})


TABLE: list[tuple[str, list[Record], Statement, bool]] = [
    ("anything, where nothing is known", [], said("stamp granted"), True),
    ("a grant that is stamped again", [record(1, "stamp granted")], said("stamp granted"), False),
    ("a stamp over a refusal", [record(1, "stamp refused")], said("stamp granted"), False),
    ("a refusal over a grant", [record(1, "act granted")], said("stamp refused"), True),
    ("a milder refusal", [record(1, "act withdrawn")], said("stamp refused"), False),
    ("a harsher refusal", [record(1, "stamp refused")], said("stamp opted_out"), True),
    (
        "a milder refusal of what an act for a part has lifted since",
        [record(1, "act withdrawn", "marketing"), record(2, "act granted")],
        said("stamp refused", "marketing"),
        True,
    ),
    (
        "the same, when the part was withdrawn again",
        [
            record(1, "act withdrawn", "marketing"),
            record(2, "act granted"),
            record(3, "stamp refused", "marketing"),
        ],
        said("stamp refused", "marketing"),
        False,
    ),
    (
        "a stamp for a part lifts nothing, so nothing is new",
        [record(1, "act withdrawn", "marketing"), record(2, "stamp granted")],
        said("stamp refused", "marketing"),
        False,
    ),
    ("an act that says the same at another time", [record(1, "act granted")], said("act granted"), True),
    ("the very same act", [record(99, "act granted")], said("act granted"), False),
    (
        "a refusal during a restriction, which outlives it",
        [record(1, "act granted"), record(2, "act restricted")],
        said("stamp refused"),
        True,
    ),
    ("a stamped grant during a restriction", [record(2, "act restricted")], said("stamp granted"), False),
    ("Sec-GPC for the first time", [record(1, "act withdrawn")], said("stamp opted_out", **GPC), True),
    ("Sec-GPC again", [record(1, "stamp opted_out", **GPC)], said("stamp opted_out", **GPC), False),
    (
        "Sec-GPC after an act that does not lift it",
        [record(1, "stamp opted_out", **GPC), record(2, "act granted")],
        said("stamp opted_out", **GPC),
        False,
    ),
    (
        "Sec-GPC after the explicit act that settled it",
        [record(1, "stamp opted_out", **GPC), record(2, "act granted", event_type="explicit")],
        said("stamp opted_out", **GPC),
        False,
    ),
    (
        "Sec-GPC after that act was taken back",
        [
            record(1, "stamp opted_out", **GPC),
            record(2, "act granted", event_type="explicit"),
            record(3, "act withdrawn"),
        ],
        said("stamp opted_out", **GPC),
        True,
    ),
    (
        "Sec-GPC for the first time after an explicit act",
        [record(2, "act granted", event_type="explicit")],
        said("stamp opted_out", **GPC),
        True,
    ),
]


@pytest.mark.parametrize(
    ("ledger", "statement", "news"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_what_is_news(ledger: list[Record], statement: Statement, *, news: bool) -> None:
    assert _latest(ledger).is_news(ME, statement) is news


def _latest(ledger: list[Record]) -> Latest:
    return Latest(ledger, lambda act: may_lift(act) and act.event_type == "explicit")


KEYS = st.sampled_from([EMAIL, "marketing.communications", "marketing"])
SAID = st.builds(
    lambda state, act, purpose: said(f"{'act' if act else 'stamp'} {state}", purpose),
    st.sampled_from([state for state in get_args(RecordState) if state != "restriction_lifted"]),
    st.booleans(),
    KEYS,
)


@given(st.lists(SAID, max_size=8))
def test_what_is_left_out_would_have_changed_nothing(statements: list[Statement]) -> None:
    """Restraints are left out only where the state is restrained already; the person ends up the same."""
    me = [Member(identity_no=ME, device=False, linked_at={}, history=True)]
    latest = _latest([])
    kept: list[Record] = []
    everything: list[Record] = []
    for day, statement in enumerate(statements, 1):
        made = record(day, "act granted", statement.purpose, state=statement.state, act=statement.act)
        everything.append(made)
        fresh = Statement(
            purpose=statement.purpose, state=statement.state, act=statement.act, event_time=made.event_time
        )
        if latest.is_news(ME, fresh):
            latest.add(made)
            kept.append(made)
        for key in (EMAIL, "marketing.communications", "marketing"):
            purpose = Purpose(key=key, name="", description="", basis={"*": "consent"})
            whole = standing(purpose, me, everything, 100 * DAY)
            short = standing(purpose, me, kept, 100 * DAY)
            assert (whole.state in RESTRAINING) == (short.state in RESTRAINING)
            assert (whole.state == "granted") >= (short.state == "granted")
