"""People whose states are derived under other policies, and what to compare them with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from ledger_world import BUNDLE, EMAIL, World
from pyroaring import BitMap
from sqlalchemy import select

from cdp.consent import Member, Standing
from cdp.consent.derive import derive
from cdp.consent.rules import Rules
from cdp.consent.states.queries import states_of
from cdp.consent.tables import consent_standings
from cdp.policy import Bundle
from cdp.store import Connection


class People:
    """The profile map of a test, as identity would tell of it."""

    def __init__(self, profiles: Mapping[int, list[Member]]) -> None:
        self.profiles = dict(profiles)
        self.relinked: set[int] = set()

    def alone(self, _connection: Connection, after: int, upto: int) -> Any:
        alone = [no for no, members in self.profiles.items() if len(members) == 1 and after < no <= upto]
        return np.array(alone, np.int64)

    def devices(self, _connection: Connection, identity_nos: Iterable[int]) -> set[int]:
        devices = {one.identity_no for members in self.profiles.values() for one in members if one.device}
        return devices & set(identity_nos)

    def profiles_of(self, _connection: Connection, identity_nos: Iterable[int]) -> dict[int, int]:
        home = {one.identity_no: no for no, members in self.profiles.items() for one in members}
        return {number: home[number] for number in identity_nos if number in home}

    def consent_members(self, _connection: Connection, profile_nos: Iterable[int]) -> dict[int, list[Member]]:
        return {no: self.profiles[no] for no in profile_nos}

    def relinked_since(self, _connection: Connection, _commit_no: int) -> BitMap:
        return BitMap(self.relinked)

    def lock(self, connection: Connection, touched: Collection[int]) -> dict[int, tuple[int, int]]:
        return {number: (home, 0) for number, home in self.profiles_of(connection, touched).items()}


def stored(world: World, bundle: Bundle) -> dict[tuple[int, str], Standing]:
    with world.store.reading() as connection:
        return {
            (no, key): state
            for key, name in Rules(bundle).names.items()
            for no, state in states_of(connection, name, None).items()
        }


def one_by_one(world: World, bundle: Bundle, people: People) -> dict[tuple[int, str], Standing]:
    with world.store.reading() as connection:
        return derive(connection, Rules(bundle), people.profiles, world.clock.now())


def total(world: World) -> int:
    with world.store.reading() as connection:
        return len(connection.execute(select(consent_standings.c.profile_no)).all())


def shorter(days: int) -> Bundle:
    """Return policies under which a consent to e-mail holds for so many days."""
    stated = msgspec.structs.replace(BUNDLE.purposes[EMAIL], validity_days=days)
    return msgspec.structs.replace(BUNDLE, purposes={**BUNDLE.purposes, EMAIL: stated})


def devices_otherwise() -> Bundle:
    kinds = BUNDLE.identity
    types = {
        kind: msgspec.structs.replace(rule, device=not rule.device) for kind, rule in kinds.types.items()
    }
    return msgspec.structs.replace(BUNDLE, identity=msgspec.structs.replace(kinds, types=types))


def once(monkeypatch: pytest.MonkeyPatch, of: Any, name: str, before: Callable[[], object]) -> None:
    """Have something happen right before the first call of a function."""
    real = getattr(of, name)

    def first(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(of, name, real)
        before()
        return real(*given, **named)

    monkeypatch.setattr(of, name, first)


def states(world: World) -> dict[int, str]:
    with world.store.reading() as connection:
        return {no: state.state for no, state in world.ledger.states(connection, EMAIL).items()}


def fail(*_: object) -> None:
    raise RuntimeError


def right(world: World, people: People, bundle: Bundle) -> dict[int, str]:
    found = one_by_one(world, bundle, people)
    return {no: state.state for (no, key), state in found.items() if key == EMAIL}
