"""How people are read here: admitted, decided, recorded.

Invariants: every read is a use. It is recorded with the person as its subject, in the transaction that reads,
and the caller gets the result only after that transaction has committed; a look-up that finds nobody is
recorded too. The gate decides, for the destination ``controller`` and the purpose (``Gate.inside``): what the
policies drop is not shown, who is restrained is not read, and nobody is while the controller is switched off;
refusals are recorded, and a list leaves such people out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec
from pyroaring import BitMap

from cdp.consent import ConsentLedger
from cdp.errors import CdpError, NotFoundError
from cdp.gate import PERMITTED, Admitted, Gate, Refusal, View, refusal
from cdp.identity import IdentityService, members_of
from cdp.portrait.record import deny, entry_of, result_of
from cdp.store import Batch, Committer, Connection, retrying

T = TypeVar("T")
_LOOKED_THROUGH = 200
"""People decided about at once for a page."""


class Person(NamedTuple):
    """Who is read: the profile, its identities, what may be shown of them."""

    profile_no: int
    numbers: Sequence[int]
    view: View


class Use(NamedTuple):
    """A read of one person under way.

    :param about: what the audit entry says besides; ``others`` further identities that it concerns.
    """

    connection: Connection
    admitted: Admitted
    person: Person
    about: dict[str, str | int]
    others: set[int]


class Users:
    """Reads people under the rules of every use."""

    def __init__(
        self, committer: Committer, identity: IdentityService, ledger: ConsentLedger, gate: Gate
    ) -> None:
        self._committer = committer
        self._identity = identity
        self._ledger = ledger
        self._gate = gate

    def one(
        self,
        actor: str,
        purpose: str,
        action: str,
        find: Callable[[Connection], int | None],
        read: Callable[[Use], T | Refusal],
        about: Mapping[str, str | int] | None = None,
        *,
        shows: bool = True,
    ) -> T:
        """Find a person, read of them, record both; the result counts once all of it has committed.

        :param find: returns the number of the profile; None when nobody is found.
        :param read: returns what is read, or why it may not be shown.
        :param shows: False when nothing of the person's fields is read.
        """

        def run() -> T | CdpError:
            with self._committer.batch() as batch:
                connection = batch.connection
                admitted = self._gate.inside.admit(connection, purpose, shows=shows)
                if isinstance(admitted, Refusal):
                    return deny(batch, action, actor, purpose, admitted, about=about)
                profile_no = find(connection)
                if profile_no is None:
                    batch.record(entry_of(action, actor, purpose, (), outcome="failed"))
                    return NotFoundError("nobody has this identifier")
                members = self._identity.members(connection, profile_no)
                view = self._gate.inside.views(connection, admitted, {profile_no: members})[profile_no]
                if view.reason != PERMITTED:
                    return deny(batch, action, actor, purpose, refusal(view.reason), members, about)
                use = Use(connection, admitted, Person(profile_no, members, view), dict(about or {}), set())
                result = read(use)
                if isinstance(result, Refusal):
                    return deny(batch, action, actor, purpose, result, members, use.about)
                entry = entry_of(action, actor, purpose, [*members, *sorted(use.others - set(members))])
                batch.record(msgspec.structs.replace(entry, object=use.about))
            return result

        return result_of(retrying(run))

    def several(
        self,
        actor: str,
        purpose: str,
        action: str,
        inputs: frozenset[str],
        read: Callable[[Batch, Admitted, BitMap], tuple[T, list[Person]]],
    ) -> T:
        """Read people, as many as ``read`` says it did, and record them.

        :param inputs: the categories by which they were chosen.
        :param read: is given who is restrained for the purpose.
        """

        def run() -> T | CdpError:
            with self._committer.batch() as batch:
                connection = batch.connection
                admitted = self._gate.inside.admit(connection, purpose)
                if isinstance(admitted, Refusal):
                    return deny(batch, action, actor, purpose, admitted)
                refused = self._gate.inside.unlisted(admitted, inputs) if inputs else None
                if refused is not None:
                    return deny(batch, action, actor, purpose, refused)
                result, people = read(batch, admitted, self._restrained(connection, admitted))
                subjects = [number for one in people for number in one.numbers]
                batch.record(entry_of(action, actor, purpose, subjects, people=len(people)))
            return result

        return result_of(retrying(run))

    def check(self, actor: str, purpose: str, action: str) -> None:
        """Refuse a use that no fact about a person could permit, on record."""
        with self._committer.store.reading() as connection:
            admitted = self._gate.inside.admit(connection, purpose)
        if isinstance(admitted, Refusal):
            with self._committer.batch() as batch:
                refused = deny(batch, action, actor, purpose, admitted)
            raise refused

    def views(self, use: Use, profile_nos: Collection[int]) -> dict[int, View]:
        """Return what may be shown of some profiles, for the use at hand; of the one read what is decided."""
        others = members_of(use.connection, set(profile_nos) - {use.person.profile_no})
        found = self._gate.inside.views(use.connection, use.admitted, others) if others else {}
        return {**found, use.person.profile_no: use.person.view}

    def page(
        self,
        connection: Connection,
        admitted: Admitted,
        more: Callable[[int, int], Collection[int]],
        limit: int,
        after: int,
        hidden: BitMap,
        inputs: frozenset[str],
    ) -> list[Person]:
        """Return up to ``limit`` people above ``after`` of whom something may be shown.

        :param more: returns up to so many profile numbers above one, ascending.
        :param inputs: the categories by which they were chosen.
        """
        found: list[Person] = []
        most = max(limit, _LOOKED_THROUGH)
        while len(found) < limit:
            next_ones = more(most, after)
            members = dict(sorted(members_of(connection, set(next_ones) - set(hidden)).items()))
            views = self._gate.inside.views(connection, admitted, members)
            found += [
                Person(no, numbers, views[no])
                for no, numbers in members.items()
                if views[no].chosen_by(inputs)
            ]
            if len(next_ones) < most:
                break
            after = max(next_ones)
        return found[:limit]

    def _restrained(self, connection: Connection, admitted: Admitted) -> BitMap:
        stated = admitted[2]
        return self._ledger.restrained(connection, stated.key) if stated.restrainable else BitMap()
