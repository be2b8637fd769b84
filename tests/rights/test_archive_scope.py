"""Whose data is in an archive: what was proved, and what a trusted word connects; no guess of anybody's."""

from __future__ import annotations

from typing import Any

from archives import ADA, Opened, archive_of, ask, fetched, worked_on
from caller import Caller

EVE = "eve@example.org"


def identify(number: int, **who: Any) -> dict[str, Any]:
    return {"type": "identify", "messageId": f"i{number}", **who}


def seen(number: int, device: str, **more: Any) -> dict[str, Any]:
    """Return what an unknown visitor does on a device."""
    page = {"type": "page", "messageId": f"p{number}", "anonymousId": device, "name": f"Page {number}"}
    return {**page, **more}


def test_a_poisoned_link_gives_nobody_anothers_data(caller: Caller) -> None:
    """Anybody can type an address into a browser, and say that their device is somebody's."""
    caller.send(identify(1, userId="ada", traits={"email": ADA, "phone": "+44 20 7946 0018", "plan": "gold"}))
    caller.send(seen(2, "eve-laptop"), kind="browser")
    caller.send(identify(3, anonymousId="eve-laptop", traits={"email": ADA}), kind="browser")
    profile = caller.lookup("email", ADA)["id"]
    assert caller.lookup("anonymous_id", "eve-laptop")["id"] == profile  # they are one, as far as it is known
    eve = archive_of(caller, "eve-laptop", type_="anonymous_id")
    assert eve.values == {("anonymous_id", "eve-laptop")}
    assert ADA not in eve.everything
    assert "7946" not in eve.everything
    assert eve.traits == {}
    ada = archive_of(caller)
    assert {kind for kind, _ in ada.values} == {"email", "user_id", "phone"}
    assert "Page 2" not in ada.everything
    assert "eve-laptop" not in {value for _, value in ada.values}


def test_people_who_share_a_device_never_see_each_other(caller: Caller) -> None:
    """Here the server said so; the device is told to neither, but to whoever proves it."""
    caller.send(
        seen(1, "kitchen-tablet"),
        identify(2, anonymousId="kitchen-tablet", userId="ada", traits={"email": ADA}),
        identify(3, anonymousId="kitchen-tablet", userId="eve", traits={"email": EVE}),
        seen(4, "ada-phone"),
        identify(5, anonymousId="ada-phone", userId="ada"),
    )
    ada, eve = archive_of(caller), archive_of(caller, EVE)
    assert ada.values == {("email", ADA), ("user_id", "ada"), ("anonymous_id", "ada-phone")}
    assert {event["name"] for event in ada.events if event["type"] == "page"} == {"Page 4"}
    assert eve.values == {("email", EVE), ("user_id", "eve")}
    assert EVE not in ada.everything
    tablet = archive_of(caller, "kitchen-tablet", type_="anonymous_id")
    assert tablet.values == {("anonymous_id", "kitchen-tablet")}
    assert {event["name"] for event in tablet.events} == {"Page 1"}
    assert not {ADA, EVE} & set(tablet.everything.split('"'))


def test_conclusions_about_a_profile_are_told_only_of_a_whole_one(caller: Caller) -> None:
    bought = {"type": "track", "event": "Order Completed", "properties": {"total": 5.0}}
    caller.send(
        identify(1, userId="ada", traits={"email": ADA}),
        {**bought, "messageId": "t1", "userId": "ada"},
    )
    caller.api("PUT", "/segments/buyers", {"where": {"event": "Order Completed", "count": {"gte": 1}}})

    def groups() -> list[str]:
        caller.services.mirror.refresh()
        caller.services.segments.evaluate("buyers")
        opened = archive_of(caller)
        said = opened.json("manifest.json")["left_out"]
        assert any("profile as a whole" in one for one in said) == (not opened.json("conclusions.json"))
        return [one["name"] for one in opened.json("conclusions.json")]

    assert groups() == ["buyers"]
    caller.send(identify(3, anonymousId="eve-laptop", traits={"email": ADA}), kind="browser")
    assert groups() == []


def test_what_a_steward_joined_is_in_it_and_what_was_split_off_ends_it(caller: Caller) -> None:
    caller.send(
        identify(1, userId="ada", traits={"email": ADA}),
        identify(2, traits={"email": EVE, "nickname": "Countess"}, anonymousId="old-phone"),
    )
    ids = [caller.lookup("email", value)["id"] for value in (ADA, EVE)]
    caller.api("POST", "/profiles/merge", {"ids": ids, "dry_run": False})
    request = ask(caller)
    assert worked_on(caller, request) == "fulfilled"
    assert ("email", EVE) in Opened(fetched(caller, request)).values
    caller.api("POST", f"/profiles/{ids[1]}/split", {"dry_run": False})
    fetched(caller, request, expect=404)
    assert ("email", EVE) not in archive_of(caller).values


def test_several_identifiers_that_were_proved_are_one_request(caller: Caller) -> None:
    caller.send(identify(1, userId="ada", traits={"email": ADA}), seen(2, "ada-laptop"))
    services = caller.services
    with services.store.reading() as connection:
        named = [
            services.identity.find(connection, *one)
            for one in (("email", ADA), ("anonymous_id", "ada-laptop"))
        ]
    first, second = (number for number in named if number is not None)
    request = services.rights.open("key:1", first, "access", "officer", others=[second])
    assert worked_on(caller, request.request_id) == "fulfilled"
    opened = Opened(fetched(caller, request.request_id))
    assert opened.values == {("email", ADA), ("user_id", "ada"), ("anonymous_id", "ada-laptop")}
    assert "Page 2" in {event["name"] for event in opened.events}
