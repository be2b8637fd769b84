"""What of the installation must not come back with a backup: keys, sources, switches, black lists, messages.

Invariant: nothing here lifts. What was put out of use and into use again stays as the backup has it; whoever
was taken off a black list stays on it where the backup has them there. An officer lifts again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from cdp.access import AccessService
from cdp.export import Outbox, Webhooks
from cdp.journal import Journal, Listed, Thing
from cdp.policy import Policies
from cdp.recovery.said import Said
from cdp.segments import Lists
from cdp.store import Batch, Connection

_LOST_LIST = "restored_black_list"
"""Holds who stood on a black list that the backup does not know."""


class Installation:
    """Puts out of use again what a backup brought back."""

    def __init__(
        self,
        journal: Journal,
        access: AccessService,
        policies: Policies,
        lists: Lists,
        outbox: Outbox,
        webhooks: Webhooks,
    ) -> None:
        self._journal = journal
        self._access = access
        self._policies = policies
        self._lists = lists
        self._outbox = outbox
        self._webhooks = webhooks

    def end_again(self, said: Said) -> int:
        """Put out of use again whatever was last put out of use; returns how many things that are."""

        def ended(thing: Thing, name: str) -> bool:
            tag = self._journal.tag_of(thing, name)
            if thing == "policies":
                return bool(said.policies - {tag})
            return said.ended(thing, tag)

        self._outbox.end_again()
        if not (said.switched or said.policies):
            return 0
        return sum(part.end_again(ended) for part in (self._access, self._webhooks, self._policies))

    def recall(self, batch: Batch, identity_nos: Sequence[int]) -> None:
        """Have destinations told again of people who are erased again, before their keys are destroyed."""
        self._outbox.materialise_removals(batch, identity_nos)

    def black_list(self, batch: Batch, lines: Iterable[Listed], number_of: Mapping[str, int]) -> int:
        """Put people on their black lists again; returns how many stood on one no longer."""
        names = self._black_lists(batch.connection)
        people: dict[str, set[int]] = defaultdict(set)
        for line in lines:
            people[names.get(line.black_list, _LOST_LIST)].add(number_of[line.tag])
        return sum(self._lists.add_black(batch, name, numbers) for name, numbers in people.items())

    def _black_lists(self, connection: Connection) -> dict[str, str]:
        names = self._lists.black(connection)
        return {self._journal.tag_of("black_list", name): name for name in names}
