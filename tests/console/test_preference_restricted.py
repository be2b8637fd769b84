"""A no under a restriction counts, and holds on when it is lifted (GDPR Art. 7(3), 18, 21)."""

from __future__ import annotations

import re

import msgspec
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
    put_in_force,
    records,
    state,
)

from cdp.clock import SECOND, FixedClock, rfc3339
from cdp.consent import Statement
from cdp.policy import read_folder
from cdp.settings import Settings

ada = pytest.fixture(ada_known, name="ada")
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
SERVICE = """purposes:
  service: {name: Service, description: What was ordered., basis: {"*": contract}, source: {"*": Art. 6}}
  service.better:
    {name: Better, description: A better one., basis: {"*": legitimate_interest}, source: {"*": Art. 6}}
  service.better.invoices:
    {name: Invoices, description: Of it., basis: {"*": legal_obligation}, source: {"*": Art. 6}}
"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, four_eyes=False)


def ask(caller: Caller, kind: str) -> None:
    body = {"identifier": {"type": "email", "value": ADDRESS}, "kind": kind}
    caller.api("POST", "/rights/requests", body)


def lift(caller: Caller, clock: FixedClock, *purposes: str) -> None:
    """Have the officer lift the restriction of these topmost purposes."""
    clock.advance(SECOND)
    said = {
        "identifiers": [{"type": "email", "value": ADDRESS}],
        "state": "restriction_lifted",
        "event_time": rfc3339(clock.now()),
    }
    for purpose in purposes:
        caller.api("POST", "/consents", {**said, "purpose": purpose})


def test_one_click_under_a_restriction_is_a_withdrawal_once_it_is_lifted(
    ada: Caller, clock: FixedClock
) -> None:
    path = link(ada, "withdraw", purposes=[EMAIL])
    ask(ada, "restriction")
    for _ in range(2):
        clock.advance(SECOND)
        assert ada.http.post(path, data=ONE_CLICK).status_code == 200
    assert state(ada) == "restricted"
    lift(ada, clock, "marketing")
    assert state(ada) == "withdrawn"


def test_an_objection_under_a_restriction_holds_once_it_is_lifted(ada: Caller, clock: FixedClock) -> None:
    ask(ada, "restriction")
    clock.advance(SECOND)
    ask(ada, "objection")
    assert {state(ada, key) for key in (EMAIL, "segmentation")} == {"restricted"}
    lift(ada, clock, "marketing", "segmentation")
    assert {state(ada, key) for key in (EMAIL, "segmentation")} == {"objected"}


@pytest.mark.parametrize("way", ["no to all", "one answer", "the button"])
def test_the_page_takes_a_no_under_a_restriction(ada: Caller, clock: FixedClock, way: str) -> None:
    path = link(ada)
    clock.advance(SECOND)
    page = press(ada, path, do="request", kind="restriction", lang="en").text
    assert not re.search(r'name="choice[^>]* checked', page)  # restricted is not refused
    clock.advance(SECOND)
    key, word = (EMAIL, "withdrawn")
    if way == "no to all":
        done = press(ada, path, do="none", lang="en")
    elif way == "one answer":
        assert re.search(rf'name="choice.{EMAIL}" value="no"', page)
        assert not re.search(rf'name="choice.{EMAIL}" value="yes"', page)
        done = press(ada, path, **answers(page, marketing__communications__email="no"))
    else:
        key, word = ("segmentation", "objected")
        done = press(ada, path, do="object", purpose=key, lang="en")
    assert "Your choices are saved." in done.text
    assert state(ada, key) == "restricted"
    clock.advance(SECOND)
    if way == "no to all":
        done = press(ada, path, do="none", lang="en")
    elif way == "one answer":
        assert re.search(rf'name="choice.{EMAIL}" value="no" checked', done.text)
        done = press(ada, path, **answers(page, marketing__communications__email="no"))
    else:
        done = press(ada, path, do="object", purpose=key, lang="en")
    assert "Nothing was changed" in done.text
    lift(ada, clock, "marketing", "segmentation")
    assert state(ada, key) == word


def test_saving_another_answer_under_a_restriction_refuses_nothing(ada: Caller, clock: FixedClock) -> None:
    """A yes is not taken under a restriction either: it is the officer's to lift."""
    path = link(ada)
    clock.advance(SECOND)
    page = press(ada, path, do="request", kind="restriction", lang="en").text
    clock.advance(SECOND)
    press(ada, path, **answers(page, marketing__communications__sms="yes"))
    lift(ada, clock, "marketing")
    assert state(ada) == "granted"
    assert state(ada, SMS) == "missing"


def test_a_no_is_news_under_a_browsers_signal(ada: Caller, clock: FixedClock) -> None:
    """``Sec-GPC`` is lifted by other acts than a no of the person, so neither hides the other."""
    services = ada.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "email", ADDRESS)
    assert number is not None
    said = Statement(purpose=EMAIL, state="opted_out", act=True, event_time=clock.now(), signal="gpc")
    services.acts.record(number, [said])
    clock.advance(SECOND)
    assert state(ada) == "opted_out"
    ada.http.post(link(ada, "withdraw", purposes=[EMAIL]), data=ONE_CLICK)
    assert state(ada) == "withdrawn"


@pytest.mark.parametrize(("kind", "word"), [("restriction", "restricted"), ("objection", "objected")])
def test_what_lies_below_a_purpose_that_is_owed_is_restrained(ada: Caller, kind: str, word: str) -> None:
    files = dict(read_folder(ada.services.settings.policies_dir))
    files["purposes.yaml"] = files["purposes.yaml"].replace(b"purposes:\n", SERVICE.encode(), 1)
    put_in_force(ada, files)
    ask(ada, kind)
    assert state(ada, "service") == "missing"
    assert state(ada, "service.better") == word
    assert [record.purpose for record in records(ada)].count("service.better.invoices") == 0
