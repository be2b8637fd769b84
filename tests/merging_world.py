"""Identifiers of one example on a running platform, and what is said of them, one way or another."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from caller import Caller

from cdp.clock import SECOND, FixedClock

EMAIL = "marketing.communications.email"
STEWARD = "data_quality"
TYPES = {"A": "user_id", "B": "email", "D": "anonymous_id"}
_endings = itertools.count()


class People:
    """Identifiers of one example, and what is said of them by one way or another."""

    def __init__(self, caller: Caller, clock: FixedClock) -> None:
        self.caller, self.clock = caller, clock
        self.services = caller.services
        self.ending = f"-{next(_endings)}"
        self._messages = itertools.count()

    def named(self, who: str) -> dict[str, str]:
        kind = TYPES[who[0]]
        value = f"{who.lower()}{self.ending}"
        return {"type": kind, "value": f"{value}@people.example" if kind == "email" else value}

    def body(self, *several: str) -> dict[str, Any]:
        """Return what a message holds that names these."""
        found: dict[str, Any] = {"messageId": f"m{next(self._messages)}{self.ending}"}
        keys = {"user_id": "userId", "anonymous_id": "anonymousId"}
        for who in several:
            named = self.named(who)
            if named["type"] in keys:
                found[keys[named["type"]]] = named["value"]
            else:
                found["traits"] = {"email": named["value"]}
        return found

    def seen(self, *several: str, kind: str = "server", consent: Mapping[str, bool] | None = None) -> None:
        """Have a message name these; an address alone is in none, so something else is said of it."""
        if len(several) == 1 and several[0][0] == "B":
            self.said(several[0], "granted", "personalisation")
            return
        context = {} if consent is None else {"context": {"consent": {"categoryPreferences": dict(consent)}}}
        self.caller.send({"type": "identify", **self.body(*several), **context}, kind=kind)
        self.clock.advance(SECOND)

    def said(self, who: str, state: str, purpose: str = EMAIL, recipients: Sequence[str] = ()) -> None:
        """Have an officer record an act."""
        given_ = {"purpose": purpose, "state": state, "recipients": recipients}
        self.caller.api("POST", "/consents", {"identifiers": [self.named(who)], **given_})
        self.clock.advance(SECOND)

    def act_in_browser(self, who: str, *, agreed: bool, category: str = "Email") -> None:
        """Have an unsigned browser tell an act."""
        told = {"context": {"consent": {"categoryPreferences": {category: agreed}}}}
        message = {"type": "track", "event": "Segment Consent Preference Updated", **self.body(who), **told}
        self.caller.send(message, kind="browser")
        self.clock.advance(SECOND)

    def imported(self, who: str, state: str) -> None:
        """Have an archive tell it."""
        self.caller.write_key("import")
        row = {
            "identifiers": [self.named(who)],
            "purpose": EMAIL,
            "state": state,
            "event_time": "2026-01-01T00:00:00Z",
        }
        self.caller.api("POST", "/consents/import", {"file": "a" * 64, "rows": [(next(_endings), row)]})
        self.clock.advance(SECOND)

    # -- what a steward does, and what is --------------------------------------------------------

    def number(self, who: str) -> int | None:
        named = self.named(who)
        with self.services.store.reading() as connection:
            return self.services.identity.find(connection, named["type"], named["value"])

    def id_of(self, who: str) -> str:
        number = self.number(who)
        assert number is not None
        return self.services.profile_ids.encode(number)

    def change(self, path: str, body: dict[str, Any], *, expect: Iterable[int] = (200,)) -> Any:
        headers = {"Authorization": f"Bearer {self.caller.operator_key}", "CDP-Purpose": STEWARD}
        content = msgspec.json.encode({**body, "dry_run": False})
        answer = self.caller.http.post(f"/api/v1{path}", headers=headers, content=content)
        assert answer.status_code in expect, answer.text
        self.clock.advance(SECOND)
        return answer.json()

    def merge(self, *several: str, expect: Iterable[int] = (200,)) -> Any:
        return self.change("/profiles/merge", {"ids": [self.id_of(who) for who in several]}, expect=expect)

    def split(self, who: str, expect: Iterable[int] = (200,)) -> Any:
        return self.change(f"/profiles/{self.id_of(who)}/split", {}, expect=expect)

    def state(self, who: str, purpose: str = EMAIL) -> str:
        """Return the state as derived and stored."""
        with self.services.store.reading() as connection:
            number = self.number(who)
            assert number is not None
            home = self.services.identity.profile_of(connection, number)
            found = self.services.ledger.states(connection, purpose, [home])
        return found[home].state if home in found else "missing"
