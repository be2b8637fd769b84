"""The dry run of other rules, under the rules of every use.

Steps:

1. The controller may use data for the purpose now; a refusal is recorded.
2. Everybody is counted (``cdp.identity.Preview``), those too who are restrained: a pass will decide about
   them as about all. Where values are opened for that, the entry says of how many and what for.
3. A cluster or a sample is shown where the gate permits each person in it. The others are counted. That is
   asked twice: of all that was found, and of what is shown in the transaction that records it.

Invariants: identifier types are named as in these people's portraits; no value is told.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import NamedTuple, TypeVar

import msgspec

from cdp.consent import ConsentLedger
from cdp.errors import CdpError, ConflictError
from cdp.gate import PERMITTED, Gate, Refusal, View
from cdp.identity import (
    Cluster,
    IdentityService,
    LinkChange,
    Preview,
    RulesPreview,
    Sample,
    members_of,
    reason_shown,
)
from cdp.policy import IdentityRules
from cdp.portrait.record import deny, entry_of, result_of
from cdp.portrait.use import Users
from cdp.store import Committer, Connection, retrying

_ACTION = "identity.rules.preview"
_SHOWN = 10
"""Largest profiles, and samples of each kind."""
OTHER = "other"
"""Identifiers of all types that may not be seen."""
_Told = TypeVar("_Told", Cluster, Sample)
_Several = tuple[Cluster | Sample, ...]


class _Permitted(NamedTuple):
    """What may be shown, and the identities of the people in it."""

    found: RulesPreview
    subjects: tuple[int, ...]


class Previewer:
    """Shows what other rules would change; one look at a time in a process."""

    def __init__(
        self,
        committer: Committer,
        preview: Preview,
        identity: IdentityService,
        ledger: ConsentLedger,
        gate: Gate,
    ) -> None:
        self._committer = committer
        self._preview = preview
        self._gate = gate
        self._users = Users(committer, identity, ledger, gate)
        self._one = threading.Lock()

    def __call__(self, actor: str, purpose: str, candidate: IdentityRules) -> RulesPreview:
        """Return what a candidate would change.

        :raises ConflictError: another look is under way in this process.
        :raises NotPermittedError: for a purpose that is not internal, or barred by the policies.
        :raises UnavailableError: consent is being derived under other policies.
        """
        self._users.check(actor, purpose, _ACTION)
        with self.alone():
            found = self._preview(candidate)
        with self._committer.store.reading() as connection:
            near = self._permitted(connection, purpose, found)
        if not isinstance(near, Refusal):
            found = near.found
        return result_of(retrying(partial(self._record, actor, purpose, found)))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from looking: each reads everything.

        :raises ConflictError: somebody does.
        """
        if not self._one.acquire(blocking=False):
            raise ConflictError("a preview is under way; ask again when it is done")
        try:
            yield
        finally:
            self._one.release()

    def _record(self, actor: str, purpose: str, found: RulesPreview) -> RulesPreview | CdpError:
        with self._committer.batch() as batch:
            shown = self._permitted(batch.connection, purpose, found)
            if isinstance(shown, Refusal):
                return deny(batch, _ACTION, actor, purpose, shown)
            about: dict[str, str | int] = {"rules": found.candidate, "base": found.base}
            people = {"components": found.components, "merged": found.merged, "parted": found.parted}
            if found.opened:
                about["opened"] = "identifiers, to see which are blocked"
                people["opened"] = found.opened
            entry = msgspec.structs.replace(
                entry_of(_ACTION, actor, purpose, shown.subjects),
                object=about,
                people=people,
            )
            batch.record(entry)
        return shown.found

    def _permitted(self, connection: Connection, purpose: str, found: RulesPreview) -> _Permitted | Refusal:
        """Return what of a preview may be shown, as ``connection`` sees people."""
        admitted = self._gate.inside.admit(connection, purpose)
        if isinstance(admitted, Refusal):
            return admitted
        named: _Several = (*chain.from_iterable(found.largest.values()), *found.merging, *found.parting)
        members = members_of(connection, set(chain.from_iterable(one.people for one in named)))
        views = {
            no: view
            for no, view in self._gate.inside.views(connection, admitted, members).items()
            if view.reason == PERMITTED
        }
        shown = msgspec.structs.replace(
            found,
            largest={when: _chosen(several, views, _cluster) for when, several in found.largest.items()},
            merging=_chosen(found.merging, views, _sample),
            parting=_chosen(found.parting, views, _sample),
            hidden=found.hidden + sum(not views.keys() >= one.people for one in named),
        )
        left: _Several = (*chain.from_iterable(shown.largest.values()), *shown.merging, *shown.parting)
        people = set(chain.from_iterable(one.people for one in left))
        return _Permitted(shown, tuple(sorted(chain.from_iterable(members[no] for no in people))))


def _chosen(
    several: Iterable[_Told], views: Mapping[int, View], show: Callable[[_Told, list[View]], _Told]
) -> tuple[_Told, ...]:
    """Return the first few of which everybody may be shown."""
    may = (one for one in several if views.keys() >= one.people)
    return tuple(show(one, [views[no] for no in one.people]) for one in islice(may, _SHOWN))


def _cluster(one: Cluster, views: Collection[View]) -> Cluster:
    return msgspec.structs.replace(one, types=_types(one.types, views))


def _sample(one: Sample, views: Collection[View]) -> Sample:
    return msgspec.structs.replace(
        one,
        before={no: _types(types, views) for no, types in one.before.items()},
        after={no: _types(types, views) for no, types in one.after.items()},
        links=tuple(_link(link, views) for link in one.links),
    )


def _types(types: Mapping[str, int], views: Collection[View]) -> dict[str, int]:
    shown: Counter[str] = Counter()
    for kind, count in types.items():
        shown[kind if _named(kind, views) else OTHER] += count
    return dict(shown)


def _link(one: LinkChange, views: Collection[View]) -> LinkChange:
    low, high = (kind if kind is not None and _named(kind, views) else None for kind in one.types)
    before, after = (reason_shown(code, lambda kind: _named(kind, views)) for code in (one.before, one.after))
    return msgspec.structs.replace(one, types=(low, high), before=before, after=after)


def _named(kind: str, views: Collection[View]) -> bool:
    return all(view.names(kind) for view in views)
