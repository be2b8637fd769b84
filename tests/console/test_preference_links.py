"""Links: one click, double opt-in, what is none, and what nobody learns from any of them."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller
from preference_reader import (
    ADDRESS,
    EMAIL,
    SMS,
    ada_known,
    answers,
    link,
    press,
    records,
    state,
)
from sqlalchemy import delete

from cdp.api.auth import OPEN, declared
from cdp.clock import DAY, SECOND, FixedClock, parse_rfc3339
from cdp.ingest.tables import event_keys
from cdp.settings import Settings

ada = pytest.fixture(ada_known, name="ada")


def test_one_click_withdraws_at_once_and_each_press_is_an_act(ada: Caller, clock: FixedClock) -> None:
    path = link(ada, "withdraw", purposes=[EMAIL], destination="mailer", language="en")
    clock.advance(400 * DAY)  # links in old messages still work
    answer = ada.http.post(path, data={"List-Unsubscribe": "One-Click"}, follow_redirects=False)
    assert answer.status_code == 200
    assert "You are unsubscribed." in answer.text
    assert state(ada) == "withdrawn"
    newest = records(ada)[-1]
    assert (newest.state, newest.method) == ("withdrawn", "one_click")
    count = len(records(ada))
    form = {"List-Unsubscribe": (None, "One-Click")}
    assert ada.http.post(path, files=form).status_code == 200  # at the same instant: the very same act
    assert len(records(ada)) == count
    clock.advance(SECOND)
    assert ada.http.post(path, files=form).status_code == 200
    assert len(records(ada)) == count + 1


def test_a_post_without_the_words_of_rfc_8058_asks_first(ada: Caller) -> None:
    path = link(ada, "withdraw", purposes=[EMAIL])
    answer = ada.http.post(path, content=b"")
    assert answer.status_code == 200
    assert "Yes, unsubscribe me" in answer.text
    assert state(ada) == "granted"


def test_the_headers_for_a_message_come_with_the_link(ada: Caller) -> None:
    body = {"identifier": {"type": "email", "value": ADDRESS}, "kind": "withdraw", "purposes": [EMAIL]}
    made = ada.api("POST", "/preferences/links", body)
    assert made["headers"] == {
        "List-Unsubscribe": f"<{made['url']}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def test_what_is_no_live_link_gets_one_and_the_same_page(ada: Caller, clock: FixedClock) -> None:
    manage, withdraw = link(ada), link(ada, "withdraw", purposes=[EMAIL])
    token = manage.rpartition("/")[2]
    unknown = link(ada, value="nobody@example.org")
    assert len(unknown) == len(manage)
    paths = [
        "/preferences/forged",
        manage[:-1],
        manage + "A",
        manage[:-4] + ("AAAA" if not manage.endswith("AAAA") else "BBBB"),
        f"/preferences/withdraw/{token}",
        f"/preferences/confirm/{token}",
        f"/preferences/{withdraw.rpartition('/')[2]}",
        unknown,
    ]
    clock.advance(29 * 60 * SECOND)
    assert ada.http.get(manage).status_code == 200
    seen = {(answer.status_code, answer.text) for answer in map(ada.http.get, paths)}
    clock.advance(60 * SECOND)
    expired = ada.http.get(manage)
    assert seen == {(404, expired.text)}
    assert "This link does not work" in expired.text
    assert press(ada, manage, do="none").status_code == 404
    assert state(ada) == "granted"


def test_guessing_is_limited_by_address_and_a_live_link_still_works(ada: Caller) -> None:
    path, withdraw = link(ada), link(ada, "withdraw", purposes=[EMAIL])
    statuses = [ada.http.get(f"/preferences/guess{number}").status_code for number in range(40)]
    assert statuses[0] == 404
    assert statuses[-1] == 429
    assert ada.http.get(path).status_code == 200
    assert ada.http.post(withdraw, data={"List-Unsubscribe": "One-Click"}).status_code == 200


def test_changes_through_one_link_are_limited(ada: Caller) -> None:
    path = link(ada)
    assert {press(ada, path, do="save").status_code for _ in range(40)} == {200, 429}


def test_a_link_survives_a_merge_and_dies_with_the_identity(ada: Caller) -> None:
    path = link(ada)
    merging = {"type": "identify", "messageId": "m9", "userId": "ada", "anonymousId": "browser-1"}
    ada.send(merging)
    assert ada.http.get(path).status_code == 200
    services = ada.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "email", ADDRESS)
    assert number is not None
    services.keyring.destroy([number])  # as an erasure does
    assert ada.http.get(path).status_code == 404
    assert press(ada, path, do="none").status_code == 404


def test_who_gets_links(ada: Caller) -> None:
    body = {"identifier": {"type": "email", "value": ADDRESS}, "kind": "manage"}
    withdraw = {**body, "kind": "withdraw", "purposes": [EMAIL]}
    ada.api("POST", "/preferences/links", withdraw, key=ada.write_key("server"))
    for kind in ("browser", "import"):
        ada.api("POST", "/preferences/links", body, key=ada.write_key(kind), expect=403)
        ada.api("POST", "/preferences/links", withdraw, key=ada.write_key(kind), expect=403)
    wrong: list[dict[str, Any]] = [
        {**body, "kind": "confirm"},
        {**body, "kind": "withdraw"},
        {**body, "purposes": [EMAIL]},
        {**body, "kind": "withdraw", "purposes": ["unheard.of"]},
        {**body, "language": "<script>"},
        {**body, "destination": "nowhere"},
        {**body, "identifier": {"type": "shoe_size", "value": "38"}},
    ]
    for bad in wrong:
        ada.api("POST", "/preferences/links", bad, expect=400)


def test_a_manage_link_is_a_look_at_one_person_and_needs_a_permission_of_its_own(ada: Caller) -> None:
    body = {"identifier": {"type": "email", "value": ADDRESS}, "kind": "manage"}
    ada.api("POST", "/preferences/links", body, key=ada.write_key("server"), expect=403)
    found = ada.api("GET", "/audit?action=preferences.links")["items"]
    assert [entry["outcome"] for entry in found] == ["denied"]
    made = ada.api("POST", "/sources", {"name": "account-pages", "kind": "server", "links": True})
    known = ada.api("POST", "/preferences/links", body, key=made["write_key"])
    unknown = {**body, "identifier": {"type": "email", "value": "nobody@example.org"}}
    other = ada.api("POST", "/preferences/links", unknown, key=made["write_key"])
    assert known.keys() == other.keys()
    assert len(known["url"]) == len(other["url"])
    minted = ada.api("GET", "/audit?action=link.make")["items"]
    assert {entry["actor"] for entry in minted} == {f"source:{made['id']}"}
    assert {entry["object"]["kind"] for entry in minted} == {"manage"}
    ada.api("POST", "/sources", {"name": "site", "kind": "browser", "links": True}, expect=400)
    for name, roles, purposes in (("o", ["officer"], ["analytics"]), ("a", ["admin"], [])):
        key = ada.api("POST", "/keys", {"name": name, "roles": roles, "purposes": purposes})["key"]
        ada.api("POST", "/preferences/links", body, key=key, expect=403)
        with_links = {"name": "more", "kind": "server", "links": True}
        ada.api("POST", "/sources", with_links, key=key, expect=403)  # nobody grants what they lack


def ask(caller: Caller, value: str = ADDRESS, purpose: str = SMS, **more: Any) -> Any:
    """Ask for a consent that waits for its confirmation."""
    body = {
        "identifiers": [{"type": "email", "value": value}],
        "purpose": purpose,
        "state": "granted",
        "confirm": "double_opt_in",
        **more,
    }
    return caller.api("POST", "/consents", body, key=caller.write_key("server"))


def test_double_opt_in_records_nothing_until_it_is_confirmed(ada: Caller, clock: FixedClock) -> None:
    asked = ask(ada)
    assert asked["recorded"] is False
    path = asked["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")
    assert ADDRESS not in path
    assert state(ada, SMS) == "missing"
    page = ada.http.get(path)
    assert "Please confirm" in page.text
    assert "We would like to send you news and offers by text message" in page.text
    assert state(ada, SMS) == "missing"
    clock.advance(2 * DAY)
    assert "Your consent is recorded." in press(ada, path, lang="en").text
    assert state(ada, SMS) == "granted"
    newest = next(record for record in records(ada) if record.purpose == SMS)
    assert (newest.event_type, newest.method, newest.source_kind) == ("explicit", "double_opt_in", "server")
    assert newest.event_time == clock.now()
    assert newest.sealed is not None  # both times


def test_what_was_asked_survives_to_the_record(ada: Caller, clock: FixedClock) -> None:
    asked = ask(
        ada,
        event_type="separate",
        notice_id="sms-news",
        notice_version=1,
        language="zh",
        jurisdiction="CN",
        recipients=["mailer"],
        expires_at="2026-12-31T00:00:00Z",
    )
    path = asked["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")
    clock.advance(DAY)
    page = ada.http.get(path)
    assert '<html lang="zh">' in page.text  # the language of the message, nobody having asked for another
    assert "回复 STOP 即可退订" in page.text
    press(ada, path)
    record = next(one for one in records(ada) if one.purpose == SMS)
    kept = (record.event_type, record.notice_id, record.notice_version, record.language, record.jurisdiction)
    assert kept == ("separate", "sms-news", 1, "zh", "CN")
    assert record.recipients == ("mailer",)
    assert record.expires_at == parse_rfc3339("2026-12-31T00:00:00Z")
    body = {"identifiers": [{"type": "email", "value": ADDRESS}], "purpose": SMS, "state": "granted"}
    unheard = {**body, "confirm": "double_opt_in", "notice_id": "unheard-of"}
    ada.api("POST", "/consents", unheard, key=ada.write_key("server"), expect=400)


def test_a_confirmation_counts_once_and_never_undoes_a_later_no(ada: Caller, clock: FixedClock) -> None:
    path = ask(ada)["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")
    clock.advance(DAY)
    press(ada, path)
    count = len(records(ada))
    clock.advance(DAY)
    press(ada, path)
    assert len(records(ada)) == count
    press(ada, link(ada), do="none")
    clock.advance(DAY)
    assert press(ada, path).status_code == 200
    assert state(ada, SMS) == "withdrawn"
    clock.advance(5 * DAY)
    assert press(ada, path).status_code == 404


def test_a_confirmation_says_what_holds_also_after_a_restore(ada: Caller, clock: FixedClock) -> None:
    path = ask(ada)["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")
    clock.advance(SECOND)
    assert "Your consent is recorded." in press(ada, path, lang="en").text
    clock.advance(SECOND)
    assert "Your consent is recorded." in press(ada, path, lang="en").text
    clock.advance(SECOND)
    press(ada, link(ada, "withdraw", purposes=[SMS]), **{"List-Unsubscribe": "One-Click"})
    clock.advance(SECOND)
    again = press(ada, path, lang="en").text
    assert "Your consent does not hold." in again
    assert "Your consent is recorded." not in again
    count = len(records(ada))
    with ada.services.store.writing() as connection, connection.begin():
        connection.execute(delete(event_keys))  # as a backup of before the first press has it
    assert "Your consent does not hold." in press(ada, path, lang="en").text
    assert (state(ada, SMS), len(records(ada))) == ("withdrawn", count)
    clock.advance(SECOND)
    anew = ask(ada)["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")
    clock.advance(SECOND)
    assert "Your consent is recorded." in press(ada, anew, lang="en").text
    assert state(ada, SMS) == "granted"


def test_a_new_address_becomes_known_by_its_confirmation_only(ada: Caller) -> None:
    path = ask(ada, "new@example.org")["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")
    lookup = {"type": "email", "value": "new@example.org"}
    ada.api("POST", "/profiles/lookup", lookup, purpose="data_quality", expect=404)
    press(ada, path)
    assert state(ada, SMS, "new@example.org") == "granted"


def test_who_may_ask_for_a_confirmation(ada: Caller) -> None:
    body = {
        "identifiers": [{"type": "email", "value": ADDRESS}],
        "purpose": SMS,
        "state": "granted",
        "confirm": "double_opt_in",
    }
    ada.api("POST", "/consents", body, key=ada.write_key("browser"), expect=403)
    ada.api("POST", "/consents", body, key=ada.write_key("import"), expect=403)
    ada.api("POST", "/consents", {**body, "state": "withdrawn"}, expect=400)
    ada.api("POST", "/consents", {**body, "confirm": "handshake"}, expect=400)
    assert ada.api("POST", "/consents", body)["recorded"] is False


def test_where_policy_asks_for_it_a_yes_comes_with_the_link_that_makes_it_count(
    ada: Caller, clock: FixedClock
) -> None:
    body = {"identifiers": [{"type": "email", "value": ADDRESS}], "purpose": SMS, "state": "granted"}
    for key in (ada.write_key("server"), ada.operator_key):
        made = ada.api("POST", "/consents", body, key=key)
        assert made["recorded"] is True
        path = made["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")
        clock.advance(SECOND)
    press(ada, path)
    assert "double_opt_in" in {record.method for record in records(ada)}
    query = "mutation($v: ConsentInput!) {recordConsent(input: $v) {recorded confirmation}}"
    answer = ada.http.post(
        "/graphql",
        json={"query": query, "variables": {"v": body}},
        headers={"Authorization": f"Bearer {ada.operator_key}"},
    )
    told = answer.json()["data"]["recordConsent"]
    assert told["recorded"] is True
    assert told["confirmation"].startswith("http://127.0.0.1:8000/preferences/confirm/")
    assert "confirmation" not in ada.api("POST", "/consents", {**body, "state": "withdrawn"})
    assert "confirmation" not in ada.api("POST", "/consents", {**body, "purpose": EMAIL})
    device = {**body, "identifiers": [{"type": "anonymous_id", "value": "browser-1"}]}
    assert "confirmation" not in ada.api("POST", "/consents", device, key=ada.write_key("browser"))
    for method in ("double_opt_in", "preference_page", "one_click"):  # nobody says so but our own links
        ada.api("POST", "/consents", {**body, "method": method}, expect=400)


def test_every_page_is_open_by_declaration_and_nothing_else_is(ada: Caller) -> None:
    found = {
        (method, route.path)
        for route in ada.http.app.routes
        if route.path.startswith("/preferences")
        for handler in route.route_handlers
        for method in handler.http_methods - {"OPTIONS"}
        if declared(handler) == OPEN
    }
    assert {path for _, path in found} == {
        route.path for route in ada.http.app.routes if route.path.startswith("/preferences")
    }
    assert {method for method, _ in found} == {"GET", "HEAD", "POST"}


def test_a_no_counts_again_where_a_later_yes_lifted_it_below(ada: Caller, clock: FixedClock) -> None:
    """Newest word for ``marketing`` is no, but a yes for e-mail came after it."""
    everything = link(ada, "withdraw", purposes=["marketing"])
    one_click = {"List-Unsubscribe": "One-Click"}
    ada.http.post(everything, data=one_click)
    clock.advance(SECOND)
    path = link(ada)
    press(ada, path, **answers(ada.http.get(path).text, marketing__communications__email="yes"))
    assert state(ada) == "granted"
    clock.advance(SECOND)
    ada.http.post(everything, data=one_click)
    assert state(ada) == "withdrawn"


def test_neither_a_link_nor_whom_it_is_for_can_be_read_anywhere(
    ada: Caller, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """In files (the database of the one half of these tests), logs and metrics."""
    newcomer = "somebody.new@example.org"
    asked = ask(ada, newcomer)["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")
    paths = [asked, link(ada), link(ada, "withdraw", purposes=[EMAIL]), link(ada, value=newcomer)]
    for path in paths:
        ada.http.get(path)
        press(ada, path, do="none")
    printed = capfd.readouterr()
    places = [path.read_bytes() for path in settings.data_dir.parent.rglob("*") if path.is_file()]
    places += [(printed.out + printed.err).encode(), ada.http.get("/metrics").content]
    needles = [newcomer, ADDRESS, *(path.rpartition("/")[2] for path in paths)]
    assert [needle for needle in needles for place in places if needle.encode() in place] == []
    assert any(b"preferences.show" in place for place in places) == settings.database_url.startswith("sqlite")
