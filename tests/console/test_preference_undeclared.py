"""A no counts whatever policies declare just then: it binds again on the day on which they do again."""

from __future__ import annotations

import msgspec
import pytest
from caller import Caller
from preference_reader import ADDRESS, ada_known, link, press, put_in_force, records, state

from cdp.clock import SECOND, FixedClock
from cdp.policy import read_folder
from cdp.settings import Settings

ada = pytest.fixture(ada_known, name="ada")
CLUB = """purposes:
  club: {name: Club, description: News of the club., basis: {"*": consent}, source: {"*": Art. 6}}
"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, four_eyes=False)


def test_one_click_while_policies_do_not_declare_its_purpose(ada: Caller, clock: FixedClock) -> None:
    shipped = dict(read_folder(ada.services.settings.policies_dir))
    purposes = shipped["purposes.yaml"].replace(b"purposes:\n", CLUB.encode(), 1)
    with_club = {**shipped, "purposes.yaml": purposes}
    put_in_force(ada, with_club)
    yes = {"identifiers": [{"type": "email", "value": ADDRESS}], "purpose": "club", "state": "granted"}
    ada.api("POST", "/consents", yes)
    path = link(ada, "withdraw", purposes=["club"])
    clock.advance(SECOND)
    put_in_force(ada, shipped)
    ada.api("POST", "/consents", yes, expect=400)
    assert "You are unsubscribed" in press(ada, path, **{"List-Unsubscribe": "One-Click"}).text
    clock.advance(SECOND)
    put_in_force(ada, with_club)
    assert state(ada, "club") == "withdrawn"
    assert (records(ada)[-1].legal_basis, records(ada)[-1].method) == ("consent", "one_click")
