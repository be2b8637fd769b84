"""Intake obeys: what people refused to have collected is not stored, and is counted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from litestar.testing import TestClient
from prometheus_client import REGISTRY
from sqlalchemy import func, select

from cdp import app
from cdp.audit import AuditFilter
from cdp.clock import SECOND, FixedClock
from cdp.errors import PolicyError
from cdp.identity.tables import identities
from cdp.ingest.tables import events
from cdp.policy import load
from cdp.settings import Settings

POLICIES = Path(__file__).parents[2] / "policies"
RULES = """
rules:
  - sources: {kind: browser}
    purpose: analytics
    when: not_granted
    action: drop
  - sources: {kind: server}
    purpose: personalisation
    when: refused
    action: drop
  - sources: {name: test-server, kind: import}
    purpose: analytics
    when: refused
    action: strip
  - sources: {kind: server}
    purpose: marketing
    when: not_granted
    action: keep
"""


@pytest.fixture
def caller(database_url: str, keys_url: str, tmp_path: Path, clock: FixedClock) -> Iterator[Caller]:
    """A started application whose policies have intake rules."""
    shutil.copytree(POLICIES, tmp_path / "policies")
    (tmp_path / "policies" / "intake.yaml").write_text(RULES, encoding="utf-8")
    chosen = Settings(
        data_dir=tmp_path / "var",
        database_url=database_url,
        keys_database_url=keys_url,
        policies_dir=tmp_path / "policies",
    )
    app.initialise(chosen, clock)
    key = (chosen.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    platform = app.build(chosen, clock)
    with TestClient(app.application(platform)) as http:
        yield Caller(http, key, platform.services)


def message(
    number: int, user: str, *, agreed: bool | None = None, category: str = "Analytics"
) -> dict[str, Any]:
    """Return a page view, or a choice about one category."""
    body: dict[str, Any] = {
        "type": "page" if agreed is None else "track",
        "messageId": f"m{number}",
        "name": "Shop",
        "anonymousId": user,
        "properties": {"title": "Shoes", "path": "/shoes"},
    }
    if agreed is not None:
        body["event"] = "Segment Consent Preference Updated"
        body["context"] = {"consent": {"categoryPreferences": {category: agreed}}}
    return body


def stored(caller: Caller) -> list[tuple[str, bool]]:
    """Return (event name, whether anything of its content is there), in order."""
    query = select(events.c.name, events.c.properties, events.c.sealed).order_by(events.c.batch, events.c.seq)
    with caller.services.store.reading() as connection:
        return [(name, bool(clear or sealed)) for name, clear, sealed in connection.execute(query)]


def people(caller: Caller) -> int:
    with caller.services.store.reading() as connection:
        return connection.execute(select(func.count()).select_from(identities)).scalar_one()


def counts(caller: Caller) -> dict[str, int]:
    """Return the counts of the newest batch."""
    services = caller.services
    with services.store.reading() as connection:
        (entry,) = services.audit.search(connection, AuditFilter(action="ingest.batch"), limit=1)
    return {name: int(entry.counts[name]) for name in ("stored", "duplicates", "quarantined", "suppressed")}


def cut(caller: Caller) -> dict[str, int]:
    """Return what the intake rules did, of the newest batch."""
    services = caller.services
    with services.store.reading() as connection:
        (entry,) = services.audit.search(connection, AuditFilter(action="ingest.batch"), limit=1)
    return {name: int(count) for name, count in entry.counts.items() if "." in name}


def test_stripped_and_dropped_are_counted_apart_by_purpose(caller: Caller, clock: FixedClock) -> None:
    labels = {"done": "stripped", "purpose": "analytics"}
    before = REGISTRY.get_sample_value("cdp_ingest_refused_events_total", labels) or 0
    caller.send(message(1, "visitor"), message(2, "other"), kind="browser")
    assert cut(caller) == {"dropped.analytics": 2}
    caller.send(message(3, "visitor", agreed=False), message(4, "visitor"), message(5, "third"))
    assert cut(caller) == {"stripped.analytics": 2}
    clock.advance(SECOND)
    caller.send(message(6, "visitor", agreed=False, category="Functional"), message(7, "third"))
    assert (cut(caller), counts(caller)["suppressed"]) == ({"dropped.personalisation": 1}, 1)
    assert REGISTRY.get_sample_value("cdp_ingest_refused_events_total", labels) == before + 2


def test_nothing_is_collected_of_strangers_who_have_not_agreed(caller: Caller) -> None:
    caller.send(message(1, "visitor"), message(2, "other"), kind="browser")
    assert counts(caller) == {"stored": 0, "duplicates": 0, "quarantined": 0, "suppressed": 2}
    assert (stored(caller), people(caller)) == ([], 0), "not even that somebody was there"
    caller.send(message(1, "visitor"), kind="browser")
    assert counts(caller) == {"stored": 0, "duplicates": 1, "quarantined": 0, "suppressed": 0}


def test_who_agrees_is_collected_from_then_on(caller: Caller, clock: FixedClock) -> None:
    caller.send(
        message(1, "visitor", agreed=True), message(2, "visitor"), message(3, "other"), kind="browser"
    )
    assert counts(caller) == {"stored": 2, "duplicates": 0, "quarantined": 0, "suppressed": 1}
    assert stored(caller) == [("Segment Consent Preference Updated", True), ("Shop", True)]
    clock.advance(SECOND)
    caller.send(message(4, "visitor", agreed=False), message(5, "visitor"), kind="browser")
    assert counts(caller)["suppressed"] == 2
    assert len(stored(caller)) == 2, "the refusal is on record, the event that brought it is not"
    with caller.services.store.reading() as connection:
        number = caller.services.identity.find(connection, "anonymous_id", "visitor")
        assert number is not None
        said = caller.services.ledger.records_of(connection, [number])
    assert [one.state for one in said] == ["granted", "withdrawn"]


def test_of_who_refused_only_the_shell_is_kept(caller: Caller, clock: FixedClock) -> None:
    caller.send(message(1, "visitor"), message(2, "visitor", agreed=False), message(3, "other"))
    assert counts(caller) == {"stored": 3, "duplicates": 0, "quarantined": 0, "suppressed": 0}
    assert [content for _, content in stored(caller)] == [False, False, True], "as they stand after the batch"
    clock.advance(SECOND)
    shell = {"userId": "ann", "traits": {"email": "ann@x.example", "plan": "gold"}, "type": "identify"}
    caller.send({**message(4, "visitor"), **shell})
    profile = caller.lookup("user_id", "ann")
    assert profile["traits"] == {}
    assert profile["identities"] == 3, "its identifiers are kept: they carry the refusal"


def test_the_strictest_rule_wins_and_follows_the_person(caller: Caller, clock: FixedClock) -> None:
    caller.send({"type": "identify", "messageId": "m0", "userId": "ann", "anonymousId": "phone"})
    caller.send(message(1, "phone", agreed=False))
    caller.send(message(2, "phone", agreed=False, category="Personalization"))
    before = len(stored(caller))
    clock.advance(SECOND)
    caller.send({"type": "track", "event": "Order Completed", "messageId": "m3", "userId": "ann"})
    assert counts(caller)["suppressed"] == 1
    assert len(stored(caller)) == before


WRONG = [
    ("rules: [{sources: {}, purpose: analytics, when: refused, action: drop}]", "name at least one source"),
    ("rules: [{sources: {kind: browser}, purpose: analytic, when: refused, action: drop}]", "did you mean"),
    (
        "rules: [{sources: {kind: browser}, purpose: rights, when: refused, action: drop}]",
        "nobody can refuse",
    ),
    ("rules: [{sources: {kind: phone}, purpose: analytics, when: refused, action: drop}]", "one of"),
]


@pytest.mark.parametrize(("rules", "said"), WRONG)
def test_a_wrong_rule_is_refused_with_its_line(tmp_path: Path, rules: str, said: str) -> None:
    shutil.copytree(POLICIES, tmp_path / "policies")
    (tmp_path / "policies" / "intake.yaml").write_text(rules, encoding="utf-8")
    with pytest.raises(PolicyError, match=said) as refused:
        load(tmp_path / "policies")
    assert (refused.value.file, refused.value.line) == ("intake.yaml", 1)
