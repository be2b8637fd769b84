"""An erasure binds at its first commit, in every process, whatever was under way."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from caller import Caller
from erasing_world import germans, shopper
from litestar.testing import TestClient
from recovery_world import EMAIL, number_of
from sqlalchemy import select

from cdp import app
from cdp.access import Source
from cdp.clock import FixedClock
from cdp.errors import ConflictError, NotFoundError
from cdp.identity.tables import profile_members
from cdp.ingest import Delivery
from cdp.recovery import Erased
from cdp.settings import Settings
from cdp.store import erased

_SOURCE = Source(source_id=1, name="shop", kind="server", enabled=True)


@contextmanager
def _other(settings: Settings, clock: FixedClock, first: Caller, folder: Path) -> Iterator[Caller]:
    """A process beside the first one; where only one may write, that one itself."""
    if settings.database_url.startswith("sqlite"):
        yield first
        return
    folder.mkdir()
    (folder / "root.key").write_bytes((settings.data_dir / "root.key").read_bytes())
    platform = app.build(msgspec.structs.replace(settings, data_dir=folder), clock)
    with TestClient(app.application(platform)) as http:
        other = Caller(http, first.operator_key, platform.services)
        other.share_write_keys(first)
        yield other


def _bind(caller: Caller, value: str) -> Erased:
    """Have an erasure bind, and go no further."""
    number = number_of(caller, value)
    assert number is not None
    bound = caller.services.recovery.eraser.bind("r_" + secrets.token_hex(4), [number])
    assert bound is not None
    return bound


def test_no_read_finds_them_from_the_commit_on(
    caller: Caller, settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    for name in ("ann", "ben", "cleo"):
        shopper(caller, name)
    with _other(settings, clock, caller, tmp_path / "beside") as other:
        export = germans(caller)["id"]
        key = caller.destination_key("mailer", EMAIL)
        principal = other.services.access.principal(key)
        fetch = other.services.gate.render(export, principal)
        named = {_ref(other, name): name for name in ("ann", "ben", "cleo")}
        left = [named[row.profile_ref] for row in fetch.take(1)]
        who = next(name for name in ("ann", "ben", "cleo") if name not in left)
        profile = other.lookup("user_id", who)["id"]
        listed = {"kind": "white", "members": [{"type": "user_id", "value": who}]}
        caller.api("PUT", "/lists/vips", listed)
        made = caller.api(
            "POST",
            "/preferences/links",
            {"identifier": {"type": "user_id", "value": who}, "kind": "manage"},
        )
        page = "/preferences" + made["url"].partition("/preferences")[2]
        assert other.http.get(page).status_code == 200
        assert len(other.services.segments.evaluate("germans").bitmap) == 3
        other.services.segments.follow.turn()
        feed = f"/destinations/mailer/segments/germans/changes?purpose={EMAIL}"
        held = caller.http.get(f"/api/v1{feed}", headers={"Authorization": f"Bearer {key}"}).json()

        _bind(caller, who)

        assert len(other.services.segments.evaluate("germans").bitmap) == 2
        assert len(other.services.segments.members("germans").bitmap) == 2
        assert [named[row.profile_ref] for row in fetch.take(10)] == [
            name for ref, name in sorted(named.items()) if name not in (*left, who)
        ]
        body = {"type": "user_id", "value": who}
        other.api("POST", "/profiles/lookup", body, purpose="data_quality", expect=404)
        for part in ("", "/events", "/consents", "/identifiers", "/links", "/uses"):
            other.api("GET", f"/profiles/{profile}{part}", purpose="compliance_review", expect=404)
        reveal = {"fields": ["email"], "purpose": "data_quality", "reason": "support_case"}
        other.api("POST", f"/profiles/{profile}/reveal", reveal, purpose="data_quality", expect=404)
        assert other.http.get(page).status_code == 404
        query = {"query": f'{{ profile(id: "{profile}") {{ id }} }}'}
        headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": "data_quality"}
        answer = other.http.post("/graphql", json=query, headers=headers).json()
        assert not (answer.get("data") or {}).get("profile"), answer
        feed = f"/api/v1{feed}&cursor={held['cursor']}"
        for _ in range(5):
            answered = other.http.get(feed, headers={"Authorization": f"Bearer {key}"})
            if answered.status_code != 503:  # it was reading files that the erasure took away meanwhile
                break
        fresh = answered.json()
        assert all(one["op"] == "remove" for one in fresh["changes"])
        other.send({"type": "track", "event": "Viewed", "userId": who, "messageId": "late"})
        assert number_of(other, who) is None


def _ref(caller: Caller, name: str) -> str:
    services = caller.services
    number = number_of(caller, name)
    with services.store.reading() as connection:
        profile_no = services.identity.profile_of(connection, number or 0)
    (released,) = services.gate._refer("mailer", [profile_no], ()).values()
    return released.profile_ref


def _together(*works: Callable[[], Any]) -> list[Any]:
    """Do things at once; returns what came of each, its error included."""
    done: list[Any] = [None] * len(works)
    gate = threading.Barrier(len(works))

    def run(place: int) -> None:
        gate.wait()
        try:
            done[place] = works[place]()
        except Exception as error:  # noqa: BLE001  # it is what the test looks at
            done[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return done


def _check(caller: Caller) -> None:
    """Whoever was erased has no profile, and the log verifies."""
    services = caller.services
    with services.store.reading() as connection:
        here = set(connection.execute(select(profile_members.c.identity_no)).scalars())
        assert here.isdisjoint(erased(connection))
        assert services.audit.verify(connection).ok


def test_two_erasures_of_one_person_are_one(
    caller: Caller, settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    shopper(caller, "ann", wait=False)
    number, mail = number_of(caller, "ann"), number_of(caller, "ann@people.example", "email")
    with _other(settings, clock, caller, tmp_path / "beside") as other:
        one, two = _together(
            lambda: caller.services.recovery.eraser.bind("r_1", [number or 0]),
            lambda: other.services.recovery.eraser.bind("r_2", [mail or 0]),
        )
        assert one == two
        assert one.identities == 3
        _check(caller)


def test_a_merge_that_races_is_before_or_after(
    caller: Caller, settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    for name in ("ann", "cleo"):
        shopper(caller, name, wait=False)
    ids = [caller.lookup("user_id", name)["id"] for name in ("ann", "cleo")]
    number = number_of(caller, "ann")
    with _other(settings, clock, caller, tmp_path / "beside") as other:
        bound, merged = _together(
            lambda: caller.services.recovery.eraser.bind("r_1", [number or 0]),
            lambda: other.services.steward.merge("key:1", "data_quality", ids, dry_run=False),
        )
        if isinstance(merged, Exception):
            assert isinstance(merged, NotFoundError | ConflictError), merged
            assert (bound.identities, number_of(caller, "cleo") is None) == (3, False)
        else:
            assert (bound.identities, number_of(caller, "cleo")) == (6, None)
        _check(caller)


def test_what_comes_in_meanwhile_is_nobodys(
    caller: Caller, settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    """Events that name them, with addresses that nobody knew: they are theirs before, and none's after."""
    shopper(caller, "ann", wait=False)
    number = number_of(caller, "ann")
    with _other(settings, clock, caller, tmp_path / "beside") as other:

        def send() -> list[str]:
            came: list[str] = []
            for turn in range(4):
                mail = f"other{turn}@people.example"
                body = {
                    "type": "identify",
                    "userId": "ann",
                    "messageId": f"r{turn}",
                    "traits": {"email": mail},
                }
                delivery = Delivery(
                    source=_SOURCE, messages=(msgspec.json.encode(body),), received_at=clock.now()
                )
                if other.services.writer.write([delivery]).stored:
                    came.append(mail)
            return came

        bound, came = _together(lambda: caller.services.recovery.eraser.bind("r_1", [number or 0]), send)
        assert isinstance(came, list), came
        with caller.services.store.reading() as connection:
            assert set(erased(connection)) >= {number}
        assert number_of(other, "ann") is None
        left = [mail for mail in came if number_of(other, mail, "email") is not None]
        assert left == [], "what came in with them went with them"
        assert bound.identities >= 3
        _check(caller)
