"""A process that is killed while it changes links: the next one goes on, and all is as if nobody had died.

Each work is done by processes of which each may commit once more than the one before and is killed then.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from forked import CONTEXT
from split_world import GMAIL, under_version_1
from sqlalchemy import Engine, event

from cdp import app
from cdp.access import Principal, Source
from cdp.app import Platform
from cdp.clock import SECOND, FixedClock, Micros, rfc3339
from cdp.identity import resolve
from cdp.identity.anew import apply
from cdp.identity.queries import candidates_among, identity_types, suppressed_among
from cdp.ingest import Delivery
from cdp.policy import read_folder
from cdp.settings import Settings

EMAIL = "marketing.communications.email"
STEWARD = "data_quality"
PEOPLE = 4
_PAGE = 4
_SOURCE = Source(source_id=1, name="shop", kind="server", enabled=True)
Work = Callable[[Platform], None]


@contextmanager
def platform(settings: Settings, at: Micros) -> Iterator[Platform]:
    """A platform of which nothing runs by itself, activated by one officer."""
    built = app.build(msgspec.structs.replace(settings, four_eyes=False), FixedClock(at))
    try:
        yield built
    finally:
        built.close()


def _killed_at_commit(settings: Settings, at: Micros, work: Work, left: int) -> None:
    """Do something, and be killed before the transaction ``left`` after the first commits."""
    apply._PAGE = _PAGE  # several pages of few people
    with platform(settings, at) as built:
        built.services.index_pass._size = _PAGE
        commits = iter(range(left + 1))

        def count(_connection: object) -> None:
            if next(commits, left) == left:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(Engine, "commit", count)
        work(built)


def killed(settings: Settings, clock: FixedClock, work: Work) -> int:
    """Have processes do something, each killed one commit later, until one is not; returns how many were."""
    died = 0
    while True:
        clock.advance(60 * SECOND)  # the lease of who died has run out
        process = CONTEXT.Process(target=_killed_at_commit, args=(settings, clock.now(), work, died))
        process.start()
        try:
            process.join(timeout=120)
        finally:
            process.kill()
            process.join()
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0
            return died
        died += 1


def send(built: Platform, number: int, at: Micros, **named: str) -> None:
    """Store an event as a server sends it."""
    said = {key: value for key, value in named.items() if key != "email"}
    traits = {"email": named["email"]} if "email" in named else {}
    body = {"type": "identify", "messageId": f"m{number}", "timestamp": rfc3339(at), **said, "traits": traits}
    body["context"] = {"consent": {"categoryPreferences": {"Email": number % 3 != 0}}}
    delivery = Delivery(source=_SOURCE, messages=(msgspec.json.encode(body),), received_at=at)
    assert built.writer.write([delivery]).stored == 1


def number_of(built: Platform, kind: str, value: str) -> int:
    with built.services.store.reading() as connection:
        found = built.services.identity.find(connection, kind, value)
    assert found is not None
    return found


def id_of(built: Platform, kind: str, value: str) -> str:
    return built.services.profile_ids.encode(number_of(built, kind, value))


def check(built: Platform) -> list[list[int]]:
    """Return the profiles, after asking that they and all consent states are what is stored makes of them."""
    services = built.services
    services.rules_pass.begin("system")
    with services.store.reading() as connection:
        everybody = services.identity.everybody(connection)
        numbers = [number for members in everybody.values() for number in members]
        made = resolve(
            identity_types(connection, numbers),
            candidates_among(connection, numbers),
            suppressed_among(connection, numbers),
            services.identity.rules,
        )
        assert {n: home for home, members in everybody.items() for n in members} == made.profile_of
        states = services.ledger.states(connection, EMAIL, list(everybody))
        kept = {profile_no: found.state for profile_no, found in states.items()}
        members = services.identity.consent_members(connection, everybody)
        for profile_no, own in members.items():
            derived = services.ledger.states_of(connection, own)[EMAIL]
            assert kept.get(profile_no, "missing") == derived.state
    with services.store.reading() as connection:
        assert services.audit.verify(connection).ok
    return sorted(everybody.values())


def stricter(built: Platform, settings: Settings) -> None:
    """Put rules in force that let nobody have two addresses."""
    services = built.services
    files = dict(read_folder(settings.policies_dir))
    rules = files["identity.yaml"].decode().replace("2, limit: {count: 5}", "2, limit: {count: 1}")
    files["identity.yaml"] = re.sub(r"(?m)^version: \d+", "version: 99", rules).encode()
    officer = Principal(key_id=1, name="officer", roles=frozenset({"officer"}))
    candidate = services.policies.check(files)
    services.policies.propose(officer, candidate, files, services.bundle.sha256, {}, {})
    services.policies.approve(officer, candidate.sha256)
    services.in_force.refresh()
    services.deriving.settle()


def _rules(built: Platform) -> None:
    while built.services.rules_pass.advance():
        pass


def _index(built: Platform) -> None:
    while built.services.index_pass.advance():
        pass


def _split(built: Platform) -> None:
    device = id_of(built, "anonymous_id", "d0")
    built.services.steward.split("key:1", STEWARD, device, [device], dry_run=False)


def _merge(built: Platform) -> None:
    ids = [id_of(built, "user_id", "u0"), id_of(built, "anonymous_id", "d0")]
    built.services.steward.merge("key:1", STEWARD, ids, dry_run=False)


def greet(built: Platform, clock: FixedClock) -> None:
    """Have people with a device and two addresses each."""
    for number in range(PEOPLE):
        for place in range(2):
            clock.advance(SECOND)
            named: dict[str, Any] = {"userId": f"u{number}", "email": f"{place}@u{number}.example"}
            named |= {"anonymousId": f"d{number}"} if place else {}
            send(built, 2 * number + place, clock.now(), **named)


def test_killed_in_a_pass_of_rules(settings: Settings, clock: FixedClock) -> None:
    with platform(settings, clock.now()) as built:
        greet(built, clock)
        stricter(built, settings)
    assert killed(settings, clock, _rules) > PEOPLE // 2, "in several pages"
    with platform(settings, clock.now()) as built:
        assert built.services.rules_pass.passes()[0].state == "done"
        assert sorted(map(len, check(built))) == [1] * PEOPLE + [3] * PEOPLE


def test_killed_in_a_pass_of_indexes(
    settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with under_version_1(monkeypatch), platform(settings, clock.now()) as built:
        for number in range(PEOPLE):
            for place, mail in enumerate((f"a.{number}", f"a{number}")):
                clock.advance(SECOND)
                named = {"anonymousId": f"d{number}-{place}", "email": f"{mail}@{GMAIL}"}
                send(built, 2 * number + place, clock.now(), **named)
    assert killed(settings, clock, _index) > PEOPLE
    with platform(settings, clock.now()) as built:
        assert built.services.rules_pass.passes()[0].kind == "index"
        assert not built.services.identity.indexes.passing
        assert list(map(len, check(built))) == [4] * PEOPLE


def test_killed_in_a_split_and_in_a_merge(settings: Settings, clock: FixedClock) -> None:
    with platform(settings, clock.now()) as built:
        greet(built, clock)
        whole = check(built)
    for work, sizes in ((_split, [1, 3]), (_merge, [4])):
        assert killed(settings, clock, work) > 0
        with platform(settings, clock.now()) as built:
            after = check(built)
            assert [members for members in after if members in whole[1:]] == whole[1:], "nobody else"
            mine = number_of(built, "user_id", "u0"), number_of(built, "anonymous_id", "d0")
            assert sorted(len(members) for members in after if set(mine) & set(members)) == sizes
