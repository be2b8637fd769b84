"""What events say about consent, whose word it is, and what follows for the events themselves.

Steps for a micro-batch, in its transaction:

1. **Turn away** events that rules of ``policies/intake.yaml`` drop and that name nobody we know: nothing of
   them is stored, not even that somebody was there.
2. After identities are resolved and locked: **append** what was said, and derive the states of every
   profile that is touched.
3. **Keep** of each event what the people in it have not refused, as they stand after this batch. What an
   event says about consent is on record even if nothing else of it is.

Whose word it is (privacy.md, Consent, rules 3 and 4): a server's or import's is that of the
highest-priority person it names; a browser's that of the user whose id is signed, else of the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.consent import ConsentLedger, Draft, Statement
from cdp.crypto import Keyring
from cdp.identity import IdentityService, Resolved
from cdp.ingest import Indexed, Keeper, action, strip
from cdp.recovery import Recovery
from cdp.store import Batch, Committer, Connection, retrying

_MISSING = "missing"


class Said(msgspec.Struct, frozen=True):
    """What became of the statements of a micro-batch.

    :param records: event id → the consent records made of what it said, whom it names first.
    :param counts: what was odd about them, for the audit leaf; nothing that is zero.
    """

    records: dict[bytes, tuple[int, ...]] = {}
    counts: dict[str, int] = {}


class StatementRecorder:
    """Takes statements to the ledger."""

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        identity: IdentityService,
        ledger: ConsentLedger,
        recovery: Recovery,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._identity = identity
        self._ledger = ledger
        self._recovery = recovery
        self._clock = clock

    # -- in a micro-batch -----------------------------------------------------------------------

    def turn_away(self, connection: Connection, events: Sequence[Indexed], keeper: Keeper) -> list[Indexed]:
        """Return the events without those of strangers that the intake rules drop (step 1)."""
        silent = [item for item in keeper.ruled(events) if not item.classified.event.statements]
        if not silent:
            return list(events)
        indexes = {index for item in silent for index in item.indexes}
        known = self._identity.known(connection, indexes).keys()
        spoken = {index for item in events if item.classified.event.statements for index in item.indexes}
        away = {
            id(item)
            for item in silent
            if not (known & set(item.indexes) or spoken & set(item.indexes))
            and action(keeper.rules_of(item), lambda _: (_MISSING,)) == "drop"
        }
        return [item for item in events if id(item) not in away]

    def append(self, batch: Batch, events: Sequence[Indexed], resolved: Resolved) -> Said:
        """Append what was said about consent, and derive the states of every profile it touches (step 2)."""
        saying = [item for item in events if item.classified.event.statements]
        drafts = [self._draft(item, resolved) for item in saying]
        returned = self._recovery.returned(batch, resolved)
        speaking = {number for draft in drafts for number in draft.named}.union(returned)
        touched = self._identity.profiles_of(batch.connection, speaking)
        relinked = set(resolved.changed).difference(resolved.created)
        affected = relinked | set(touched.values())
        if not affected and not resolved.gone:
            return Said()
        members = self._identity.consent_members(batch.connection, affected)
        taken = self._ledger.append(batch, drafts, members, touched)
        spoken = taken.profiles.union(touched[number] for number in returned)
        again = {profile_no: members[profile_no] for profile_no in relinked | spoken}
        self._ledger.refresh(batch, again, resolved.gone)
        counts = {
            "statements_unknown": taken.unknown,
            "statements_unbound": taken.unbound,
            "signatures_wrong": sum(item.classified.event.signed is False for item in saying),
        }
        said_by = (item.classified.event.event_id for item in saying)
        return Said(
            dict(zip(said_by, taken.records, strict=True)),
            {name: count for name, count in counts.items() if count},
        )

    def keep(
        self, connection: Connection, events: Sequence[Indexed], resolved: Resolved, keeper: Keeper
    ) -> list[Indexed]:
        """Return of each event what may be stored (step 3)."""
        ruled = keeper.ruled(events)
        if not ruled:
            return list(events)
        named = {index: resolved.identity_of[index] for item in ruled for index in item.indexes}
        profile_of = self._identity.profiles_of(connection, set(named.values()))
        purposes = {rule.purpose for item in ruled for rule in keeper.rules_of(item)}
        people = set(profile_of.values())
        standing = {purpose: self._ledger.states(connection, purpose, people) for purpose in purposes}

        def stand(item: Indexed, purpose: str) -> list[str]:
            there = {profile_of[named[index]] for index in item.indexes}
            held = standing[purpose]
            return [held[number].state if number in held else _MISSING for number in there]

        kept = []
        for item in events:
            rules = keeper.rules_of(item)
            done = action(rules, lambda purpose, item=item: stand(item, purpose)) if rules else "keep"  # type: ignore[misc]  # a default argument in a lambda
            if done != "drop":
                kept.append(item if done == "keep" else strip(item))
        return kept

    def _draft(self, item: Indexed, resolved: Resolved) -> Draft:
        event = item.classified.event
        named = tuple(resolved.identity_of[index] for index in item.indexes)
        kinds = [kind for kind, _ in event.identifiers]
        device = next((n for n, kind in zip(named, kinds, strict=True) if self._device(kind)), None)
        if event.source.kind == "browser":  # of a browser's persons only the signed one is known to be there
            person = dict(zip(kinds, named, strict=True)).get("user_id") if event.signed else None
            verified = person is not None
        else:
            person = next((n for n, kind in zip(named, kinds, strict=True) if not self._device(kind)), None)
            verified = True
        return Draft(
            statements=event.statements,
            named=named,
            authenticated=device if person is None else person,
            received_at=event.landed_at,
            source_id=event.source.source_id,
            source_kind=event.source.kind,
            verified=verified,
        )

    def _device(self, kind: str) -> bool:
        rule = self._identity.rules.of(kind)
        return rule is not None and rule.device

    # -- on its own -----------------------------------------------------------------------------

    def record(self, identity_no: int, statements: Sequence[Statement], actor: str) -> list[int]:
        """Append acts of one identity in a transaction of their own; see ``Pipeline.record_act``."""
        said = tuple(msgspec.structs.replace(statement, act=True) for statement in statements)
        return retrying(lambda: self._record(identity_no, said, actor))

    def _record(self, identity_no: int, said: tuple[Statement, ...], actor: str) -> list[int]:
        with self._committer.batch() as batch:
            self._keyring.observe_epoch(batch.epoch)
            self._identity.observe_epoch(batch.epoch)
            self._identity.profile_of(batch.connection, identity_no)  # refuses a number that nobody has
            profile_no = self._identity.lock(batch.connection, [identity_no])[identity_no][0]
            members = self._identity.consent_members(batch.connection, [profile_no])
            draft = Draft(
                statements=said,
                named=(identity_no,),
                authenticated=identity_no,
                received_at=self._clock.now(),
                source_id=0,
                source_kind="server",
                verified=True,
            )
            taken = self._ledger.append(batch, [draft], members, {identity_no: profile_no})
            self._ledger.refresh(batch, members, ())
            batch.record(
                Entry(
                    action="consent.record",
                    actor=actor,
                    object={"statements": len(said), "records": len(taken.records[0])},
                    subjects=(identity_no,),
                )
            )
        return list(taken.records[0])
