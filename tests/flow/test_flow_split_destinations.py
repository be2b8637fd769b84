"""Whoever received a merged profile is told of a split and of a merge: by feed, reading and webhook."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from caller import Caller
from receiver import Receiver, receiving
from recovery_world import EMAIL, running

from cdp.clock import SECOND, FixedClock
from cdp.export import segment_id
from cdp.settings import Settings

PURPOSE = "data_quality"
ANN, BEA = "ann@people.example", "bea@people.example"
GERMANS = {"name": "germans", "where": {"trait": "country", "op": "eq", "value": "Germany"}}


class Shop:
    """Two people whom a steward takes for one, and a destination that keeps a table by its feed."""

    def __init__(self, caller: Caller, clock: FixedClock) -> None:
        self.caller, self.clock = caller, clock
        self.services = caller.services
        self.key = caller.destination_key("mailer", EMAIL)
        self.table: dict[str, str] = {}
        self.cursor = ""
        for name, ids in {ANN: {"userId": "ann"}, BEA: {"anonymousId": "bea-phone"}}.items():
            traits = {"email": name, "country": "Germany"}
            caller.send({"type": "identify", "messageId": name, **ids, "traits": traits})
            self.say(name, "granted")
        self.services.mirror.refresh()
        caller.api("PUT", "/segments/germans", GERMANS)
        self.ids = {name: caller.lookup("email", name)["id"] for name in (ANN, BEA)}

    def say(self, name: str, state: str) -> None:
        who = [{"type": "email", "value": name}]
        self.caller.api("POST", "/consents", {"identifiers": who, "purpose": EMAIL, "state": state})
        self.clock.advance(SECOND)

    def merge(self) -> dict[str, Any]:
        body = {"ids": list(self.ids.values()), "dry_run": False}
        return self._done(self.caller.api("POST", "/profiles/merge", body, purpose=PURPOSE))

    def split(self) -> dict[str, Any]:
        """Carve Bea's address and telephone out, as one."""
        profile = self.caller.lookup("email", BEA)["id"]
        with self.services.store.reading() as connection:
            encode = self.services.profile_ids.encode
            group = [
                encode(number)
                for named in (("email", BEA), ("anonymous_id", "bea-phone"))
                if (number := self.services.identity.find(connection, *named))
            ]
        body = {"identities": group, "dry_run": False, "reason": "two customers, one address book"}
        return self._done(self.caller.api("POST", f"/profiles/{profile}/split", body, purpose=PURPOSE))

    def _done(self, plan: dict[str, Any]) -> dict[str, Any]:
        self.clock.advance(SECOND)
        self.services.mirror.refresh()
        return plan

    def read(self, segment_name: str = "germans") -> list[str]:
        """Read the feed to its end; returns what happened, in order."""
        segment = segment_id(self.services.keyring, segment_name)
        told: list[str] = []
        more = True
        while more:
            path = f"/destinations/mailer/segments/{segment}/changes?purpose={EMAIL}"
            page = self.caller.api("GET", path + (f"&cursor={self.cursor}" * bool(self.cursor)), key=self.key)
            self.cursor, more = page["cursor"], page["has_more"]
            for one in page["changes"]:
                told.append(one["op"])
                if one["op"] == "remove":
                    self.table.pop(one["profile_ref"], None)
                else:
                    self.table[one["profile_ref"]] = one["email"]
        return told

    def recalls(self) -> list[tuple[str, set[str]]]:
        """Read and acknowledge what is recalled: (kind, references)."""
        self.services.outbox.issue()
        found = self.caller.api("GET", "/destinations/mailer/recalls", key=self.key)["items"]
        if found:
            ids = [one["id"] for one in found]
            self.caller.api("POST", "/destinations/mailer/acknowledgements", {"ids": ids}, key=self.key)
        return [
            (one["type"].removeprefix("recall."), {ref["profile_ref"] for ref in refs})
            for one in found
            for refs in (one["data"].get("removals") or one["data"].get("corrections"),)
        ]

    def export(self) -> str:
        """Have an export decided; returns its id."""
        asked = {"segment": "germans", "destination": "mailer", "purpose": EMAIL, "fields": ["email"]}
        found = self.caller.api("POST", "/exports", asked)["id"]
        assert isinstance(found, str)
        return found

    def fetch(self, export: str) -> dict[str, str]:
        """Fetch an export; returns profile_ref → e-mail address."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = self.caller.http.get(f"/api/v1/exports/{export}/data", headers=headers)
        assert answer.status_code == 200, answer.text
        rows = [msgspec.json.decode(line) for line in answer.content.splitlines()]
        return {row["profile_ref"]: row["email"] for row in rows}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def shop(settings: Settings, clock: FixedClock) -> Iterator[Shop]:
    with running(msgspec.structs.replace(settings, webhook_loopback=True), clock) as caller:
        yield Shop(caller, clock)


def until(holds: Callable[[], bool], turn: Callable[[], object]) -> None:
    """Take turns until something holds: the platform's own worker takes turns, too."""
    for _ in range(200):
        turn()
        if holds():
            return
        time.sleep(0.02)
    pytest.fail("it never came to hold")


def test_a_split_corrects_a_feed_and_a_merge_takes_the_second_reference_back(shop: Shop) -> None:
    shop.merge()
    assert shop.read() == ["add"]
    (ref,) = shop.table
    done = shop.split()
    assert [group["events"] for group in done["after"]] == [2, 2], "consents are events, too"
    (holder,) = done["destinations"]
    assert (holder["destination"], holder["purpose"], holder["references"]) == ("mailer", EMAIL, 1)
    assert shop.recalls() == [("correct", {ref})]
    assert "add" in shop.read()
    assert sorted(shop.table.values()) == [ANN, BEA], "each side under a reference of its own"
    assert ref in shop.table
    (other,) = shop.table.keys() - {ref}
    assert shop.recalls() == []
    shop.merge()
    assert shop.recalls() == [("remove", {other})], "one person, one reference"
    shop.read()
    assert list(shop.table) == [ref]


def test_a_plan_names_a_segment_only_where_a_portrait_does(shop: Shop) -> None:
    born = {"type": "identify", "userId": "ann", "traits": {"birthday": "1980-05-05"}}
    shop.caller.send({**born, "messageId": "born"})
    shop.services.mirror.refresh()
    where = {"trait": "age_band", "op": "exists"}
    shop.caller.api("PUT", "/segments/aged", {"name": "aged", "where": where})
    shop.read()
    shop.cursor = ""
    assert shop.read("aged") == ["add"]
    ann = shop.ids[ANN]

    def told(purpose: str) -> tuple[set[str], set[str | None], int]:
        portrait = shop.caller.api("GET", f"/profiles/{ann}", purpose=purpose)
        plan = shop.caller.api("POST", f"/profiles/{ann}/split", {"dry_run": True}, purpose=purpose)
        held = plan["destinations"]
        return (
            set(portrait["segments"]),
            {one["segment"] for one in held},
            sum(one["references"] for one in held),
        )

    assert told("compliance_review") == ({"germans", "aged"}, {"germans", "aged"}, 2)
    assert told(PURPOSE) == ({"germans"}, {"germans", None}, 2), "its rule does not list ages under inputs"


def test_who_said_no_while_merged_is_in_nobody_s_table_after_the_split(shop: Shop) -> None:
    shop.merge()
    shop.read()
    (ref,) = shop.table
    shop.say(ANN, "withdrawn")
    done = shop.split()
    assert done["consents"] == [], "withdrawn before, withdrawn after, on both sides"
    assert shop.recalls() == [("remove", {ref})]
    shop.read()
    assert shop.table == {}
    shop.say(BEA, "granted")
    shop.read()
    assert list(shop.table.values()) == [BEA], "she took it back, for herself"


def test_an_export_decided_before_a_split_gives_neither_side_the_other_s_data(shop: Shop) -> None:
    shop.merge()
    export = shop.export()
    merged = shop.fetch(export)
    assert len(merged) == 1
    shop.split()
    assert shop.fetch(export) == {}, "whom it was decided about is nobody any more"
    fresh = shop.fetch(shop.export())
    assert sorted(fresh.values()) == [ANN, BEA]
    with_ref = {ref: email for ref, email in fresh.items() if ref in merged}
    assert len(with_ref) == 1


def test_a_webhook_is_told(shop: Shop, receiver: Receiver) -> None:
    shop.caller.api("PUT", "/destinations/mailer/webhook", {"url": receiver.url}, key=shop.key)
    shop.merge()
    (ref,) = shop.fetch(shop.export())
    shop.split()

    def turn() -> None:
        shop.services.outbox.issue()
        shop.services.webhooks.send()

    def corrected() -> set[str]:
        return {
            one["profile_ref"] for body in receiver.bodies() for one in body["data"].get("corrections", ())
        }

    until(lambda: corrected() == {ref}, turn)
    (other,) = shop.fetch(shop.export()).keys() - {ref}
    shop.merge()
    until(lambda: receiver.removals() == {other: "unlist"}, turn)
