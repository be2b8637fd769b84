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

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import chain

import msgspec

from cdp.consent import ConsentLedger, Draft, bound_by
from cdp.identity import IdentityService, Resolved
from cdp.ingest import Indexed, Keeper, decisive, strip
from cdp.policy import IntakeAction
from cdp.recovery import Recovery
from cdp.store import Batch, Connection

_MISSING = "missing"

Cut = Counter[tuple[IntakeAction, str]]
"""(what the intake rules did, purpose of the rule) → to how many events."""


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
        identity: IdentityService,
        ledger: ConsentLedger,
        recovery: Recovery,
    ) -> None:
        self._identity = identity
        self._ledger = ledger
        self._recovery = recovery

    def turn_away(
        self, connection: Connection, events: Sequence[Indexed], keeper: Keeper, cut: Cut
    ) -> list[Indexed]:
        """Return the events without those of strangers that the intake rules drop (step 1).

        :param cut: counts them.
        """
        silent = [item for item in keeper.ruled(events) if not item.classified.event.statements]
        if not silent:
            return list(events)
        known = self._identity.known(connection, silent)
        spoken = {index for item in events if item.classified.event.statements for index in item.indexes}
        away = set()
        for item in silent:
            if not (known & set(item.indexes) or spoken & set(item.indexes)):
                rule = decisive(keeper.rules_of(item), lambda _: (_MISSING,))
                if rule is not None and rule.action == "drop":
                    away.add(id(item))
                    cut[rule.action, rule.purpose] += 1
        return [item for item in events if id(item) not in away]

    def append(self, batch: Batch, events: Sequence[Indexed], resolved: Resolved) -> Said:
        """Append what was said about consent, and derive the states of every profile it touches (step 2)."""
        saying = [(place, item) for place, item in enumerate(events) if item.classified.event.statements]
        drafts = [
            self._draft(item, [resolved.identity_of[at] for at in item.indexes], place)
            for place, item in saying
        ]
        returned = self._recovery.returned(batch, resolved)
        speaking = {number for draft in drafts for number in draft.named}.union(returned)
        if not speaking and not resolved.relinked and not resolved.gone:
            return Said()
        home = self._identity.profiles_after(batch.connection, resolved, speaking)
        touched = {home[number] for number in speaking}
        people = {profile_no: list[int]() for profile_no in touched | resolved.relinked}
        for number, profile_no in sorted(home.items()):
            if profile_no in people:
                people[profile_no].append(number)
        told = self._ledger.told(batch.connection, chain.from_iterable(people.values()))
        # Where nobody ever said anything it does not matter who is linked to whom.
        heard = touched.union(home[number] for number in told)
        members = self._identity.members_after(
            batch.connection, resolved, {no: numbers for no, numbers in people.items() if no in heard}
        )
        taken = self._ledger.append(batch, drafts, members, home, told)
        spoken = taken.profiles.union(home[number] for number in returned)
        again = {profile_no: members.get(profile_no, []) for profile_no in resolved.relinked | spoken}
        self._ledger.refresh(batch, again, resolved.gone, told)
        counts = {
            "statements_unknown": taken.unknown,
            "statements_unbound": taken.unbound,
            "signatures_wrong": sum(item.classified.event.signed is False for _, item in saying),
        }
        said_by = (item.classified.event.event_id for _, item in saying)
        return Said(
            dict(zip(said_by, taken.records, strict=True)),
            {name: count for name, count in counts.items() if count},
        )

    def keep(
        self, connection: Connection, events: Sequence[Indexed], resolved: Resolved, keeper: Keeper, cut: Cut
    ) -> list[Indexed]:
        """Return of each event what may be stored (step 3).

        :param cut: counts those that are stripped or dropped.
        :raises UnavailableError: consent is being derived under policies that just came in force.
        """
        ruled = keeper.ruled(events)
        if not ruled:
            return list(events)
        self._ledger.check_derived(connection)
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
            rule = decisive(rules, partial(stand, item)) if rules else None
            if rule is None:
                kept.append(item)
                continue
            cut[rule.action, rule.purpose] += 1
            if rule.action == "strip":
                kept.append(strip(item))
        return kept

    def binds(self, item: Indexed) -> bool:
        """True when everything that an event says about consent would be held to somebody."""
        kinds = [kind for kind, _ in item.classified.event.identifiers]
        places = range(len(kinds))  # stand for the identities, which nobody has yet
        devices = {place for place in places if self._identity.rules.is_device(kinds[place])}
        draft = self._draft(item, places)
        return all(bound_by(draft, said, draft.named, devices) for said in draft.statements)

    def proves(self, item: Indexed) -> bool:
        """True unless an event names persons without proof that they are there."""
        event = item.classified.event
        signed = {"user_id"} if event.signed else set()
        is_device = self._identity.rules.is_device
        return event.source.kind != "browser" or all(
            kind in signed or is_device(kind) for kind, _ in event.identifiers
        )

    def _speaker(self, item: Indexed) -> tuple[int | None, bool]:
        """Return (place of the identifier that a grant attaches to, whether it is known to be theirs)."""
        event = item.classified.event
        kinds = [kind for kind, _ in event.identifiers]
        is_device = self._identity.rules.is_device
        persons = (place for place, kind in enumerate(kinds) if not is_device(kind))
        if event.source.kind == "browser":  # of a browser's persons only the signed one is known to be there
            persons = (place for place in persons if event.signed and kinds[place] == "user_id")
        person = next(persons, None)
        device = next((place for place, kind in enumerate(kinds) if is_device(kind)), None)
        return (device if person is None else person), event.source.kind != "browser" or person is not None

    def _draft(self, item: Indexed, named: Sequence[int], place: int = 0) -> Draft:
        """Return what an event says, of the identities that its identifiers stand for.

        :param place: in its batch: what one call says is said one after the other, as links are made.
        """
        event = item.classified.event
        speaker, verified = self._speaker(item)
        return Draft(
            statements=event.statements,
            named=tuple(named),
            authenticated=None if speaker is None else named[speaker],
            received_at=event.landed_at + place,
            source_id=event.source.source_id,
            source_kind=event.source.kind,
            verified=verified,
        )
