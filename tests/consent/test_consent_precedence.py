"""The decision table of consent precedence (privacy.md, Consent, rules 1-7), and its invariants."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from cdp.clock import DAY
from cdp.consent import RESTRAINING, EventType, Member, Record, RecordState, Standings, standing
from cdp.consent.precedence import may_lift
from cdp.policy import Notice, Purpose, covers

EMAIL = "marketing.communications.email"
NOW = 1_000 * DAY
USER, MAIL, PHONE_APP = 1, 2, 9  # two person-class identities and a device


def purpose(**changes: Any) -> Purpose:
    plain = Purpose(key=EMAIL, name="E-mail", description="", basis={"*": "consent"})
    return msgspec.structs.replace(plain, **changes)


def record(identity: int, day: float, said: str, **changes: Any) -> Record:
    """Return a record received on ``day``; ``said`` is ``act granted`` or ``stamp refused``."""
    kind, state = said.split()
    given: dict[str, Any] = {
        "record_id": int(day * 100) + identity,
        "identity_no": identity,
        "purpose": EMAIL,
        "state": state,
        "act": kind == "act",
        "event_time": int(day * DAY),
        "received_at": int(day * DAY),
        "source_kind": "server",
        "source_id": 1,
        "verified": True,
    }
    return Record(**{**given, **changes})


def members(*numbers: int, linked: float = 0, fresh: tuple[int, ...] = ()) -> list[Member]:
    """Return a profile in which every pair was linked on day ``linked``; ``fresh`` came with all."""
    return [
        Member(
            identity_no=number,
            device=number == PHONE_APP,
            linked_at={other: int(linked * DAY) for other in numbers if other != number},
            vouched_at={other: int(linked * DAY) for other in numbers if other != number},
            came_with=dict.fromkeys(numbers, True) if number in fresh else {},
            seen_at=int(linked * DAY) if number in fresh else 0,
        )
        for number in numbers
    ]


ONE = members(USER)
LINKED = members(USER, MAIL, PHONE_APP)  # linked on day 0, before everything that is said
MERGED = members(USER, MAIL, linked=50)
MERGED_DEVICE = members(USER, PHONE_APP, linked=50)
IMPORT: dict[str, Any] = {"source_kind": "import"}
BROWSER: dict[str, Any] = {"source_kind": "browser", "verified": False}
SIGNED: dict[str, Any] = {"source_kind": "browser", "verified": True}
MARKETING = {"purpose": "marketing"}
TCF: dict[str, Any] = {"signal": "tcf", **BROWSER}

TABLE: list[tuple[str, list[Member], list[Record], str]] = [
    # nothing, and the plain cases
    ("nothing was ever said", ONE, [], "missing no_record"),
    ("a grant", ONE, [record(USER, 1, "act granted")], "granted granted"),
    ("a refusal", ONE, [record(USER, 1, "stamp refused")], "refused refused"),
    # 1 rank
    (
        "a grant of Monday that arrives on Wednesday does not undo Tuesday's withdrawal",
        ONE,
        [record(USER, 2, "act withdrawn"), record(USER, 3, "act granted", event_time=1 * DAY)],
        "withdrawn withdrawn",
    ),
    (
        "a phone with a clock of 1970 cannot lose a withdrawal",
        ONE,
        [record(USER, 1, "act granted"), record(USER, 2, "act withdrawn", event_time=0)],
        "withdrawn withdrawn",
    ),
    (
        "a grant dated in the future gains nothing",
        ONE,
        [record(USER, 1, "act granted", event_time=9 * DAY), record(USER, 2, "act withdrawn")],
        "withdrawn withdrawn",
    ),
    (
        "on ties the restraint wins",
        ONE,
        [record(USER, 2, "act granted"), record(USER, 2, "act withdrawn")],
        "withdrawn withdrawn",
    ),
    (
        "a later act lifts a withdrawal",
        ONE,
        [record(USER, 1, "act withdrawn"), record(USER, 2, "act granted")],
        "granted granted",
    ),
    # 2 acts and stamps
    ("a stamp may give a first grant", ONE, [record(USER, 1, "stamp granted")], "granted granted"),
    (
        "a stamp lifts nothing",
        ONE,
        [record(USER, 1, "act withdrawn"), record(USER, 2, "stamp granted")],
        "withdrawn withdrawn",
    ),
    (
        "a stamp may restrain, over an act too",
        ONE,
        [record(USER, 1, "act granted"), record(USER, 2, "stamp refused")],
        "refused refused",
    ),
    # 3 who may say it
    (
        "an import lifts nothing",
        ONE,
        [record(USER, 1, "act withdrawn"), record(USER, 2, "act granted", **IMPORT)],
        "withdrawn withdrawn",
    ),
    (
        "an unsigned browser lifts nothing",
        ONE,
        [record(USER, 1, "act withdrawn"), record(USER, 2, "act granted", **BROWSER)],
        "withdrawn withdrawn",
    ),
    (
        "a browser with a signed user id lifts",
        ONE,
        [record(USER, 1, "act withdrawn"), record(USER, 2, "act granted", **SIGNED)],
        "granted granted",
    ),
    ("an import may give a first grant", ONE, [record(USER, 1, "act granted", **IMPORT)], "granted granted"),
    (
        "an import after an expired grant renews nothing",
        ONE,
        [record(USER, 1, "act granted", expires_at=5 * DAY), record(USER, 6, "act granted", **IMPORT)],
        "stale stale_expired",
    ),
    (
        "nor does an unsigned browser, after an import",
        members(PHONE_APP),
        [
            record(PHONE_APP, 1, "act granted", **IMPORT, expires_at=5 * DAY),
            record(PHONE_APP, 6, "act granted", **BROWSER),
        ],
        "stale stale_expired",
    ),
    (
        "nor a stamp, after an import; nor does an older one that is told later",
        ONE,
        [
            record(USER, 2, "act granted", **IMPORT, expires_at=5 * DAY),
            record(USER, 6, "stamp granted"),
            record(USER, 7, "act granted", **IMPORT, event_time=0),
        ],
        "stale stale_expired",
    ),
    (
        "an act renews what an import gave",
        ONE,
        [record(USER, 1, "act granted", **IMPORT, expires_at=5 * DAY), record(USER, 6, "act granted")],
        "granted granted",
    ),
    (
        "a consent string that the person has renewed renews what such a string gave",
        members(PHONE_APP),
        [
            record(PHONE_APP, 1, "stamp granted", **TCF, expires_at=5 * DAY),
            record(PHONE_APP, 6, "stamp granted", **TCF, expires_at=NOW + 1),
        ],
        "granted granted",
    ),
    (
        "it renews no other grant",
        members(PHONE_APP),
        [
            record(PHONE_APP, 1, "stamp granted", expires_at=5 * DAY),
            record(PHONE_APP, 6, "stamp granted", **TCF, expires_at=NOW + 1),
        ],
        "stale stale_expired",
    ),
    (
        "and lifts nothing",
        members(PHONE_APP),
        [record(PHONE_APP, 1, "stamp refused", **TCF), record(PHONE_APP, 6, "stamp granted", **TCF)],
        "refused refused",
    ),
    # 4 for whom an act answers
    (
        "an act after the links answers every restraint and every missing record",
        LINKED,
        [
            record(MAIL, 1, "act withdrawn"),
            record(PHONE_APP, 2, "stamp refused"),
            record(USER, 3, "act granted"),
        ],
        "granted granted",
    ),
    (
        "after a split those bind again",
        members(MAIL),
        [record(MAIL, 1, "act withdrawn"), record(USER, 3, "act granted")],
        "withdrawn withdrawn",
    ),
    (
        "an act before the link does not answer for the other",
        MERGED,
        [record(MAIL, 1, "act withdrawn"), record(USER, 3, "act granted")],
        "withdrawn withdrawn",
    ),
    (
        "the act in the very message that links answers",
        MERGED,
        [record(MAIL, 1, "act withdrawn"), record(USER, 50, "act granted")],
        "granted granted",
    ),
    (
        "an objection is lifted by the person's act",
        ONE,
        [record(USER, 1, "act objected"), record(USER, 2, "act granted")],
        "granted granted",
    ),
    (
        "a restriction is not",
        ONE,
        [record(USER, 1, "act restricted"), record(USER, 2, "act granted")],
        "restricted restricted",
    ),
    (
        "an unsigned browser's grant answers for nobody else",
        LINKED,
        [record(PHONE_APP, 1, "act granted", **BROWSER)],
        "missing merge_missing",
    ),
    # 4 restrictions: an officer's
    (
        "an officer lifts a restriction after telling the person; what was granted before holds again",
        ONE,
        [
            record(USER, 1, "act granted"),
            record(USER, 2, "act restricted"),
            record(USER, 3, "act restriction_lifted"),
        ],
        "granted granted",
    ),
    (
        "a restriction that is lifted leaves nothing where nothing was said",
        ONE,
        [record(USER, 2, "act restricted"), record(USER, 3, "act restriction_lifted")],
        "missing no_record",
    ),
    (
        "who was told before the restriction was not told of its end",
        ONE,
        [record(USER, 2, "act restricted"), record(USER, 3, "act restriction_lifted", event_time=1 * DAY)],
        "restricted restricted",
    ),
    (
        "lifting a restriction lifts no withdrawal",
        ONE,
        [
            record(USER, 1, "act withdrawn"),
            record(USER, 2, "act restricted"),
            record(USER, 3, "act restriction_lifted"),
        ],
        "withdrawn withdrawn",
    ),
    (
        "lifted for one purpose, it still binds the others",
        ONE,
        [
            record(USER, 2, "act restricted", **MARKETING),
            record(USER, 3, "act restriction_lifted", purpose="marketing.advertising"),
        ],
        "restricted restricted_above",
    ),
    (
        "the refusal that came during a restriction holds after it",
        ONE,
        [
            record(USER, 1, "act granted"),
            record(USER, 2, "act restricted"),
            record(USER, 3, "stamp refused"),
            record(USER, 4, "act restriction_lifted"),
        ],
        "refused refused",
    ),
    # 5 merge
    (
        "most restrictive until an act re-affirms",
        MERGED,
        [record(USER, 1, "act granted"), record(MAIL, 2, "stamp refused")],
        "refused refused",
    ),
    (
        "an act re-affirms",
        MERGED,
        [record(USER, 1, "act granted"), record(MAIL, 2, "stamp refused"), record(USER, 60, "act granted")],
        "granted granted",
    ),
    (
        "having no record is restrictive on a person with a history",
        MERGED,
        [record(USER, 1, "act granted")],
        "missing merge_missing",
    ),
    ("neutral on a device", MERGED_DEVICE, [record(USER, 1, "act granted")], "granted granted"),
    (
        "neutral on an identity first seen in the event that linked it",
        members(USER, MAIL, linked=50, fresh=(MAIL,)),
        [record(USER, 1, "act granted")],
        "granted granted",
    ),
    (
        "restrictive where an unsigned browser says whom somebody came with",
        [MERGED[0], msgspec.structs.replace(MERGED[1], came_with={USER: False}, seen_at=50 * DAY)],
        [record(USER, 1, "act granted")],
        "missing merge_missing",
    ),
    (
        "restrictive on one that came with another, whom nobody asked",
        [
            *members(USER, PHONE_APP),
            Member(identity_no=MAIL, device=False, linked_at={}, came_with={USER: True}),
        ],
        [record(PHONE_APP, 1, "act granted", **BROWSER)],
        "missing merge_missing",
    ),
    (
        "a device's own grant is there for whoever comes with it later",
        members(MAIL, PHONE_APP, linked=50, fresh=(MAIL,)),
        [record(PHONE_APP, 1, "act granted", **BROWSER)],
        "granted granted",
    ),
    (
        "but for nobody who was known when an unsigned browser gave it",
        members(MAIL, PHONE_APP, linked=50, fresh=(MAIL,)),
        [record(PHONE_APP, 51, "act granted", **BROWSER)],
        "missing merge_missing",
    ),
    (
        "and not for an address that came with them later",
        [
            *members(USER, PHONE_APP, linked=50, fresh=(USER,)),
            Member(identity_no=MAIL, device=False, linked_at={}, came_with={USER: False}, seen_at=60 * DAY),
        ],
        [record(PHONE_APP, 1, "act granted", **BROWSER)],
        "missing merge_missing",
    ),
    (
        "unless a server says so",
        [
            *members(USER, PHONE_APP, linked=50, fresh=(USER,)),
            Member(identity_no=MAIL, device=False, linked_at={}, came_with={USER: True}, seen_at=60 * DAY),
        ],
        [record(PHONE_APP, 1, "act granted", **BROWSER)],
        "granted granted",
    ),
    (
        "the worst of several restraints is named",
        LINKED,
        [
            record(USER, 3, "act withdrawn"),
            record(MAIL, 1, "act objected"),
            record(PHONE_APP, 2, "stamp refused"),
        ],
        "objected objected",
    ),
    (
        "grants to different recipients are a grant to none",
        MERGED,
        [
            record(USER, 1, "act granted", recipients=("a",)),
            record(MAIL, 1, "act granted", recipients=("b",)),
        ],
        "missing merge_recipients",
    ),
    # 6 purposes above and below
    (
        "a restraint covers all below",
        ONE,
        [record(USER, 1, "act granted"), record(USER, 2, "act withdrawn", **MARKETING)],
        "withdrawn withdrawn_above",
    ),
    ("a grant covers nothing below", ONE, [record(USER, 1, "act granted", **MARKETING)], "missing no_record"),
    (
        "a restraint below says nothing about the purpose above",
        ONE,
        [record(USER, 1, "act granted"), record(USER, 2, "act withdrawn", purpose=EMAIL + ".news")],
        "granted granted",
    ),
    (
        "a name that only begins alike is another purpose",
        ONE,
        [record(USER, 1, "act granted"), record(USER, 2, "act withdrawn", purpose="market")],
        "granted granted",
    ),
    (
        "an act for the purpose itself lifts a restraint from above",
        ONE,
        [record(USER, 1, "act withdrawn", **MARKETING), record(USER, 2, "act granted")],
        "granted granted",
    ),
    (
        "an act for the purpose above lifts, but grants nothing",
        ONE,
        [
            record(USER, 1, "act granted"),
            record(USER, 2, "act withdrawn", **MARKETING),
            record(USER, 3, "act granted", **MARKETING),
        ],
        "missing not_affirmed",
    ),
    (
        "an act for the purpose above does not lift a restraint of the purpose itself",
        ONE,
        [record(USER, 1, "act withdrawn"), record(USER, 2, "act granted", **MARKETING)],
        "withdrawn withdrawn",
    ),
    # 3 acts that may lift nothing
    (
        "an import grants nothing where something was recorded, even if it was lifted",
        ONE,
        [
            record(USER, 1, "act withdrawn", **MARKETING),
            record(USER, 2, "act granted", purpose="marketing.communications"),
            record(USER, 3, "act granted", **IMPORT),
        ],
        "missing not_affirmed",
    ),
    # 7 stale
    ("expired", ONE, [record(USER, 1, "act granted", expires_at=NOW)], "stale stale_expired"),
    ("not yet expired", ONE, [record(USER, 1, "act granted", expires_at=NOW + 1)], "granted granted"),
    (
        "one expired grant of a merge is enough",
        MERGED,
        [record(USER, 1, "act granted"), record(MAIL, 1, "act granted", expires_at=NOW)],
        "stale stale_expired",
    ),
    (
        "a restraint never expires",
        ONE,
        [record(USER, 1, "act withdrawn", expires_at=2 * DAY)],
        "withdrawn withdrawn",
    ),
]


@pytest.mark.parametrize(
    ("profile", "records", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_decision_table(profile: list[Member], records: list[Record], expected: str) -> None:
    for order in itertools.permutations(records):
        found = standing(purpose(), profile, order, NOW)
        assert f"{found.state} {found.reason}" == expected


GPC: dict[str, Any] = {"signal": "gpc"}
HERE: dict[str, Any] = {"jurisdiction": "US-CA", "event_type": "explicit"}


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (HERE, "granted"),
        ({**HERE, "jurisdiction": "US-CO"}, "opted_out"),
        ({**HERE, "jurisdiction": ""}, "opted_out"),
        ({**HERE, "event_type": "regular"}, "opted_out"),
        ({**HERE, "event_time": 0}, "opted_out"),
        ({**HERE, **BROWSER}, "opted_out"),
        ({**HERE, "purpose": "marketing.communications"}, "opted_out"),
    ],
)
def test_gpc_is_lifted_by_an_explicit_act_for_the_purpose_where_the_law_allows(
    said: dict[str, Any], state: str
) -> None:
    def lifts(act: Record) -> bool:
        return may_lift(act) and act.jurisdiction == "US-CA" and act.event_type != "regular"

    opted_out = record(USER, 1, "stamp opted_out", **GPC)
    ledger = [opted_out, record(USER, 2, "act granted", **said)]
    assert standing(purpose(), ONE, ledger, NOW, lifts).state == state
    assert standing(purpose(), ONE, ledger, NOW).state == "opted_out", "without a policy nothing lifts it"


def test_gpc_from_above_is_lifted_for_the_named_purpose_only() -> None:
    ledger = [record(USER, 1, "stamp opted_out", **GPC, **MARKETING), record(USER, 2, "act granted", **HERE)]
    assert standing(purpose(), ONE, ledger, NOW, may_lift).state == "granted"
    other = purpose(key="marketing.advertising")
    assert standing(other, ONE, ledger, NOW, may_lift).state == "opted_out"


def test_a_grant_older_than_its_validity_is_stale() -> None:
    granted = [record(USER, 10, "act granted")]
    found = standing(purpose(validity_days=30), ONE, granted, 40 * DAY - 1)
    assert (found.state, found.expires_at) == ("granted", 40 * DAY)
    assert standing(purpose(validity_days=30), ONE, granted, 40 * DAY).reason == "stale_expired"


@pytest.mark.parametrize(("material", "state"), [(True, "stale"), (False, "granted")])
def test_only_a_material_change_of_the_notice_makes_stale(material: bool, state: str) -> None:  # noqa: FBT001  # a table
    notices = (
        Notice(id="n", version=1, material=True, text="one"),
        Notice(id="n", version=2, material=material, text="two"),
    )
    granted = [record(USER, 1, "act granted", notice_id="n", notice_version=1)]
    found = standing(purpose(notices=notices), ONE, granted, NOW)
    assert (found.state, found.notice_current) == (state, not material)


def test_a_grant_on_a_notice_that_is_not_archived_is_not_on_the_current_one() -> None:
    notices = (Notice(id="n", version=1, material=True, text="one"),)
    granted = [record(USER, 1, "act granted", notice_id="paper", notice_version=1)]
    assert not standing(purpose(notices=notices), ONE, granted, NOW).notice_current


def test_what_a_merge_may_claim_is_the_weakest_of_its_parts() -> None:
    granted = [
        record(USER, 5, "act granted", event_type="separate", recipients=("a", "b")),
        record(MAIL, 3, "act granted", event_type="explicit", recipients=("b", "c")),
    ]
    found = standing(purpose(), MERGED, granted, NOW)
    assert (found.event_type, found.recipients, found.granted_at) == ("explicit", ("b",), 3 * DAY)


A, B, AB = ({"recipients": names} for names in (("a",), ("b",), ("a", "b")))
TO: list[tuple[str, list[Record], dict[str, str]]] = [
    ("nobody is named", [record(USER, 1, "act granted")], {"a": "granted", "b": "granted"}),
    ("one is", [record(USER, 1, "act granted", **A)], {"a": "granted", "b": ""}),
    (
        "two grants for two recipients both stand",
        [record(USER, 1, "act granted", **A), record(USER, 2, "act granted", **B)],
        {"a": "granted", "b": "granted"},
    ),
    (
        "and each ends for its own",
        [record(USER, 1, "act granted", **A, expires_at=NOW), record(USER, 2, "act granted", **B)],
        {"a": "", "b": "granted"},
    ),
    (
        "the newer one for the same recipient counts",
        [record(USER, 1, "act granted", **AB), record(USER, 2, "act granted", **B, expires_at=NOW)],
        {"a": "granted", "b": ""},
    ),
    (
        "one that names nobody includes those named before",
        [record(USER, 1, "act granted", **A), record(USER, 2, "act granted")],
        {"a": "granted", "b": "granted"},
    ),
    (
        "one that names somebody replaces one that named nobody",
        [record(USER, 1, "act granted"), record(USER, 2, "act granted", **A)],
        {"a": "granted", "b": ""},
    ),
    (
        "a withdrawal is one of all",
        [
            record(USER, 1, "act granted", **A),
            record(USER, 2, "act granted", **B),
            record(USER, 3, "act withdrawn"),
        ],
        {"a": "", "b": ""},
    ),
    (
        "after it, each is given anew",
        [
            record(USER, 1, "act granted", **A),
            record(USER, 3, "act withdrawn"),
            record(USER, 4, "act granted", **B),
        ],
        {"a": "", "b": "granted"},
    ),
    (
        "an import adds no recipient",
        [record(USER, 1, "act granted", **A, **IMPORT), record(USER, 2, "act granted", **B, **IMPORT)],
        {"a": "granted", "b": ""},
    ),
    (
        "nor to an act",
        [record(USER, 1, "act granted", **A), record(USER, 2, "act granted", **IMPORT)],
        {"a": "granted", "b": ""},
    ),
    (
        "a renewed consent string adds none either",
        [
            record(USER, 1, "stamp granted", **A, signal="tcf"),
            record(USER, 2, "stamp granted", **AB, signal="tcf"),
        ],
        {"a": "granted", "b": ""},
    ),
    (
        "a stamp leaves one out",
        [record(USER, 1, "stamp granted", **AB), record(USER, 2, "stamp granted", **B)],
        {"a": "", "b": "granted"},
    ),
]


@pytest.mark.parametrize(("records", "expected"), [row[1:] for row in TO], ids=[row[0] for row in TO])
def test_a_grant_matches_its_recipients_exactly(records: list[Record], expected: dict[str, str]) -> None:
    for order in itertools.permutations(records):
        held = Standings.gather({7: standing(purpose(), ONE, order, NOW)})
        assert {name: "granted" if 7 in held.granted(NOW, name) else "" for name in expected} == expected


def test_what_holds_for_one_recipient_holds_for_it_alone() -> None:
    notices = (
        Notice(id="n", version=1, material=True, text="one"),
        Notice(id="n", version=2, material=False, text="two"),
        Notice(id="m", version=1, material=True, text="one"),
        Notice(id="m", version=2, material=True, text="two"),
    )
    old, new, other = (
        {"notice_id": key, "notice_version": version} for key, version in (("paper", 1), ("n", 2), ("m", 1))
    )
    granted = [
        record(USER, 1, "act granted", recipients=("a",), event_type="separate", **old),
        record(USER, 2, "act granted", recipients=("b",), expires_at=NOW + 5, **new),
        record(USER, 3, "act granted", recipients=("c",), **other),
    ]
    found = standing(purpose(notices=notices), ONE, granted, NOW)
    assert (found.state, found.recipients, found.granted_at) == ("granted", ("a", "b"), 1 * DAY)
    assert (found.expires_at, found.event_type, found.notice_current) == (None, "regular", False)
    held = Standings.gather({7: found, 8: standing(purpose(), ONE, [record(USER, 1, "act granted")], NOW)})

    def people(names: str, **more: Any) -> list[list[int]]:
        return [list(held.granted(NOW, name, **more)) for name in names]

    assert people("abc") == [[7, 8], [7, 8], [8]]
    assert people("abc", since=2 * DAY) == [[], [7], []]
    assert people("abc", event_type="separate") == [[7], [], []]
    assert [list(held.on_current_notice(name)) for name in "abz"] == [[], [7], []]
    assert held.valid_until(NOW, [], BitMap([7, 8])) == NOW + 5
    assert list(held.granted(NOW + 5, "a")) == [7, 8]
    assert list(held.granted(NOW + 5, "b")) == [8]
    assert held.valid_until(NOW + 5, [], BitMap([7, 8])) is None
    again = held.replaced(BitMap([7]), Standings.gather({}))
    assert list(again.granted(NOW, "z")) == [8], "nothing is left of who was replaced"


def test_a_withdrawal_took_effect_when_it_was_said() -> None:
    said = record(USER, 5, "act withdrawn", event_time=3 * DAY)
    assert standing(purpose(), ONE, [said], NOW).since == 3 * DAY


def test_a_purpose_that_cannot_be_restrained_is_not() -> None:
    said = [record(USER, 1, "act granted"), record(USER, 2, "act withdrawn")]
    assert standing(purpose(restrainable=False), ONE, said, NOW).state == "granted"


# -- invariants -------------------------------------------------------------------------------------

NUMBERS = (USER, MAIL, PHONE_APP)
KEYS = st.sampled_from([EMAIL, EMAIL, "marketing.communications", "marketing", "analytics"])


@st.composite
def records_of(draw: st.DrawFn, states: tuple[RecordState, ...] = get_args(RecordState)) -> Record:
    identity = draw(st.sampled_from(NUMBERS))
    act = draw(st.booleans())
    return Record(
        record_id=draw(st.integers(0, 10**9)),
        identity_no=identity,
        purpose=draw(KEYS),
        state=draw(st.sampled_from(states)),
        act=act,
        event_time=draw(st.integers(0, 12)) * DAY,
        received_at=draw(st.integers(0, 10)) * DAY,
        signal=draw(st.sampled_from(["", "", "gpc", "tcf"])),
        source_kind=draw(st.sampled_from(["browser", "server", "server", "import"])),
        source_id=1,
        verified=draw(st.booleans()),
        event_type=draw(st.sampled_from(get_args(EventType))),
        expires_at=draw(st.sampled_from([None, None, 5 * DAY, 20 * DAY])),
        recipients=draw(st.sampled_from([(), (), ("a",), ("a", "b")])),
    )


@st.composite
def profiles(draw: st.DrawFn) -> list[Member]:
    numbers = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3, unique=True))
    linked: dict[int, dict[int, int]] = {number: {} for number in numbers}
    for one, other in itertools.combinations(numbers, 2):
        linked[one][other] = linked[other][one] = draw(st.integers(0, 10)) * DAY
    return [
        Member(
            identity_no=number,
            device=number == PHONE_APP,
            linked_at=linked[number],
            vouched_at={other: at for other, at in linked[number].items() if draw(st.booleans())},
            came_with={
                other: draw(st.booleans()) for other in numbers if other != number and draw(st.booleans())
            },
            seen_at=draw(st.integers(0, 10)) * DAY,
        )
        for number in numbers
    ]


LEDGERS = st.lists(records_of(), max_size=7, unique_by=lambda one: one.record_id)
RESTRAINTS = records_of(states=tuple(sorted(RESTRAINING)))  # type: ignore[arg-type]  # they are record states
AT = 11 * DAY


@settings(max_examples=400, deadline=None)
@given(profiles(), LEDGERS, RESTRAINTS)
def test_adding_a_restraint_never_grants(profile: list[Member], ledger: list[Record], more: Record) -> None:
    before = standing(purpose(), profile, ledger, AT)
    after = standing(purpose(), profile, [*ledger, more], AT)
    assert not (after.state == "granted" and before.state != "granted")


@settings(max_examples=400, deadline=None)
@given(profiles(), LEDGERS, st.randoms())
def test_the_order_of_records_does_not_matter(
    profile: list[Member], ledger: list[Record], random: Any
) -> None:
    shuffled = random.sample(ledger, len(ledger))
    assert standing(purpose(), profile, shuffled, AT) == standing(purpose(), profile, ledger, AT)


@settings(max_examples=400, deadline=None)
@given(profiles(), LEDGERS)
def test_a_merge_without_a_later_act_grants_nothing_new(profile: list[Member], ledger: list[Record]) -> None:
    """One identity joins the others after all was said: granted only where each part was, or was silent."""
    joining, rest = profile[0].identity_no, {member.identity_no for member in profile[1:]}
    merged = [
        msgspec.structs.replace(
            member,
            linked_at={
                other: at if joining not in {other, member.identity_no} else AT
                for other, at in member.linked_at.items()
            },
            vouched_at={
                other: at if joining not in {other, member.identity_no} else AT
                for other, at in member.vouched_at.items()
            },
        )
        for member in profile
    ]
    if standing(purpose(), merged, ledger, AT).state != "granted":
        return
    for numbers in ({joining}, rest):
        part = [member for member in merged if member.identity_no in numbers]
        alone = standing(purpose(), part, ledger, AT)
        came = any(not numbers.issuperset(member.came_with) for member in part)
        devices = alone.reason == "no_record" and all(member.device for member in part)
        assert alone.state == "granted" or came or devices


REPORTS = records_of(states=("granted",)).filter(lambda one: not may_lift(one) and one.signal != "tcf")


@settings(max_examples=400, deadline=None)
@given(profiles(), LEDGERS, REPORTS)
def test_what_may_lift_nothing_neither_renews_nor_widens(
    profile: list[Member], ledger: list[Record], more: Record
) -> None:
    """Told last of somebody of whom something was told about the purpose, by an import, browser or stamp."""
    more = msgspec.structs.replace(more, received_at=AT)
    before = standing(purpose(validity_days=30), profile, ledger, AT)
    after = standing(purpose(validity_days=30), profile, [*ledger, more], AT)
    said = [one for one in ledger if one.state not in {"informed", "restriction_lifted"}]
    if any(one.identity_no == more.identity_no and covers(one.purpose, EMAIL) for one in said):
        assert before.state == "granted" or after.state != "granted"
    if before.state == after.state == "granted":
        assert (after.expires_at or AT) <= (before.expires_at or AT)
        if before.recipients:
            assert set(after.recipients) <= set(before.recipients)
            assert after.recipients


@settings(max_examples=200, deadline=None)
@given(profiles(), LEDGERS)
def test_time_alone_never_grants(profile: list[Member], ledger: list[Record]) -> None:
    if standing(purpose(validity_days=3), profile, ledger, AT + 30 * DAY).state == "granted":
        assert standing(purpose(validity_days=3), profile, ledger, AT).state == "granted"
