"""A no that binds already is a no of its own day: whatever was said before it, it outranks."""

from __future__ import annotations

import pytest
from caller import Caller
from preference_reader import ADDRESS, EMAIL, SMS, ada_known, answers, link, press, state
from test_preference_links import ask

from cdp.clock import DAY, FixedClock, rfc3339

ada = pytest.fixture(ada_known, name="ada")
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.mark.parametrize("way", ["one click", "one answer", "no to all", "objection"])
def test_a_yes_from_before_the_second_no_does_not_undo_it(ada: Caller, clock: FixedClock, way: str) -> None:
    clock.advance(DAY)
    one_click = link(ada, "withdraw", purposes=[EMAIL])
    press(ada, one_click, **ONE_CLICK)
    clock.advance(DAY)
    between = clock.now()  # she says yes where there is no network
    clock.advance(DAY)
    manage = link(ada)
    if way == "one click":
        assert "You are unsubscribed" in press(ada, one_click, **ONE_CLICK).text
    elif way == "one answer":
        press(ada, manage, **answers(ada.http.get(manage).text, marketing__communications__email="no"))
    elif way == "no to all":
        press(ada, manage, do="none")
    else:
        press(ada, manage, do="request", kind="objection")
    clock.advance(DAY)
    late = {"identifiers": [{"type": "email", "value": ADDRESS}], "purpose": EMAIL, "state": "granted"}
    ada.api("POST", "/consents", {**late, "event_time": rfc3339(between)}, key=ada.write_key("server"))
    assert state(ada) == ("objected" if way == "objection" else "withdrawn")


@pytest.mark.parametrize("way", ["one click", "one answer"])
def test_a_confirmation_does_not_undo_the_second_no(ada: Caller, clock: FixedClock, way: str) -> None:
    clock.advance(DAY)
    one_click = link(ada, "withdraw", purposes=[SMS])
    press(ada, one_click, **ONE_CLICK)
    clock.advance(DAY)
    confirmation = ask(ada)["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")
    clock.advance(DAY)
    if way == "one click":
        press(ada, one_click, **ONE_CLICK)
    else:
        manage = link(ada)
        press(ada, manage, **answers(ada.http.get(manage).text, marketing__communications__sms="no"))
    clock.advance(DAY)
    press(ada, confirmation)
    assert state(ada, SMS) == "withdrawn"
