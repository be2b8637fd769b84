"""What authorise and render share: admission, the decision about a set of people, recorded refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import msgspec
from pyroaring import BitMap

from cdp.access import Principal
from cdp.audit import Entry
from cdp.clock import Clock, Micros
from cdp.errors import DefinitionError, NotPermittedError, noted
from cdp.gate.admit import Refusal, admit
from cdp.gate.bind import bind, chosen_by
from cdp.gate.compile import compile_sets
from cdp.gate.facts import FactReader
from cdp.gate.model import Partition, Terms
from cdp.gate.queries import Stored
from cdp.policy import Bundle, Destination, Purpose
from cdp.segments import Lists
from cdp.store import Committer, Connection


def _no_longer_chosen() -> Refusal:
    """Return the refusal, made anew: a kept error keeps alive what was at hand where it was raised."""
    said = "the policies no longer let people be chosen by what this export's definition read"
    return Refusal("input_not_permitted", NotPermittedError(said))


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle bound to one (destination, purpose, inputs, fields)."""

    bundle: Bundle
    destination: Destination
    purpose: Purpose
    terms: Terms


class Judge:
    """Binds the policies in force to a question and decides it over people.

    :param policy: returns the bundle in force as a connection sees it; another object once anything changed.
    """

    def __init__(
        self, committer: Committer, policy: Callable[[Connection], Bundle], facts: FactReader, clock: Clock
    ) -> None:
        self.facts = facts
        self._committer = committer
        self.policy = policy
        self._clock = clock

    def admit(
        self, asked: Entry, principal: Principal, destination: str, purpose: str
    ) -> tuple[Bundle, Destination, Purpose]:
        """Return the bundle in force and what it says of the destination and the purpose.

        :param asked: the entry under which a refusal is recorded.
        :raises CdpError: the refusal, after it was recorded.
        """
        with self._committer.store.reading() as connection:
            return self.admitted(connection, asked, principal, destination, purpose)

    def admitted(
        self, connection: Connection, asked: Entry, principal: Principal, destination: str, purpose: str
    ) -> tuple[Bundle, Destination, Purpose]:
        """Do what ``admit`` does, by the bundle in force as a connection sees it."""
        bundle = self.policy(connection)
        admitted = admit(bundle, principal, destination, purpose, self._clock.now())
        if isinstance(admitted, Refusal):
            known = msgspec.structs.replace(
                asked,
                purpose=purpose if purpose in bundle.purposes else "",
                destination=destination if destination in bundle.destinations else "",
            )
            self.refuse(known, admitted)
        return bundle, *admitted

    def refuse(self, asked: Entry, refusal: Refusal) -> NoReturn:
        """Record a refusal and raise it."""
        with self._committer.batch() as batch:
            batch.record(denied(asked, refusal))
        raise noted(refusal.error)

    @staticmethod
    def bind(
        admitted: tuple[Bundle, Destination, Purpose],
        inputs: frozenset[str],
        fields: Sequence[str] | None,
    ) -> Question:
        """Return the question that a request asks of a bundle.

        :raises InvalidInputError: a requested field is not declared.
        """
        bundle, destination, purpose = admitted
        terms = bind(bundle, destination, purpose, inputs, fields)
        return Question(bundle=bundle, destination=destination, purpose=purpose, terms=terms)

    def chosen_by(
        self, connection: Connection, asked: Entry, bundle: Bundle, stored: Stored
    ) -> frozenset[str]:
        """Return every category that the people of an export were chosen by, as of then and as of now.

        :param asked: the entry under which a refusal is recorded.
        :raises NotPermittedError: no definition may read one of them any more.
        """
        try:
            return chosen_by(bundle, stored.inputs, stored.reads, Lists.categories(connection))
        except DefinitionError:
            self.refuse(asked, _no_longer_chosen())

    def in_force(self, connection: Connection, question: Question) -> bool:
        """True when nothing about the policies, switches included, changed since ``question`` was bound."""
        return self.policy(connection) is question.bundle

    def decide(
        self,
        connection: Connection,
        question: Question,
        members: Mapping[int, Sequence[int]],
        relinked: BitMap,
        now: Micros | None = None,
    ) -> Partition:
        """Decide about profiles at the snapshot of ``connection``.

        :param members: profile_no → its identity numbers.
        :param relinked: profiles whose links changed since they were chosen.
        :param now: the instant at which ages are reckoned; the clock's when None.
        :raises UnavailableError: consent is being derived under other policies.
        """
        self.facts.check_derived(connection)
        facts = self.facts.read(
            connection,
            members,
            relinked,
            question.terms,
            question.bundle,
            question.destination,
            question.purpose,
            self._clock.now() if now is None else now,
        )
        partition = compile_sets(question.terms, facts)
        return msgspec.structs.replace(partition, valid_until=facts.valid_until, facts=facts)


def denied(asked: Entry, refusal: Refusal) -> Entry:
    """Return the entry of a refusal."""
    return msgspec.structs.replace(
        asked, outcome="denied", object={**asked.object, "reason": refusal.reason}, subjects=()
    )
