"""A reader of the preference page: what its tests share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from caller import Caller

from cdp.access import Principal
from cdp.consent import Record

ADDRESS = "ada.lovelace@example.org"
EMAIL = "marketing.communications.email"
SMS = "marketing.communications.sms"
ANALYTICS = "analytics"


def ada_known(caller: Caller) -> Caller:
    """A platform that knows one person, who agreed to e-mail once."""
    caller.send({"type": "identify", "messageId": "m1", "userId": "ada", "traits": {"email": ADDRESS}})
    consent = {"identifiers": [{"type": "email", "value": ADDRESS}], "purpose": EMAIL, "state": "granted"}
    caller.api("POST", "/consents", consent)
    return caller


def put_in_force(caller: Caller, files: Mapping[str, bytes]) -> None:
    """Put these policies in force, where four eyes are not asked for, and have everybody's states derived."""
    services = caller.services
    key_id = int(caller.api("GET", "/keys")["items"][-1]["id"])
    officer = Principal(key_id=key_id, name="officer", roles=frozenset({"officer"}))
    checked, held = services.policies.check(files), services.bundle.sha256
    proposal = services.policies.propose(officer, checked, files, held, {}, {})
    services.policies.approve(officer, proposal.sha256)
    services.in_force.refresh()
    services.deriving.settle()


def link(caller: Caller, kind: str = "manage", value: str = ADDRESS, **more: Any) -> str:
    """Return the path of a link."""
    body = {"identifier": {"type": "email", "value": value}, "kind": kind, **more}
    url = caller.api("POST", "/preferences/links", body)["url"]
    assert url.startswith("http://127.0.0.1:8000/preferences/")
    return str(url.removeprefix("http://127.0.0.1:8000"))


def state(caller: Caller, purpose: str = EMAIL, value: str = ADDRESS) -> str:
    """Return the state that the gate goes by, of the profile that has an address."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "email", value)
        assert number is not None
        profile_no = services.identity.profile_of(connection, number)
        standing = services.ledger.states(connection, purpose).get(profile_no)
    return "missing" if standing is None else standing.state


def records(caller: Caller, value: str = ADDRESS) -> list[Record]:
    """Return the ledger's records of an address."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "email", value)
        assert number is not None
        return services.ledger.records_of(connection, [number])


def texts(page: str) -> str:
    found = re.search(r'name="texts" value="(\w+)"', page)
    assert found
    return found[1]


def press(caller: Caller, path: str, **fields: str) -> Any:
    """Send a form of the page with these fields and return the answer that it leads to."""
    return caller.http.post(path, data=fields)


def answers(page: str, **choices: str) -> dict[str, str]:
    """Return the fields of the form of choices; ``__`` stands for the dot of a purpose."""
    named = {f"choice.{name.replace('__', '.')}": value for name, value in choices.items()}
    return {"texts": texts(page), "do": "save", "lang": "en", **named}
