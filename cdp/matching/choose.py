"""Whom a run compares, decided and on record before anything of them is opened.

Invariants: the entry names everybody of whom something may be opened, with all identities of their profiles,
and is committed under the policies that decided; whoever is restrained is only counted. Without new people
nobody is chosen, and nothing is opened.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from pyroaring import BitMap

from cdp.audit import Entry
from cdp.gate import CONTROLLER, Admitted, Gate, Readable, Refusal
from cdp.identity import members_of, profiles_of
from cdp.matching import queries
from cdp.matching.columns import Columns, columns_of
from cdp.matching.model import Model
from cdp.matching.runs import StoppedError
from cdp.policy import Bundle, Thresholds
from cdp.profiles import ProfileService
from cdp.store import Committer, Connection, EpochMovedError, Store, policies_version, read_head

MATCHING = "identity_resolution"
"""The purpose of all that matching does."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What a run works on.

    :param upto: the commit as of which people were chosen.
    :param people: profiles. ``subjects``: their identities, which the entry names.
    :param home: identity_no → profile_no, of those that carry something to compare.
    :param fresh: of those the ones that are new since the model's last run; None to train and compare all.
    """

    upto: int
    bundle: str
    columns: Columns
    thresholds: Thresholds
    people: BitMap
    subjects: BitMap
    home: Mapping[int, int]
    excluded: int
    fresh: BitMap | None = None
    model: Model | None = None
    model_no: int | None = None


def admit(gate: Gate, connection: Connection, under: str = "") -> Admitted:
    """Return what the policies in force say of matching.

    :param under: the bundle under which a run began.
    :raises NotPermittedError: the policies, or the controller's switch, stand against it.
    :raises StoppedError: others came in force since.
    """
    admitted = gate.inside.admit(connection, MATCHING)
    if isinstance(admitted, Refusal):
        raise admitted.error
    if under and admitted[0].sha256 != under:
        raise StoppedError("policies_changed")
    return admitted


class Chooser:
    """Chooses, and records it."""

    def __init__(self, store: Store, committer: Committer, gate: Gate, profiles: ProfileService) -> None:
        self._store = store
        self._committer = committer
        self._gate = gate
        self._profiles = profiles

    def __call__(self, run_no: int, actor: str, *, full: bool, dry_run: bool) -> Chosen:
        """Choose for a run; ``full``: everybody anew, without the last model.

        :raises NotPermittedError: the policies, or the controller's switch, stand against it.
        :raises EpochMovedError: the policies changed, or somebody was erased, meanwhile.
        """
        with self._store.reading() as connection:
            admitted = admit(self._gate, connection)
            bundle, policies = admitted[0], policies_version(connection)
            upto, epoch = read_head(connection)
            columns = columns_of(bundle.fields)
            home = profiles_of(connection, self._profiles.carriers(connection, columns.traits))
            members = members_of(connection, sorted(set(home.values())))
            may = self._gate.many.decide(connection, admitted, members, columns.wanted)
            chosen = Chosen(
                upto=upto,
                bundle=bundle.sha256,
                columns=columns,
                thresholds=bundle.identity.matching,
                people=may.people,
                subjects=BitMap(number for no in may.people for number in members[no]),
                home={number: no for number, no in home.items() if no in may.people},
                excluded=sum(map(len, may.withheld.values())),
            )
            if not full:
                chosen = self._since_last(connection, bundle, chosen)
        with self._committer.batch() as batch:
            if (batch.epoch, batch.policies) != (epoch, policies):
                raise EpochMovedError
            if chosen.fresh is None or chosen.fresh:
                batch.record(_entry(run_no, actor, chosen, may, dry_run=dry_run))
        return chosen

    def _since_last(self, connection: Connection, bundle: Bundle, chosen: Chosen) -> Chosen:
        last = queries.last_done(connection)
        if last is None or last.model_no is None:
            return chosen
        model = queries.model(connection, last.model_no)
        if model is None or list(model.fields) != [field.name for field in chosen.columns.fields]:
            return chosen
        heard, profiles = self._gate.facts.heard_since(connection, last.upto, bundle, chosen.columns.traits)
        fresh = BitMap(n for n, no in chosen.home.items() if n in heard or no in profiles)
        return msgspec.structs.replace(chosen, fresh=fresh, model=model, model_no=last.model_no)


def _entry(run_no: int, actor: str, chosen: Chosen, may: Readable, *, dry_run: bool) -> Entry:
    fields = dict.fromkeys(one.name for one in chosen.columns.wanted if may.fields.get(one))
    said: dict[str, str | int] = {
        "run": run_no,
        "step": "begin",
        "bundle": chosen.bundle,
        "fields": ",".join(fields),
        "dry_run": int(dry_run),
    }
    if chosen.model_no is not None:
        said["model"] = chosen.model_no
    withheld = {f"withheld.{reason}": len(people) for reason, people in may.withheld.items()}
    return Entry(
        action="matching.run",
        actor=actor,
        purpose=MATCHING,
        destination=CONTROLLER,
        object=said,
        people={"people": len(chosen.people), **withheld},
        subjects=tuple(chosen.subjects),
    )
