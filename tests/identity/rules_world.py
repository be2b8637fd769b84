"""Policies whose rules of identity differ, put in force as officers do, and people to link by them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cdp import app
from cdp.access import Principal, Source
from cdp.app import Platform
from cdp.clock import Clock
from cdp.identity import Pass
from cdp.ingest import Delivery
from cdp.policy import read_folder
from cdp.settings import Settings

FILES = read_folder(Path(__file__).parents[2] / "policies")
SOURCE = Source(source_id=1, name="shop", kind="server", enabled=True)
Value = tuple[str, str]
"""(identifier type, value)."""
Change = tuple[str, str]
"""(a text of identity.yaml, what stands there instead)."""

SHARED: Change = ("priority: 1, unique: true}", "priority: 1}")
ONE_MAIL: Change = ("priority: 2, limit: {count: 5}", "priority: 2, limit: {count: 1}")
ONE_DEVICE: Change = ("priority: 6, limit: {count: 200}", "priority: 6, limit: {count: 1}")
COUNTER: Change = ('prefix: ["test@"', 'prefix: ["counter@", "test@"')
TRUST: Change = ("source_trust: {server: 30,", "source_trust: {server: 31,")
"""Decides nothing about links."""

_VERSION = next(line for line in FILES["identity.yaml"].decode().splitlines() if line.startswith("version:"))
_numbered: dict[tuple[Change, ...], int] = {}


def text(*changes: Change) -> str:
    """The text of identity.yaml with some words changed."""
    found = FILES["identity.yaml"].decode()
    for old, new in (*changes, *([(_VERSION, f"version: {_number(changes)}")] if changes else [])):
        assert found.count(old) == 1, old
        found = found.replace(old, new)
    return found


def _number(changes: Sequence[Change]) -> int:
    """A version of its own for each set of rules, as links name their rules by it."""
    return 10 + _numbered.setdefault(tuple(changes), len(_numbered))


def files(*changes: Change) -> dict[str, bytes]:
    """A whole bundle with these rules."""
    return {**FILES, "identity.yaml": text(*changes).encode()}


@contextlib.contextmanager
def platform(settings: Settings, clock: Clock) -> Iterator[Platform]:
    """A platform of which nothing runs by itself, activated by one officer."""
    built = app.build(msgspec.structs.replace(settings, four_eyes=False), clock)
    try:
        yield built
    finally:
        built.close()


def activate(world: Platform, *changes: Change) -> None:
    """Put policies with these rules in force; nothing where they are already."""
    _put_in_force(world, files(*changes))


def drop_contact(world: Platform, *rules: str) -> None:
    """Have the rules of these ids, or ``data-quality``, drop e-mail addresses and telephone numbers."""
    head, *parts = FILES["rules/internal.yaml"].decode().split("- id: ")
    kept = [
        part.replace("    user.contact: clear\n", "")
        if part.split("\n")[0] in (rules or ("data-quality",))
        else part
        for part in parts
    ]
    _put_in_force(world, {**FILES, "rules/internal.yaml": "- id: ".join([head, *kept]).encode()})


def _put_in_force(world: Platform, given: Mapping[str, bytes]) -> None:
    services = world.services
    officer = Principal(key_id=1, name="officer", roles=frozenset({"officer"}))
    checked = services.policies.check(given)
    if checked.sha256 != services.bundle.sha256:
        services.policies.propose(officer, checked, given, services.bundle.sha256, {}, {})
        services.policies.approve(officer, checked.sha256)
        services.in_force.refresh()
        services.deriving.settle()


def finish(world: Platform) -> None:
    """Do the pass to its end."""
    while world.services.rules_pass.advance():
        pass


def message(number: int, named: Iterable[Value], namespace: str = "") -> dict[str, Any]:
    """An event of minute ``number`` that names these identifiers."""
    by_type = dict(named)
    said: dict[str, Any] = {
        "type": "identify",
        "messageId": f"m{namespace}-{number}",
        "timestamp": f"2026-01-{number // 1440 + 1:02d}T{number // 60 % 24:02d}:{number % 60:02d}:00Z",
        "traits": {},
    }
    for kind, place in (("user_id", "userId"), ("anonymous_id", "anonymousId")):
        if kind in by_type:
            said[place] = by_type[kind]
    if "email" in by_type:
        said["traits"]["email"] = by_type["email"]
    return said


def send(world: Platform, *messages: Mapping[str, Any]) -> None:
    """Store events as a server sends them."""
    raw = tuple(msgspec.json.encode(one) for one in messages)
    stored = world.writer.write(
        [Delivery(source=SOURCE, messages=raw, received_at=world.services.clock.now())]
    )
    assert stored.stored == len(messages)


def groups(world: Platform, values: Iterable[Value]) -> set[frozenset[Value]]:
    """Who is one with whom, of those values that are known."""
    identity = world.services.identity
    found: dict[int, set[Value]] = {}
    with world.services.store.reading() as connection:
        for kind, value in values:
            number = identity.find(connection, kind, value)
            if number is not None:
                found.setdefault(identity.profile_of(connection, number), set()).add((kind, value))
    return {frozenset(held) for held in found.values()}


def newest(world: Platform) -> Pass:
    """The newest pass."""
    return world.services.rules_pass.passes()[0]


def people(world: Platform, count: int) -> list[Value]:
    """Addresses, two of each person: one may keep only one of them when ``ONE_MAIL`` is in force."""
    for number in range(count):
        user = ("user_id", f"user-{number}")
        for place in range(2):
            mail = ("email", f"{place}@user-{number}.example")
            send(world, message(2 * number + place, [user, mail]))
    return [("email", f"{place}@user-{number}.example") for number in range(count) for place in range(2)]
