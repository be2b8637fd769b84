"""What the preference page shows, before it is put into words: keys of texts, instants, names from policies.

Nothing here is an identifier of a person, clear or masked.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from cdp.clock import Micros
from cdp.consent import RecordState
from cdp.rights import RightsRequest

Answer = Literal["yes", "no", ""]
Result = Literal["saved", "saved_partly", "nothing", "texts_changed", "requested", "choose"]
RESULTS: tuple[Result, ...] = get_args(Result)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One purpose that a person may say yes or no to.

    :param group: name of the purpose at the top of it; empty when it stands alone.
    :param instead: what is offered to whoever wants no choice made by their data; empty for nothing.
    :param variant: name of the choice by which they ask for it; empty when they need not.
    :param basis: key of the text that says why.
    :param state: key of the text that says what is recorded.
    :param answer: which of the two answers holds now, or will when a restriction is lifted.
    :param fixed: it is restricted, which the person does not lift: only a no is taken.
    """

    purpose: str
    name: str
    description: str
    group: str
    instead: str
    variant: str
    basis: str
    notice: str
    state: str
    since: Micros
    answer: Answer
    fixed: bool
    names: tuple[str, ...]


class Always(msgspec.Struct, frozen=True, kw_only=True):
    """A purpose that nobody is asked about.

    :param state: key of the text that says what restrains it; empty for nothing.
    :param act: what the person may do about it: object, lift an objection, or nothing.
    """

    purpose: str
    name: str
    description: str
    basis: str
    state: str
    since: Micros
    act: Literal["object", "lift", ""]


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """Who received data of this identity, for what, most recently when."""

    name: str
    country: str
    role: str
    purpose: str
    last: Micros


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the ledger."""

    record_id: int
    at: Micros
    purpose: str
    state: RecordState
    method: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The whole page.

    :param address: key of the text that names the kind of address.
    :param archives: request → until when its archive can be fetched from here.
    :param texts: names what is shown to whoever says yes: the versions of the texts, and what holds.
    """

    address: str
    expires_at: Micros
    choices: tuple[Choice, ...]
    always: tuple[Always, ...]
    recipients: tuple[Recipient, ...]
    requests: tuple[RightsRequest, ...]
    archives: dict[str, Micros]
    history: tuple[Past, ...]
    texts: str


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What a withdraw or confirm link is about: (name, description, notice) of its purposes.

    :param stands: False where what was confirmed does not hold after all.
    """

    purposes: tuple[tuple[str, str, str], ...]
    language: str
    stands: bool = True
