"""Authorise: an export is a decision, not a file.

1. Take the request; refuse what no fact about a person could change (purpose, key, destination).
2. Bind the bundle to it (``bind.py``).
3. Read one snapshot at ledger position L: members − restrained − lists − ``identity_changed``,
   decided over sets (``compile.py``), every absence counted by its reason; the manifest M over the
   identities that remain. This is the slow part, and no lock is held.
4. A new transaction that takes the log-head lock first; when the policies moved (an activation, a switch, a
   list of another category), all of it is decided anew. D = identities restrained or relinked since L;
   the destination's minimum audience is checked on M∖D; the export, its sets and roots, the record by which
   it can be decided again (``replay/``) and the audit entry are stored. A refusal is stored just so, as an
   entry with outcome ``denied``.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec
from pyroaring import BitMap

from cdp.audit import AuditLog, Entry
from cdp.clock import Clock, Micros
from cdp.crypto import Keyring
from cdp.errors import noted
from cdp.gate import counts, manifest, queries
from cdp.gate.admit import Refusal, too_few, unread_inputs
from cdp.gate.bind import chosen_by
from cdp.gate.decide import offered
from cdp.gate.facts import touching
from cdp.gate.judge import Judge, Question, denied
from cdp.gate.model import DROP, Authorisation, Class, Counts, FactSets, FieldPlan, Request, Shown, Terms
from cdp.gate.replay import queries as replay_queries
from cdp.gate.replay.record import Record, digest, pack_sets
from cdp.identity import members_of
from cdp.policy import Transform
from cdp.segments import Lists, Members, SegmentService
from cdp.store import Batch, Committer, EpochMovedError, Store, policies_version, read_head


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """M: who may leave as of ledger position L.

    :param now: the instant at which ages were reckoned.
    :param members: profile_no → identity numbers, of everybody in the segment.
    :param classes: disjoint sets of profiles, with their plans.
    :param manifest: position → value of the leaf of each identity.
    :param secrets: proof secret of each identity.
    :param facts: what they were decided by.
    :param reads: names of what the definition read.
    """

    export_id: str
    now: Micros
    position: int
    epoch: int
    policies: int
    valid_until: Micros | None
    members: Mapping[int, Sequence[int]]
    chosen: BitMap
    classes: Sequence[tuple[BitMap, FieldPlan]]
    withheld: dict[str, BitMap]
    manifest: Mapping[bytes, bytes]
    root: bytes
    secrets: Mapping[int, bytes]
    facts: FactSets | None
    reads: frozenset[str]

    def people(self) -> BitMap:
        """Return the profiles."""
        return BitMap.union(BitMap(), *(people for people, _ in self.classes))

    def identities(self, people: BitMap) -> BitMap:
        """Return the identities of some of the profiles."""
        return BitMap(number for person in people for number in self.members[person])


class Authoriser:
    """Takes the steps 1 to 4."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        keyring: Keyring,
        audit: AuditLog,
        segments: SegmentService,
        judge: Judge,
        clock: Clock,
    ) -> None:
        self._store = store
        self._committer = committer
        self._keyring = keyring
        self._audit = audit
        self._segments = segments
        self._judge = judge
        self._clock = clock

    def __call__(self, request: Request, *, dry_run: bool) -> Authorisation:
        """Decide an export and store the decision; see ``Gate.authorise``."""
        asked = Entry(
            action="export.dry_run" if dry_run else "export.authorise", actor=request.principal.actor
        )
        admitted = self._judge.admit(asked, request.principal, request.destination, request.purpose)  # 1
        asked = msgspec.structs.replace(asked, purpose=request.purpose, destination=request.destination)
        members = self._segments.evaluate(request.segment, actor=request.principal.actor)
        question = self._judge.bind(admitted, members.categories, request.fields)  # 2
        candidates = self._candidates(question, members)  # 3
        given = self._given(request, question, members, candidates)
        unlisted = question.terms.unlisted()
        refusal = unread_inputs(unlisted) if unlisted else None
        if dry_run:
            return self._rehearse(asked, request, question, given, refusal)
        record = Record.of(candidates.now, candidates.members, candidates.withheld, candidates.facts).pack()
        with self._committer.batch(head_first=True) as batch:  # 4
            if (batch.epoch, batch.policies) != (candidates.epoch, candidates.policies):
                raise EpochMovedError
            lists = Lists.categories(batch.connection)
            read = question.terms.inputs
            if chosen_by(question.bundle, read, members.reads, lists) != read:
                raise EpochMovedError  # a list tells something else now
            given, refusal = self._settle(batch, asked, request, question, candidates, record, given, refusal)
        if refusal is not None:
            raise noted(refusal.error)
        return given

    def _candidates(self, question: Question, chosen: Members) -> Candidates:
        now = self._clock.now()
        with self._store.reading() as connection:
            position, epoch = read_head(connection)
            policies = policies_version(connection)
            if not self._judge.in_force(connection, question):
                raise EpochMovedError
            self._keyring.observe_epoch(epoch)
            members = members_of(connection, chosen.bitmap)
            changed = touching(members, queries.relinked_since(connection, chosen.as_of))
            partition = self._judge.decide(connection, question, members, changed, now)
        allowed = partition.permitted()
        held = self._keyring.proof_secrets(number for no in allowed for number in members[no])
        keyless = BitMap(no for no in allowed if any(number not in held for number in members[no]))
        gone = chosen.bitmap - BitMap(members)  # profiles that became part of others
        withheld = dict(partition.withheld)
        withheld["identity_changed"] = withheld.get("identity_changed", BitMap()) | gone
        withheld["key_unavailable"] = keyless
        classes = [(people - keyless, plan) for people, plan in partition.classes if people - keyless]
        export_id = "e_" + secrets.token_hex(16)
        values = [
            ((n for no in people for n in members[no]), manifest.plan_value(question.terms.fields, plan))
            for people, plan in classes
        ]
        tree = manifest.leaves(export_id, held, values)
        return Candidates(
            export_id=export_id,
            now=now,
            position=position,
            epoch=epoch,
            policies=policies,
            valid_until=partition.valid_until,
            members=members,
            chosen=chosen.bitmap,
            classes=classes,
            withheld=withheld,
            manifest=tree,
            root=manifest.root(tree),
            secrets=held,
            facts=partition.facts,
            reads=chosen.reads,
        )

    def _given(
        self, request: Request, question: Question, members: Members, candidates: Candidates
    ) -> Authorisation:
        exact, noised = self._counts(candidates, BitMap(), question, request.segment, members.version)
        plans, width = [plan for _, plan in candidates.classes], len(question.terms.fields)
        return Authorisation(
            export_id="",
            segment=request.segment,
            segment_version=members.version,
            destination=question.destination.name,
            purpose=question.purpose.key,
            format=request.format,
            mode=request.mode,
            requested_by=request.principal.key_id,
            segment_as_of=members.as_of,
            ledger_position=candidates.position,
            valid_until=candidates.valid_until,
            created_at=self._clock.now(),
            bundle=question.bundle.sha256,
            counts=exact,
            noised=noised,
            fields=question.terms.fields,
            plan=_kinds(question.terms, [{plan[place] for plan in plans} for place in range(width)]),
        )

    def _counts(
        self, candidates: Candidates, lost: BitMap, question: Question, segment: str, version: int
    ) -> tuple[Counts, Shown]:
        """Return the exact counts and what others see, when ``lost`` changed meanwhile."""
        asked = f"{segment} {version} {question.destination.name} {question.purpose.key}"
        sets = (
            candidates.chosen,
            candidates.people() - lost,
            {**candidates.withheld, "changed_meanwhile": lost},
        )
        fields = _kinds(question.terms, offered(question.terms))
        return counts.exact(*sets), counts.noisy(*sets, self._keyring.secret("counts"), asked, fields)

    @staticmethod
    def _small(request: Request, question: Question, given: Authorisation) -> Refusal | None:
        """Return the refusal of an audience that is too small, as far as the requester may know that."""
        target, exact = question.destination, request.principal.sees_exactly
        if counts.is_audience(given.counts, target.minimum_audience, None if exact else given.noised):
            return None
        return too_few(target)

    def _rehearse(
        self,
        asked: Entry,
        request: Request,
        question: Question,
        given: Authorisation,
        refusal: Refusal | None,
    ) -> Authorisation:
        """Record a dry run, which is a use of the data too."""
        refusal = refusal or self._small(request, question, given)
        with self._committer.batch() as batch:
            batch.record(_about(asked, given))
        return msgspec.structs.replace(
            given,
            audit_index=batch.audit_indexes[0],
            refusal="" if refusal is None else refusal.reason,
        )

    def _settle(
        self,
        batch: Batch,
        asked: Entry,
        request: Request,
        question: Question,
        candidates: Candidates,
        record: bytes,
        given: Authorisation,
        refusal: Refusal | None,
    ) -> tuple[Authorisation, Refusal | None]:
        """Under the head lock: take out D, check the minimum, store the export or its refusal.

        :param record: packed.
        """
        people = candidates.people()
        changes = self._judge.facts.changed_since(batch.connection, candidates.position, people)
        held = {no: candidates.members[no] for no in people}
        causes = {
            "identity_changed": touching(held, changes.relinked),
            "consent_changed": changes.spoken,
            "black_list": changes.blocked,
            "objected": self._segments.restrained(batch.connection) & people,  # since it was evaluated
        }
        lost = BitMap.union(*causes.values())
        if lost:
            exact, noised = self._counts(candidates, lost, question, given.segment, given.segment_version)
            given = msgspec.structs.replace(given, counts=exact, noised=noised)
        refusal = refusal or self._small(request, question, given)
        if refusal is not None:
            batch.record(denied(_about(asked, given), refusal))
            return given, refusal
        changed = candidates.identities(lost)
        changed_tree = manifest.leaves(
            candidates.export_id, candidates.secrets, [(changed, manifest.TAKEN_OUT)]
        )
        given = msgspec.structs.replace(
            given,
            export_id=candidates.export_id,
            manifest_root=candidates.root,
            changed_root=manifest.root(changed_tree),
            audit_index=self._audit.size(batch.connection),  # exact: nobody appends while we hold the head
        )
        stored = queries.Stored(
            authorisation=given,
            inputs=question.terms.inputs,
            reads=candidates.reads,
            classes=tuple(
                Class(identities=candidates.identities(people).serialize(), plan=plan)
                for people, plan in candidates.classes
            ),
            manifest=manifest.pack(candidates.manifest),
            changed=changed.serialize(),
        )
        queries.add_export(batch.connection, batch.id, stored)
        replay_queries.add_record(
            batch.connection,
            given.export_id,
            replay_queries.Kept(manifest.pack(changed_tree), pack_sets(causes) if lost else None, record),
        )
        entry = _about(asked, given)
        batch.record(
            msgspec.structs.replace(
                entry,
                object={**entry.object, "record": digest(record)},
                subjects=tuple(candidates.identities(people - lost)),
            )
        )
        return given, None


def _kinds(terms: Terms, transforms: Sequence[AbstractSet[Transform]]) -> dict[str, str]:
    """Return field → kinds, joined by ``|``; ``drop`` where there is none."""
    kinds = ("|".join(sorted({one.kind for one in found})) or DROP.kind for found in transforms)
    return dict(zip(terms.fields, kinds, strict=True))


def _about(asked: Entry, given: Authorisation) -> Entry:
    """Return the entry of a decision: what it was, and how many people, by reason."""
    said: dict[str, str | int] = {
        "segment": given.segment,
        "segment_version": given.segment_version,
        "as_of": given.segment_as_of,
        "ledger_position": given.ledger_position,
        "bundle": given.bundle,
        "format": given.format,
        "fields": ",".join(f"{name}={kind}" for name, kind in given.plan.items()),
    }
    if given.export_id:
        said |= {
            "export": given.export_id,
            "manifest_root": given.manifest_root.hex(),
            "changed_root": given.changed_root.hex(),
        }
    people = {f"withheld.{reason}": count for reason, count in given.counts.withheld.items()}
    return msgspec.structs.replace(
        asked,
        object={**asked.object, **said},
        people={"members": given.counts.members, "released": given.counts.released, **people},
    )
