"""What is appended: a stamp on every event costs no rows, and no refusal is lost to that."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp.clock import DAY
from cdp.consent import RESTRAINING, Member, Record, RecordState, Standing, Statement, standing
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


def said(words: str, purpose: str = EMAIL, **changes: Any) -> Statement | Record:
    """Return what is said as the ledger asks about it: an act as it would be recorded, a stamp as it came."""
    kind, state = words.split()
    if kind == "act":
        return record(100, words, purpose, **{"event_time": 99 * DAY, **changes})
    given: dict[str, Any] = {"purpose": purpose, "state": state, "act": False, "event_time": 99 * DAY}
    return Statement(**{**given, **changes})


AT_99: dict[str, Any] = {"event_time": 99 * DAY}
TCF: dict[str, Any] = {"signal": "tcf"}
UNSIGNED: dict[str, Any] = {"source_kind": "browser", "verified": False}
OTHER_PARTS: dict[str, dict[str, Any]] = {
    "end": {"expires_at": 200 * DAY},
    "recipient": {"recipients": ("a",)},
    "kind": {"event_type": "separate"},
    "notice": {"notice_id": "n"},
    "version of its notice": {"notice_version": 2},
    "jurisdiction": {"jurisdiction": "US-CA"},
    "voice": {"source_kind": "browser", "verified": False},
}

TABLE: list[tuple[str, list[Record], Statement | Record, bool]] = [
    ("anything, where nothing is known", [], said("stamp granted"), True),
    ("a grant that is stamped again", [record(1, "stamp granted")], said("stamp granted"), False),
    ("a first grant after a notice", [record(1, "act informed")], said("stamp granted"), True),
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
    *(
        (
            f"an act at the same time with another {part}",
            [record(99, "act granted")],
            said("act granted", **more),
            True,
        )
        for part, more in OTHER_PARTS.items()
    ),
    ("the very same refusal", [record(99, "act withdrawn")], said("act withdrawn"), False),
    (
        "a string that the person has renewed",
        [record(1, "stamp granted", **TCF)],
        said("stamp granted", **TCF),
        True,
    ),
    (
        "the same string again",
        [record(1, "stamp granted", **TCF, **AT_99)],
        said("stamp granted", **TCF),
        False,
    ),
    ("another signal later", [record(1, "stamp granted")], said("stamp granted", **TCF), False),
    (
        "a renewed string over a refusal",
        [record(1, "stamp refused", **TCF)],
        said("stamp granted", **TCF),
        False,
    ),
    (
        "a stamp that leaves out a recipient of an import",
        [record(1, "act granted", recipients=("a", "b"), source_kind="import")],
        said("stamp granted", recipients=("a",)),
        True,
    ),
    (
        "a stamp that leaves out a recipient of an act",
        [record(1, "act granted", recipients=("a", "b"))],
        said("stamp granted", recipients=("a",)),
        False,
    ),
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
def test_what_is_news(ledger: list[Record], statement: Statement | Record, *, news: bool) -> None:
    assert _latest(ledger).is_news(ME, statement, ME) is news


def _latest(ledger: list[Record]) -> Latest:
    return Latest(ledger, lambda act: may_lift(act) and act.event_type == "explicit")


KEYS = (EMAIL, "marketing.communications", "marketing")
SAID = st.fixed_dictionaries(
    {
        "state": st.sampled_from([state for state in get_args(RecordState) if state != "restriction_lifted"]),
        "act": st.booleans(),
        "purpose": st.sampled_from(KEYS),
        "recipients": st.sampled_from([(), (), ("a",), ("a", "b"), ("b", "c")]),
        "expires_at": st.sampled_from([None, 150 * DAY]),
        "source_kind": st.sampled_from(["server", "server", "import"]),
        "signal": st.sampled_from(["", "tcf"]),
    }
)


@settings(max_examples=300, deadline=None)
@given(st.lists(SAID, max_size=8), st.booleans())
def test_what_is_left_out_would_have_changed_nothing(
    statements: list[dict[str, Any]],
    at_once: bool,  # noqa: FBT001  # drawn
) -> None:
    """Restraints are left out only where the state is restrained already, grants where no answer changes."""
    me = [Member(identity_no=ME, device=False, linked_at={})]
    latest = _latest([])
    kept: list[Record] = []
    everything: list[Record] = []
    for day, given_ in enumerate(statements, 1):
        made = record(day, "act granted", **given_, event_time=0 if at_once else day * DAY)
        everything.append(made)
        stamp = {name: value for name, value in given_.items() if name != "source_kind"}
        if latest.is_news(ME, made if made.act else Statement(**stamp, event_time=made.event_time), ME):
            latest.add(made)
            kept.append(made)
        for key in KEYS:
            purpose = Purpose(key=key, name="", description="", basis={"*": "consent"})
            whole, short = (standing(purpose, me, held, 100 * DAY) for held in (everything, kept))
            assert (whole.state in RESTRAINING) == (short.state in RESTRAINING)
            assert (whole.state == "granted") == (short.state == "granted")
            if whole.state == "granted":
                assert _answer(whole) == _answer(short)


def _answer(state: Standing) -> tuple[object, ...]:
    return state.granted_at, state.expires_at, state.recipients, state.named
