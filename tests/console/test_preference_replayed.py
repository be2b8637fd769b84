"""A page that was open before, or is sent again: what it shows is no longer so, and no yes of it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from caller import Caller
from preference_reader import ADDRESS, EMAIL, SMS, ada_known, answers, link, press, state, texts

from cdp.clock import SECOND, FixedClock
from cdp.console.model import View
from cdp.console.preferences import PreferencePage
from cdp.rights import Link

ada = pytest.fixture(ada_known, name="ada")
CHANGED = "This page changed while you had it open."


def test_a_yes_from_before_a_no_does_not_undo_it(ada: Caller, clock: FixedClock) -> None:
    path = link(ada)
    old = answers(
        ada.http.get(path).text, marketing__communications__email="yes", marketing__communications__sms="yes"
    )
    press(ada, path, **old)
    assert state(ada, SMS) == "granted"
    clock.advance(SECOND)
    assert "Nothing was changed" in press(ada, path, **old).text  # pressed twice
    press(ada, path, do="none", lang="en")
    clock.advance(SECOND)
    done = press(ada, path, **old)
    assert CHANGED in done.text
    assert state(ada) == state(ada, SMS) == "withdrawn"
    clock.advance(SECOND)
    press(ada, path, **answers(done.text, marketing__communications__email="yes"))
    assert state(ada) == "granted"


def test_a_page_from_before_one_click_does_not_undo_it(ada: Caller, clock: FixedClock) -> None:
    """Another tab still shows the yes of then; saving something else on it repeats no yes."""
    path = link(ada)
    tab = ada.http.get(path).text
    ada.http.post(link(ada, "withdraw", purposes=[EMAIL]), data={"List-Unsubscribe": "One-Click"})
    clock.advance(SECOND)
    saved = answers(tab, marketing__communications__email="yes", marketing__communications__sms="no")
    assert CHANGED in press(ada, path, **saved).text
    assert state(ada) == state(ada, SMS) == "withdrawn"


def test_a_lift_from_before_an_objection_does_not_undo_it(ada: Caller, clock: FixedClock) -> None:
    path = link(ada)
    one = {"purpose": "segmentation", "lang": "en"}
    old = texts(press(ada, path, do="object", **one).text)
    clock.advance(SECOND)
    press(ada, path, do="lift", texts=old, **one)
    assert state(ada, "segmentation") != "objected"
    clock.advance(SECOND)
    press(ada, path, do="object", **one)
    clock.advance(SECOND)
    assert CHANGED in press(ada, path, do="lift", texts=old, **one).text
    assert state(ada, "segmentation") == "objected"


@pytest.fixture
def meanwhile(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Have something happen just after the next answer was held against what holds."""
    real = PreferencePage._read

    def arrange(happens: Callable[[], Any]) -> None:
        def read(self: PreferencePage, held: Link, language: str) -> View | None:
            view = real(self, held, language)
            monkeypatch.setattr(PreferencePage, "_read", real)
            clock.advance(SECOND)
            happens()
            clock.advance(SECOND)
            return view

        monkeypatch.setattr(PreferencePage, "_read", read)

    return arrange


def test_a_yes_does_not_undo_a_no_that_comes_in_beside_it(
    ada: Caller, meanwhile: Callable[[Callable[[], Any]], None]
) -> None:
    path = link(ada)
    tab = ada.http.get(path).text
    one_click = link(ada, "withdraw", purposes=[SMS])
    meanwhile(lambda: ada.http.post(one_click, data={"List-Unsubscribe": "One-Click"}))
    done = press(ada, path, **answers(tab, marketing__communications__sms="yes"))
    assert state(ada, SMS) == "withdrawn"
    assert "Your choices are saved." not in done.text


def test_a_lift_does_not_undo_an_objection_that_comes_in_beside_it(
    ada: Caller, clock: FixedClock, meanwhile: Callable[[Callable[[], Any]], None]
) -> None:
    path = link(ada)
    one = {"purpose": "segmentation", "lang": "en"}
    tab = texts(press(ada, path, do="object", **one).text)
    clock.advance(SECOND)
    objection = {"identifiers": [{"type": "email", "value": ADDRESS}], "purpose": "segmentation"}
    meanwhile(lambda: ada.api("POST", "/consents", {**objection, "state": "objected"}))
    press(ada, path, do="lift", texts=tab, **one)
    assert state(ada, "segmentation") == "objected"
