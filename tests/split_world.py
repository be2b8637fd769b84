"""Two platforms, of which the second hears the events of the first with what was revoked there suppressed.

An installation's twin has the same keys, so identities get the same numbers; each example has its own names.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from caller import Caller
from databases import postgres_database
from litestar.testing import TestClient
from platform_fixtures import Template, copy_database, settings_of
from sqlalchemy import insert, select
from sqlalchemy.engine import make_url

from cdp import app
from cdp.access.tables import sources
from cdp.clock import SECOND, FixedClock, rfc3339
from cdp.identity import Candidate, identifiers, index, lookup, service, version1
from cdp.identity.queries import add_candidates, candidates_among, suppressed_among
from cdp.identity.tables import link_suppressions
from cdp.store import Store

PURPOSE = "data_quality"
KINDS = ("server", "browser", "import")
GMAIL = "gmail.com"  # where a dot in an address says nothing
Named = tuple[str, str]
"""An identifier: type and value, without the example's own ending."""
USERS, DEVICES, EMAILS = 3, 3, 2
_EXAMPLES = itertools.count()


@contextmanager
def twin_of(
    request: pytest.FixtureRequest,
    database_url: str,
    folder: Path,
    templates: Callable[[str], Template],
    clock: FixedClock,
) -> Iterator[Caller]:
    """Yield a caller of another platform made from the same template, so with the same keys."""
    kind = make_url(database_url).get_backend_name()
    template = templates(kind)
    with ExitStack() as opened:
        urls = [f"sqlite:///{folder / name}.sqlite" for name in ("twin", "twin-keys")]
        if kind != "sqlite":
            server = request.getfixturevalue("postgres_server")
            urls = [opened.enter_context(postgres_database(server, "cdp_twin", make=False)) for _ in urls]
        shutil.copytree(template.folder, folder / "twin")
        for source, target in zip((template.database, template.keys), urls, strict=True):
            copy_database(source, target)
        settings = settings_of(folder / "twin", *urls)
        key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
        platform = app.build(settings, clock)
        http = opened.enter_context(TestClient(app.application(platform)))
        yield Caller(http, key, platform.services)


@contextmanager
def under_version_1(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have identifiers indexed as version 1 of the normaliser did."""
    with monkeypatch.context() as patched:
        patched.setattr(identifiers, "_form", lambda kind, value, _: version1.normalise(kind, value))
        for module in (service, index, lookup):
            patched.setattr(module, "VERSION", version1.VERSION)
        yield


class Side:
    """One platform, and what the people of one example are there."""

    def __init__(self, caller: Caller, clock: FixedClock) -> None:
        self.caller = caller
        self.clock = clock
        self.services = caller.services
        self.before: dict[int, Named] = {}  # who is found by what their values were before

    @property
    def store(self) -> Store:
        """The main database."""
        return self.services.store

    def send(self, message: dict[str, Any], kind: str) -> None:
        """Send one message, in a micro-batch of its own; the next is a second later."""
        self.caller.send(message, kind=kind)
        self.clock.advance(SECOND)

    def numbers(self, people: Sequence[Named]) -> dict[int, Named]:
        """Return identity_no → identifier, of those that there are."""
        identity = self.services.identity
        with self.store.reading() as connection:
            found = {identity.find(connection, *named): named for named in people}
        known = {number: named for number, named in found.items() if number is not None}
        return known | {number: named for number, named in self.before.items() if named in people}

    def profiles(self, people: Sequence[Named]) -> dict[int, list[Named]]:
        """Return profile_no → its identifiers."""
        numbers = self.numbers(people)
        grouped: dict[int, list[Named]] = {}
        with self.store.reading() as connection:
            homes = self.services.identity.profiles_of(connection, numbers)
        for number in sorted(numbers):
            grouped.setdefault(homes[number], []).append(numbers[number])
        return grouped

    def known(self, people: Sequence[Named], segments: Sequence[str] = ()) -> dict[frozenset[Named], Any]:
        """Return what is known of each profile: its folded traits, its timeline, its segments."""
        services = self.services
        services.mirror.refresh()
        members = {name: services.segments.evaluate(name).bitmap for name in segments}
        with self.store.reading() as connection:
            home = services.identity.profiles_of(connection, {n for m in members.values() for n in m})
        within = {name: {home[number] for number in held} for name, held in members.items()}
        found = {}
        for profile_no, named in self.profiles(people).items():
            with self.store.reading() as connection:
                traits = services.profiles.traits(connection, profile_no)
                told = services.profiles.timeline(connection, profile_no, 1000)
            found[frozenset(named)] = {
                "number": profile_no,
                "traits": {
                    name: (one.value, one.identity_no, one.event_id, one.source_id, one.observed_at)
                    for name, one in traits.items()
                },
                "timeline": [
                    (e.event_id, e.identity_no, e.source_id, e.type, e.name, e.occurred_at) for e in told
                ],
                "segments": {name for name, held in within.items() if profile_no in held},
            }
        return found

    def hears(self, other: Side) -> None:
        """Have the sources of another platform, under the same numbers: events get the same ids."""
        for kind in KINDS:
            other.caller.write_key(kind)
        with other.store.reading() as connection:
            rows = [dict(row._mapping) for row in connection.execute(select(sources))]
        with self.services.committer.batch() as batch:
            batch.connection.execute(insert(sources), rows)
        self.caller.share_write_keys(other.caller)

    # -- what stewards said ---------------------------------------------------------------------

    def revoked(self, people: Sequence[Named]) -> set[tuple[int, int]]:
        """Return the pairs that stand revoked."""
        with self.store.reading() as connection:
            return suppressed_among(connection, self.numbers(people))

    def told(self, people: Sequence[Named]) -> set[tuple[int, int]]:
        """Return the pairs that anything told."""
        with self.store.reading() as connection:
            return {one.pair for one in candidates_among(connection, self.numbers(people))}

    def vouched(self, people: Sequence[Named]) -> list[Candidate]:
        """Return the candidates by a steward's word, and those that matching guessed."""
        with self.store.reading() as connection:
            found = candidates_among(connection, self.numbers(people))
        return [one for one in found if one.origin in {"merge", "match"}]

    def suppress(self, pairs: set[tuple[int, int]]) -> None:
        """Have pairs suppressed before anything tells them."""
        row = {"suppressed": True, "actor": "test", "decided_at": 0}
        with self.services.committer.batch() as batch:
            for low, high in sorted(pairs):
                values = {"low": low, "high": high, "batch": batch.id, **row}
                batch.connection.execute(insert(link_suppressions).values(values))

    def vouch(self, candidates: Sequence[Candidate]) -> None:
        """Have a steward's candidates considered as the first platform had them."""
        identity = self.services.identity
        touched = {number for one in candidates for number in one.pair}
        with self.services.committer.batch() as batch:
            held = identity.lock(batch.connection, touched)
            add_candidates(batch.connection, candidates, batch.id)
            relinked, gone, *_ = identity.decide(batch, held, touched, candidates)
            identity.refresh_consent(batch, relinked, gone)

    def change(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Ask first, then do it; returns the plan, None where it is refused."""
        headers = {"Authorization": f"Bearer {self.caller.operator_key}", "CDP-Purpose": PURPOSE}

        def post(*, dry_run: bool) -> tuple[int, dict[str, Any]]:
            content = msgspec.json.encode({**body, "dry_run": dry_run})
            answer = self.caller.http.post(f"/api/v1{path}", headers=headers, content=content)
            return answer.status_code, answer.json()

        planned, plan = post(dry_run=True)
        status, done = post(dry_run=False)
        self.clock.advance(SECOND)
        assert status in {200, 400, 409}, done
        if status != 200:
            assert planned == status or plan["refused"], (plan, done)
            return None
        assert {**plan, "dry_run": False} == done, "what is told first is what is done"
        return done

    def id_of(self, number: int) -> str:
        """Return the id under which an identity answers."""
        return self.services.profile_ids.encode(number)


def event(kind: str, message_id: str, ending: str, at: int, **named: str) -> dict[str, Any]:
    """Return a message; identifiers get the example's ending, traits stay as they are."""
    traits = {key: value for key, value in named.items() if key in {"plan", "country", "language"}}
    if "email" in named:
        traits["email"] = f"{named['email']}{ending}@people.example"
    body: dict[str, Any] = {"type": kind, "messageId": message_id, "timestamp": rfc3339(at)}
    for key in ("userId", "anonymousId", "previousId", "groupId"):
        if key in named:
            body[key] = named[key] + ending
    if kind == "track":
        body["event"] = named.get("event", "Order Completed")
    if traits and kind == "identify":
        body["traits"] = traits
    return body


def people_of(ending: str, users: int, devices: int, emails: int) -> list[Named]:
    """Return every identifier that an example may name."""
    return [
        *(("user_id", f"u{n}{ending}") for n in range(users)),
        *(("anonymous_id", f"a{n}{ending}") for n in range(devices)),
        *(("user_id", f"a{n}{ending}") for n in range(devices)),  # an alias may mean a user's older id
        *(("email", f"e{n}{ending}@people.example") for n in range(emails)),
    ]


class History:
    """One example: the same people on both."""

    def __init__(self, here: Side, there: Side) -> None:
        self.here, self.there = here, there
        self.ending = f"-{next(_EXAMPLES)}"
        self.people = self.named()
        self.start = here.clock.now()
        self.sent: list[tuple[int, dict[str, Any], str]] = []
        self.changed = 0

    def named(self) -> list[Named]:
        """Return every identifier that the example may name."""
        return people_of(self.ending, USERS, DEVICES, EMAILS)

    def tell(self, kind: str, source_kind: str, seconds: int, named: dict[str, str]) -> None:
        """Send an event, in whatever order its time says."""
        told_at = self.start - 100 * SECOND + seconds * SECOND
        body = event(kind, f"m{len(self.sent)}{self.ending}", self.ending, told_at, **named)
        self.sent.append((self.here.clock.now(), body, source_kind))
        self.here.send(body, source_kind)

    def known(self) -> list[int]:
        return sorted(self.here.numbers(self.people))

    def merge(self, one: int, other: int) -> None:
        """Merge two profiles, or what is one already where something is revoked in it."""
        profiles = sorted(self._profiles())
        if len(profiles) > 1:
            first = profiles.pop(one % len(profiles))
            self._do("/profiles/merge", {"ids": [self.here.id_of(first), self._id(profiles, other)]})

    def carve(self, which: int, how_many: int) -> None:
        """Carve one or more identities out of a profile that has others."""
        several = [members for members in self._profiles().values() if len(members) > 1]
        if several:
            members = several[which % len(several)]
            at = which // 3 % len(members)
            turned = members[at:] + members[:at]
            group = [self.here.id_of(number) for number in turned[: 1 + how_many % (len(members) - 1)]]
            self._do(f"/profiles/{group[0]}/split", {"identities": group})

    def revoke(self, which: int, _: int) -> None:
        """Revoke a link that something told, whether it stands or not."""
        links = sorted(self.here.told(self.people))
        if links:
            pair = [self.here.id_of(number) for number in links[which % len(links)]]
            self._do(f"/profiles/{pair[0]}/split", {"link": pair})

    def undo(self, which: int, _: int) -> None:
        """Take back the last merge of a profile by any of its ids, or take out one identity."""
        several = [number for members in self._profiles().values() if len(members) > 1 for number in members]
        if several:
            self._do(f"/profiles/{self._id(several, which)}/split", {})

    def again(self, one: int, other: int) -> None:
        """Merge two profiles and take it back by either id: nobody is anywhere else than before."""
        profiles = sorted(self._profiles())
        if len(profiles) > 1:
            first = profiles.pop(one % len(profiles))
            ids = [self.here.id_of(first), self._id(profiles, other)]
            before = self.here.profiles(self.people)
            if self._do("/profiles/merge", {"ids": ids}):
                assert self._do(f"/profiles/{ids[other % 2]}/split", {})
                assert self.here.profiles(self.people) == before

    def _id(self, numbers: list[int], pick: int) -> str:
        return self.here.id_of(numbers[pick % len(numbers)])

    def _do(self, path: str, body: dict[str, Any]) -> bool:
        done = self.here.change(path, body) is not None
        self.changed += done
        return done

    def _profiles(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        with self.here.store.reading() as connection:
            homes = self.here.services.identity.profiles_of(connection, self.known())
        for number, profile_no in sorted(homes.items()):
            found.setdefault(profile_no, []).append(number)
        return found

    def replay(self) -> None:
        """Tell the fresh platform the same, with what stands revoked suppressed from the start."""
        self.there.suppress(self.here.revoked(self.people))
        for told_at, body, source_kind in self.sent:
            self.there.clock.advance(told_at - self.there.clock.now())
            self.there.caller.send(body, kind=source_kind)
        self.there.vouch(self.here.vouched(self.people))
        self.there.clock.advance(self.here.clock.now() - self.there.clock.now())
