"""Which policies are in force, and how others come to be.

Invariants:

1. In force is the newest activation in the database, never the folder; a destination that an officer
   switched off is off under any bundle.
2. Every change (activation, switch) moves ``log_head.policies`` in its own transaction. Whoever begins a
   batch or reads for a decision compares that number, so a change binds in every process at once; a batch
   that began before it is refused by the store and runs again.
3. All parts of a process adopt a bundle together, before anybody is told that it is in force.
4. Activation is two acts, the first of which shows the difference: *propose* and *approve*. They are of two
   people (``AccessService.hands``), unless four eyes are switched off, which each activation keeps on record.
5. A proposal whose base is no longer in force is void: its difference is another one by now.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from cdp.access import AccessService, Principal, one_hand
from cdp.audit import Entry
from cdp.clock import Clock
from cdp.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from cdp.journal import Thing, switched
from cdp.policy import queries, stored
from cdp.policy.activation import Activation, Overview, Proposal, Switch
from cdp.policy.model import Bundle
from cdp.store import Batch, Committer, Connection, Store, policies_version, retrying

log = structlog.get_logger()
SYSTEM = "system"
_HISTORY = 100
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")


class InForce:
    """The one holder of the policies in force.

    Raises what ``stored.effective`` does, also while running: nothing is served by policies in doubt.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._adopters: list[Callable[[Bundle], None]] = []
        self._adopting = threading.RLock()
        with store.reading() as connection:
            self.version = policies_version(connection)
            self.bundle = stored.effective(connection)

    def subscribe(self, adopt: Callable[[Bundle], None]) -> None:
        """Have ``adopt`` called with each bundle that comes in force from now on; it reads no store."""
        self._adopters.append(adopt)

    def current(self, connection: Connection) -> Bundle:
        """Return the bundle in force as ``connection`` sees it, after every part has adopted it."""
        self.observe(connection, policies_version(connection))
        return self.bundle

    def refresh(self) -> Bundle:
        """Return the bundle in force now."""
        with self._store.reading() as connection:
            return self.current(connection)

    def observe(self, connection: Connection, version: int) -> None:
        """Adopt what is in force when it is newer than what this process knows."""
        if version <= self.version:
            return  # an older snapshot never brings an older bundle back
        with self._adopting:
            if version <= self.version:
                return
            bundle = stored.effective(connection)
            for adopt in self._adopters:
                adopt(bundle)
            self.bundle = bundle
            self.version = version
            log.info("policies adopted", bundle=bundle.sha256[:12], version=version)


class Policies:
    """The officer's verbs.

    :param four_eyes: whether whoever approves must be another person than whoever proposed.
    :param checks: each is called with a candidate and raises a ``CdpError`` when it cannot be adopted.
    """

    def __init__(
        self,
        committer: Committer,
        clock: Clock,
        *,
        four_eyes: bool = True,
        checks: Sequence[Callable[[Bundle], object]] = (),
    ) -> None:
        self._committer = committer
        self._clock = clock
        self.four_eyes = four_eyes
        self._checks = checks

    # -- reading --------------------------------------------------------------------------------

    def overview(self) -> Overview:
        """Return everything on record."""
        with self._committer.store.reading() as connection:
            history = queries.activations(connection, _HISTORY)
            base = history[0].sha256 if history else ""
            return Overview(
                four_eyes=self.four_eyes,
                proposals=tuple(queries.open_proposals(connection, base)),
                history=tuple(history),
                switches=tuple(queries.switches(connection)),
            )

    def stored(self, connection: Connection, sha256: str) -> Bundle:
        """Return a bundle that was proposed or activated, without any switch.

        Raises what ``stored.held`` does: it is not there, not what was stored, or cannot be read.
        """
        return stored.held(connection, sha256)

    def proposed(self, named: str = "") -> list[Bundle]:
        """Return the candidates that can still be approved (``stored.proposed``); only one if it is named."""
        with self._committer.store.reading() as connection:
            return stored.proposed(connection, named)

    def in_force_at(self, connection: Connection, commit_no: int) -> str:
        """Return the SHA-256 of what was in force at a commit; empty before the first activation."""
        found = queries.activation_at(connection, commit_no)
        return "" if found is None else found.sha256

    @staticmethod
    def switched(connection: Connection, bundle: Bundle) -> Bundle:
        """Return a bundle with the destinations off that officers switched off."""
        return stored.switched(connection, bundle)

    def check(self, files: Mapping[str, bytes]) -> Bundle:
        """Return the bundle of a candidate's files.

        :raises PolicyError: a file is wrong; the message names file, line and fix.
        :raises CdpError: the running platform could not adopt it.
        """
        bundle = stored.admitted(files)
        for check in self._checks:
            check(bundle)
        return bundle

    # -- the acts -------------------------------------------------------------------------------

    def establish(self, files: Mapping[str, bytes]) -> bool:
        """Activate a bundle for an installation that never had one: all others need two officers.

        :returns: False when there was one.
        """
        with self._committer.store.reading() as connection:
            if queries.in_force(connection) is not None:
                return False
        bundle = self.check(files)

        def run() -> bool:
            with self._committer.batch(head_first=True) as batch:
                if queries.in_force(batch.connection) is not None:
                    return False
                now = self._clock.now()
                queries.add_bundle(batch.connection, bundle.sha256, files, now, SYSTEM)
                proposal = Proposal(
                    proposal_id="",
                    sha256=bundle.sha256,
                    base="",
                    proposed_by=SYSTEM,
                    proposed_at=now,
                    summary={},
                )
                self._activate(batch, proposal, SYSTEM)
            return True

        return retrying(run)

    def propose(
        self,
        officer: Principal,
        candidate: Bundle,
        files: Mapping[str, bytes],
        base: str,
        summary: dict[str, Any],
        people: Mapping[str, int],
    ) -> Proposal:
        """Put a candidate on record; where somebody did so already, return that proposal.

        :param candidate: what ``check`` made of ``files``.
        :param base: SHA-256 of the bundle with which ``summary`` compares the candidate.
        :param people: numbers of people for the audit entry.
        :raises ConflictError: it is in force already, something else came in force meanwhile, or
            ``stored.check_version`` refuses it.
        :raises NotPermittedError: nobody could be a second person beside this key.
        """
        sha256 = candidate.sha256

        def run() -> Proposal:
            with self._committer.batch(head_first=True) as batch:
                connection = batch.connection
                if self.four_eyes and not AccessService.hands(connection, officer.actor):
                    raise NotPermittedError(
                        "the operator's key makes keys and proposes no policies; make a key for each of two "
                        "officers (cdp key create --role officer): one proposes, the other approves"
                    )
                held = queries.in_force(connection)
                if held is not None and held.sha256 == sha256:
                    raise ConflictError("this bundle is in force already")
                if held is None or held.sha256 != base:
                    raise ConflictError("other policies came in force meanwhile; ask for the difference anew")
                for known in queries.open_proposals(connection, base):
                    if known.sha256 == sha256:
                        return known
                stored.check_version(connection, files)
                now = self._clock.now()
                queries.add_bundle(connection, sha256, files, now, officer.actor)
                proposal = Proposal(
                    proposal_id="pp_" + secrets.token_hex(8),
                    sha256=sha256,
                    base=base,
                    proposed_by=officer.actor,
                    proposed_at=now,
                    summary=summary,
                )
                queries.add_proposal(connection, batch.id, proposal)
                entry = _entry("policy.propose", officer.actor, proposal)
                batch.record(msgspec.structs.replace(entry, people=dict(people)))
                return proposal

        return retrying(run)

    def approve(self, officer: Principal, named: str) -> Activation:
        """Put a proposed bundle in force: with the commit, in every process.

        :param named: the proposal's id, or the bundle's whole SHA-256.
        :raises NotFoundError: no open proposal is named so.
        :raises ConflictError: whoever proposed it may hold this key as well.
        :raises IntegrityError: what is stored is not what was proposed.
        :raises PolicyError: this version cannot read it.
        """

        def run() -> Activation | ConflictError:
            with self._committer.batch(head_first=True) as batch:
                proposal = self._open(batch.connection, named)
                mine, theirs = (
                    AccessService.hands(batch.connection, actor)
                    for actor in (officer.actor, proposal.proposed_by)
                )
                if self.four_eyes and (found := one_hand(mine, theirs)) is not None:
                    entry = _entry("policy.activate", officer.actor, proposal)
                    said = {**entry.object, "reason": found.reason}
                    batch.record(msgspec.structs.replace(entry, outcome="denied", object=said))
                    return ConflictError(found.message)
                stored.held(batch.connection, proposal.sha256)
                return self._activate(batch, proposal, officer.actor)

        done = retrying(run)
        if isinstance(done, ConflictError):
            raise done
        return done

    def reject(self, officer: Principal, named: str) -> Proposal:
        """Reject a proposal, which nobody can approve from then on.

        :param named: as for ``approve``.
        :raises NotFoundError: no open proposal is named so.
        """

        def run() -> Proposal:
            with self._committer.batch(head_first=True) as batch:
                proposal = self._open(batch.connection, named)
                self._reject(batch, proposal, officer.actor)
                return proposal

        return retrying(run)

    def switch(self, officer: Principal, destination: str, *, enabled: bool, reason: str) -> Switch:
        """Switch a destination off, or on again as far as its bundle lets it be: the kill switch.

        :param reason: a short code, ``suspected_breach``; it stands in the audit log.
        :raises NotFoundError: the policies in force know no such destination.
        :raises InvalidInputError: the reason is no code.
        """
        if not _CODE.fullmatch(reason):
            raise InvalidInputError("reason is a short code in snake_case, e.g. suspected_breach")

        def run() -> Switch:
            with self._committer.batch(head_first=True) as batch:
                connection = batch.connection
                if destination not in stored.effective(connection).destinations:
                    raise NotFoundError(
                        "there is no such destination; `cdp policy show` (GET /policies) lists them"
                    )
                return self._switch(batch, officer.actor, destination, reason, enabled=enabled)

        return retrying(run)

    # -- after a restore ------------------------------------------------------------------------

    def end_again(self, ended: Callable[[Thing, str], bool]) -> int:
        """Switch destinations off again and reject proposals again; returns how many a backup brought back.

        Where the policies in force are not those that were, nobody knows what the lost ones forbade: then
        every destination but the controller itself is off until an officer switches it on.

        :param ended: (thing, what identifies it) → it was put out of use, as the journal says.
        """

        def run() -> int:
            with self._committer.batch(head_first=True) as batch:
                bundle = stored.effective(batch.connection)
                lost = ended("policies", bundle.sha256)
                off = [
                    name
                    for name, found in bundle.destinations.items()
                    if found.enabled and ((lost and found.role != "controller") or ended("destination", name))
                ]
                for name in off:
                    self._switch(batch, SYSTEM, name, "policies_lost" if lost else "restored", enabled=False)
                back = [
                    proposal
                    for proposal in queries.open_proposals(batch.connection, bundle.sha256)
                    if ended("proposal", proposal.proposal_id)
                ]
                for proposal in back:
                    self._reject(batch, proposal, SYSTEM)
                return len(off) + len(back)

        return retrying(run)

    # -- how ------------------------------------------------------------------------------------

    def _switch(self, batch: Batch, actor: str, destination: str, reason: str, *, enabled: bool) -> Switch:
        """Append a switch and move the version; the batch holds the head."""
        now = self._clock.now()
        done = Switch(
            destination=destination, enabled=enabled, reason=reason, switched_by=actor, switched_at=now
        )
        queries.add_switch(batch.connection, batch.id, batch.change_policies(), done)
        batch.facts.append(switched("destination", destination, on=enabled))
        said: dict[str, str | int] = {"enabled": "on" if enabled else "off", "reason": reason}
        batch.record(Entry(action="destination.switch", actor=actor, destination=destination, object=said))
        return done

    def _reject(self, batch: Batch, proposal: Proposal, actor: str) -> None:
        """Append a rejection; the batch holds the head."""
        now = self._clock.now()
        queries.add_rejection(batch.connection, batch.id, proposal.proposal_id, actor, now)
        batch.facts.append(switched("proposal", proposal.proposal_id))
        batch.record(_entry("policy.reject", actor, proposal))

    def _open(self, connection: Connection, named: str) -> Proposal:
        held = queries.in_force(connection)
        known = queries.open_proposals(connection, "" if held is None else held.sha256)
        for proposal in known:
            if proposal.is_named(named):
                return proposal
        raise NotFoundError(
            "there is no open proposal of this name; `cdp policy show` (GET /policies) lists them, and one "
            "that was made before other policies came in force must be made again"
        )

    def _activate(self, batch: Batch, proposal: Proposal, actor: str) -> Activation:
        """Append the activation and move the version; the batch holds the head."""
        done = Activation(
            activation_no=batch.change_policies(),
            sha256=proposal.sha256,
            proposal_id=proposal.proposal_id,
            proposed_by=proposal.proposed_by,
            proposed_at=proposal.proposed_at,
            approved_by=actor,
            activated_at=self._clock.now(),
            four_eyes=self.four_eyes and actor != SYSTEM,
            summary=proposal.summary,
        )
        queries.add_activation(batch.connection, batch.id, done)
        batch.facts.append(switched("policies", done.sha256, on=True))
        entry = _entry("policy.activate", actor, proposal)
        eyes = {"four_eyes": "on" if done.four_eyes else "off", "proposed_by": proposal.proposed_by}
        batch.record(msgspec.structs.replace(entry, object={**entry.object, **eyes}))
        return done


def _entry(action: str, actor: str, proposal: Proposal) -> Entry:
    said: dict[str, str | int] = {"bundle": proposal.sha256, "base": proposal.base}
    if proposal.proposal_id:
        said["proposal"] = proposal.proposal_id
    failed = proposal.failed
    return Entry(action=action, actor=actor, object=said, counts={} if failed is None else {"failed": failed})
