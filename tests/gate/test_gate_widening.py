"""What the text of a candidate newly permits: found whether or not anybody falls under it today."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gate_properties import CONDITIONS, FACTS, FIELDS, PLACES, transforms

from cdp.gate.decide import decide, meet
from cdp.gate.model import CLEAR, Clause, Decision, Facts, Terms, Truth
from cdp.gate.review.widen import Widening, opened, widened
from cdp.policy import build, read_folder

MAILS, GUARDS = "rules/communications.yaml", "rules/protection.yaml"
SHIPPED = read_folder(Path(__file__).parents[2] / "policies")


def edited(name: str, old: str, new: str) -> tuple[Widening, ...]:
    """What the shipped policies would newly permit with the first ``old`` of a file replaced."""
    text = SHIPPED[name].decode()
    assert old in text, (name, old)
    return widened(build(SHIPPED), build({**SHIPPED, name: text.replace(old, new, 1).encode()}))


AGREED = "consent and consent_age<=730d and not_minor"
TOLD = "notice_given and place_known"
MINORS = "  require: {not_minor: false}\n"
SEPARATE = "    separate_consent: [CN]\n"
NOTICE = "    notices:\n      - id: email-news"
# file, what is there, what stands there instead; destination, what, a name, a jurisdiction, before, after
WIDER = [
    (MAILS, "user.location.coarse, user.prof", "user.location.coarse, user.inferred, user.prof",
     "mailer", "inputs", "user.inferred.value_tier", "EU", "never", f"{AGREED} and notice_current"),
    (MAILS, '"*": drop', '"*": clear', "mailer", "fields", "user.behavior", "EU", "drop", "clear"),
    (MAILS, "user.name.first: clear", "user.name: clear",
     "mailer", "fields", "user.name", "EU", "drop", "clear"),
    (MAILS, ", notice_current: true", "",
     "mailer", "rows", "", "UK", f"{AGREED} and notice_current", AGREED),
    (MAILS, "jurisdictions: [EU, UK, CN, other]", "jurisdictions: [EU, UK, CN, other, US]",
     "mailer", "rows", "", "US", f"not_minor and {TOLD}", f"{AGREED} and notice_current"),
    (GUARDS, "inputs: sensitive", "inputs: user.health",
     "mailer", "fields", "user.location", "EU", "drop", "generalise:country"),
    (GUARDS, MINORS, f"  jurisdictions: UK\n{MINORS}",
     "mailer", "rows", "", "US", f"not_minor and {TOLD}", TOLD),
    ("rules/advertising.yaml", "user.contact.email: hash", "user.contact.email: clear",
     "adnet", "fields", "user.contact.email", "CN", "hash", "clear"),
    ("fields.yaml", "gender: {category: user.demographic.gender", "gender: {category: user.name.first",
     "mailer", "fields", "traits.gender", "EU", "drop", "clear"),
    ("purposes.yaml", SEPARATE + NOTICE, NOTICE,
     "mailer", "rows", "", "CN", f"{AGREED} and notice_current and separate_consent",
     f"{AGREED} and notice_current"),
    ("destinations/mailer.yaml", "purposes: [", "purposes: [marketing.advertising, ",
     None, "", "", "", "", ""),  # no rule is about it
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "destination", "what", "named", "place", "before", "after"),
    WIDER,
    ids=[row[2][:50] for row in WIDER],
)
def test_what_a_text_newly_permits(
    name: str,
    old: str,
    new: str,
    destination: str | None,
    what: str,
    named: str,
    place: str,
    before: str,
    after: str,
) -> None:
    found = edited(name, old, new)
    assert any(
        (one.destination, one.what, one.before, one.after) == (destination, what, before, after)
        and place in one.jurisdictions
        and (not named or named in one.names)
        and (one.rules or name in {"fields.yaml", "purposes.yaml"})
        for one in found
    ) == (destination is not None), found
    assert found or destination is None


@pytest.mark.parametrize(
    "edit",
    [
        (MAILS, "max_age_days: 730", "max_age_days: 30"),
        (MAILS, "user.contact.email: clear", "user.contact.email: mask"),
        (MAILS, "user.behavior.purchase_history, ", ""),
        (MAILS, "id: email-marketing-us", "id: email-marketing-america"),  # another name for the same
        ("destinations/mailer.yaml", "enabled: true", "enabled: false"),
        ("destinations/adnet.yaml", "minimum_audience: ", "minimum_audience: 1"),
        ("taxonomy.yaml", "user.name: {name: Name}", "user.name: {name: Name, sensitive: true}"),
    ],
)
def test_a_narrower_text_permits_nothing_new(edit: tuple[str, str, str]) -> None:
    assert edited(*edit) == ()


def test_a_new_destination_is_told_in_full() -> None:
    files = dict(SHIPPED)
    mailer = files["destinations/mailer.yaml"].decode()
    files["destinations/post.yaml"] = mailer.replace("name: mailer", "name: post").encode()
    found = widened(build(SHIPPED), build(files))
    assert {one.destination for one in found} == {"post"}
    assert {one.what for one in found} == {"rows", "inputs", "fields"}


HERE = PLACES[:2]
clauses = st.builds(
    Clause,
    rule=st.just("rule"),
    where=st.dictionaries(
        st.sampled_from(HERE), st.lists(st.sampled_from(CONDITIONS), max_size=1).map(tuple), min_size=1
    ),
    inputs=st.frozensets(st.sampled_from(FIELDS)),
    plan=st.tuples(*[st.just(CLEAR) | transforms] * len(FIELDS)),
)
texts = st.builds(
    Terms,
    home=st.just(frozenset()),
    everywhere=st.just(frozenset(HERE)),
    permits=st.lists(clauses, min_size=1, max_size=3).map(tuple),
    forbids=st.lists(clauses, max_size=1).map(tuple),
    limits=st.lists(clauses, max_size=3).map(tuple),
    inputs=st.just(frozenset(FIELDS)),
    fields=st.just(FIELDS),
)
people = st.builds(  # the gate knows a fact, or does not
    Facts,
    places=st.none() | st.frozensets(st.sampled_from(HERE), min_size=1),
    known=st.fixed_dictionaries({}, optional={fact: st.just(Truth.TRUE) for fact in FACTS}),
)


def asked(terms: Terms, inputs: frozenset[str], outputs: tuple[str, ...]) -> Terms:
    """The terms of one question, as ``bind`` makes them."""
    touched = inputs | frozenset(outputs)

    def only(held: tuple[Clause, ...], *, listed: bool) -> tuple[Clause, ...]:
        return tuple(
            msgspec.structs.replace(
                clause,
                inputs=clause.inputs & inputs,
                plan=tuple(clause.plan[terms.fields.index(name)] for name in outputs),
            )
            for clause in held
            if listed or not clause.inputs or clause.inputs & touched
        )

    return msgspec.structs.replace(
        terms,
        permits=only(terms.permits, listed=True),
        forbids=only(terms.forbids, listed=False),
        limits=only(terms.limits, listed=True),
        inputs=inputs,
        fields=outputs,
    )


def wider_fields(before: Decision, after: Decision, outputs: tuple[str, ...]) -> set[str]:
    """The fields that leave in a form that was not permitted."""
    plans = zip(outputs, before.plan, after.plan, strict=True)
    return {name for name, one, other in plans if meet(one, other) != other}


@st.composite
def candidates(draw: st.DrawFn) -> tuple[Terms, Terms]:
    """A text, and one in which some clauses are gone or say something else."""
    before = draw(texts)

    def changed(held: tuple[Clause, ...]) -> tuple[Clause, ...]:
        made = []
        for clause in held:
            what = draw(st.sampled_from(("", "inputs", "plan", "plan", "where", "gone")))
            if what != "gone":
                other = draw(clauses) if what else clause
                made.append(
                    msgspec.structs.replace(clause, **{what or "rule": getattr(other, what or "rule")})
                )
        return tuple(made)

    after = msgspec.structs.replace(
        before,
        permits=changed(before.permits),
        forbids=changed(before.forbids),
        limits=changed(before.limits),
    )
    return before, after


@settings(max_examples=300)
@given(
    candidates(),
    people,
    st.frozensets(st.sampled_from(FIELDS), max_size=1),
    st.sampled_from((FIELDS, FIELDS, FIELDS[:1], ())),
)
def test_nobody_is_ever_permitted_more_without_its_being_told(
    both: tuple[Terms, Terms], facts: Facts, inputs: frozenset[str], outputs: tuple[str, ...]
) -> None:
    """Over random rules, people and questions: what ``decide`` newly permits, ``opened`` names."""
    before, after = both
    held, made = (decide(asked(terms, inputs, outputs), facts) for terms in (before, after))
    told = [found for place in facts.places or HERE for found in opened(before, after, place, {})]
    if made.allowed and not held.allowed:
        assert told
    elif made.allowed:
        assert wider_fields(held, made, outputs) <= {name for what, _, _, name in told if what == "fields"}
