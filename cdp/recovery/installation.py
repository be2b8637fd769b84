"""What of the installation must not come back with a backup: keys, sources, switches, black lists, messages.

Nor may the numbers by which destinations read their feeds.

Invariant: nothing here lifts. What was put out of use and into use again stays as the backup has it; whoever
was taken off a black list stays on it where the backup has them there. An officer lifts again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from cdp.access import AccessService
from cdp.export import Outbox, Webhooks
from cdp.gate import Deliveries
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
        deliveries: Deliveries,
    ) -> None:
        self._journal = journal
        self._access = access
        self._policies = policies
        self._lists = lists
        self._outbox = outbox
        self._webhooks = webhooks
        self._deliveries = deliveries

    def settle_deliveries(self) -> None:
        """Let no cursor of before be read on with, and no message wait that nobody can read any more."""
        self._deliveries.begin_anew()
        self._outbox.end_again()

    def end_again(self, said: Said) -> int:
        """Put out of use again whatever was last put out of use; returns how many things that are."""

        def ended(thing: Thing, name: str) -> bool:
            tag = self._journal.tag_of(thing, name)
            if thing == "policies":
                return bool(said.policies - {tag})
            return said.ended(thing, tag)

        if not (said.switched or said.policies):
            return 0
        return sum(part.end_again(ended) for part in (self._access, self._webhooks, self._policies))

    def black_list(
        self, batch: Batch, lines: Iterable[Listed], number_of: Mapping[str, int]
    ) -> tuple[int, int]:
        """Put people on their black lists again, also those whom the database does not know (yet).

        :returns: how many stood on one no longer, and how many who are not known.
        """
        names = self._black_lists(batch.connection)
        on: dict[str, list[str]] = defaultdict(list)
        for line in lines:
            on[names.get(line.black_list, _LOST_LIST)].append(line.tag)
        listed = waiting = 0
        for name, tags in on.items():
            known = {number_of[tag] for tag in tags if tag in number_of}
            unknown = [tag for tag in tags if tag not in number_of]
            new, late = self._lists.add_black(batch, name, known, unknown)
            listed, waiting = listed + new, waiting + late
        return listed, waiting

    def _black_lists(self, connection: Connection) -> dict[str, str]:
        names = self._lists.black(connection)
        return {self._journal.tag_of("black_list", name): name for name in names}
