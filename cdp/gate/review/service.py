"""What an officer asks of policies: what would change, and why somebody was decided about as they were.

Invariants: a difference is decided over everybody at one snapshot, and is a use for ``compliance_review``
that is on record before it is seen; an explanation of now is made of the very facts that the gate reads, one
of then of the recorded bundle, ledger position and time. Who may ask, and the record of asking about a
person, is with the caller (``PortraitService.examine``). Nothing sealed is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from pyroaring import BitMap

from cdp.access import AccessService
from cdp.audit import Entry
from cdp.clock import Clock, Micros
from cdp.consent import ConsentLedger, Standing
from cdp.crypto import Keyring
from cdp.errors import InvalidInputError, NotFoundError
from cdp.gate import manifest, queries
from cdp.gate.admit import barred
from cdp.gate.bind import bind
from cdp.gate.deliveries import queries as delivery_queries
from cdp.gate.explain import explain
from cdp.gate.facts import FactReader, touching
from cdp.gate.judge import Question
from cdp.gate.model import FieldPlan
from cdp.gate.opening import Opener
from cdp.gate.queries import Stored
from cdp.gate.recall import question_of
from cdp.gate.replay import queries as replay_queries
from cdp.gate.replay.record import Record, unpack
from cdp.gate.review.answers import DecisionQuestion, Difference, Explained, Recorded
from cdp.gate.review.differ import Differ
from cdp.gate.review.widen import widened
from cdp.gate.then import ERASED, LIMITS, LedgerThen
from cdp.identity import IdentityService, members_of
from cdp.policy import Bundle, InForce, Policies, compare, sealed_now, stale_notices
from cdp.segments import Lists, Members, SegmentService, parse
from cdp.store import Committer, Connection, commit_at, read_head, retrying

_PURPOSE = "compliance_review"
_CONTROLLER = "controller"


class Prepared(msgspec.Struct, frozen=True):
    """A question with all that is read before the person is looked at."""

    question: DecisionQuestion
    members: Members | None
    stored: Stored | None


class Review:
    """Answers officers.

    :param facts: the gate's own reader.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        facts: FactReader,
        in_force: InForce,
        policies: Policies,
        access: AccessService,
        ledger: ConsentLedger,
        identity: IdentityService,
        segments: SegmentService,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._facts = facts
        self._in_force = in_force
        self._policies = policies
        self._access = access
        self._ledger = ledger
        self._identity = identity
        self._segments = segments
        self._clock = clock
        self._differ = Differ(keyring, facts, ledger, identity, segments, clock)

    # -- a candidate ----------------------------------------------------------------------------

    def difference(self, actor: str, candidate: Bundle) -> Difference:
        """Return what ``candidate`` would change against what is in force, and record the use.

        :raises UnavailableError: consent is being derived under policies that just came in force.
        """
        with self._committer.store.reading() as connection:
            held = self._in_force.current(connection)
            switched = self._policies.switched(connection, candidate)
            flows = self._differ.flows(connection, held, switched)
            recalled = _recalled(connection, held, candidate)
        found = Difference(
            base=held.sha256,
            candidate=candidate.sha256,
            changes=compare(held, switched),
            permits=widened(held, candidate),
            flows=flows,
            warnings=(*self._warnings(held, candidate), *recalled),
        )
        entry = Entry(
            action="policy.diff",
            actor=actor,
            purpose=_PURPOSE,
            destination=_CONTROLLER,
            object={"bundle": candidate.sha256, "base": held.sha256},
            people=found.people(),
        )

        def record() -> None:
            with self._committer.batch() as batch:
                batch.record(entry)

        retrying(record)
        return found

    def _warnings(self, held: Bundle, candidate: Bundle) -> list[str]:
        said = [
            f"{purpose}: a new material version of the notice {', '.join(ids)} makes older consents stale"
            for purpose, ids in sorted(stale_notices(held, candidate).items())
        ]
        for key in self._access.list_keys():
            lost = sorted((key.purposes - {"*"}) & held.purposes.keys() - candidate.purposes.keys())
            if lost:
                said.append(
                    f"the key {key.name} states {', '.join(lost)}, which would be no purpose any more"
                )
            if key.destination and key.destination not in candidate.destinations:
                said.append(
                    f"the key {key.name} is of {key.destination}, which would be no destination any more"
                )
        for segment in self._segments.list():
            if segment.definition is None:
                continue
            try:
                parse(segment.source, candidate.fields, segment.name)
            except InvalidInputError as error:
                said.append(f"the segment {segment.name} would no longer hold: {error.message}")
        sealed = sealed_now(held, candidate)
        if sealed:
            said.append(f"no longer clear, though what was stored so stays: {', '.join(sealed)}")
        if held.identity != candidate.identity:
            said.append("identity.yaml differs: a pass links everybody anew; see `cdp identity rules`")
        return said

    # -- one person -----------------------------------------------------------------------------

    def prepare(self, actor: str, question: DecisionQuestion) -> Prepared:
        """Read what a question names, before the person is looked at.

        :raises InvalidInputError: it names neither an export nor a destination and a purpose.
        :raises NotFoundError: there is no such export or segment.
        """
        if question.export:
            with self._committer.store.reading() as connection:
                stored = queries.load_export(connection, question.export)
            if stored is None:
                raise NotFoundError("there is no export with this id")
            return Prepared(question, None, stored)
        if not (question.destination and question.purpose):
            raise InvalidInputError("name a destination and a purpose, or an export")
        if not question.segment:
            return Prepared(question, None, None)
        return Prepared(question, self._segments.members(question.segment, actor=actor), None)

    def explain(self, connection: Connection, identity_no: int, prepared: Prepared) -> Explained:
        """Explain the decision about one person.

        :param identity_no: of now its profile is meant; of then the one in which it was.
        :raises NotFoundError: the policies know no such destination or purpose, the bundle of then was
            never stored, or there was no such person then.
        """
        if prepared.stored is not None or prepared.question.as_of is not None:
            return self._then(connection, identity_no, prepared)
        return self._now(connection, self._identity.profile_of(connection, identity_no), prepared)

    def _now(self, connection: Connection, profile_no: int, prepared: Prepared) -> Explained:
        question, chosen = prepared.question, prepared.members
        self._ledger.check_derived(connection)
        bundle = self._in_force.current(connection)
        members = members_of(connection, [profile_no])
        relinked = BitMap()
        if chosen is not None:
            relinked = touching(members, queries.relinked_since(connection, chosen.as_of))
        case = _Case(
            bundle=bundle,
            destination=question.destination,
            purpose=question.purpose,
            inputs=frozenset() if chosen is None else chosen.categories,
            fields=question.fields,
            at=self._clock.now(),
            position=read_head(connection)[0],
        )
        return self._explained(
            connection,
            case,
            self._facts,
            self._ledger,
            profile_no,
            members[profile_no],
            relinked,
            segment=question.segment,
            in_segment=None if chosen is None else bool(BitMap(members[profile_no]) & chosen.bitmap),
        )

    def _then(self, connection: Connection, profile_no: int, prepared: Prepared) -> Explained:
        question, stored = prepared.question, prepared.stored
        case = self._case_then(connection, prepared)
        members = self._identity.members_at(connection, profile_no, case.position)
        if not members:
            raise NotFoundError("this profile did not exist then, or was erased since")
        numbers = [member.identity_no for member in members]
        ledger = LedgerThen(self._keyring, case.bundle, self._clock, case.position, case.at)
        ledger.about(connection, {profile_no: members})
        listed, moved, in_segment = None, BitMap(), None
        if case.record is not None:
            own = BitMap(numbers)
            in_segment = bool(own & Record.people_of(case.record.identities))
            listed, moved = (
                BitMap([profile_no]) if own & case.record.withheld_for(reason) else BitMap()
                for reason in ("black_list", "identity_changed")
            )

        def blocked(now: Connection) -> BitMap:
            return self._segments.blocked(now) if listed is None else listed

        return self._explained(
            connection,
            case,
            FactReader(ledger, blocked, Opener(self._keyring), case.position),
            ledger,
            profile_no,
            numbers,
            moved,
            segment=question.segment if stored is None else stored.authorisation.segment,
            in_segment=in_segment,
            recorded=None if stored is None else self._recorded(connection, stored, numbers),
            limits=LIMITS if case.record is None else (ERASED,),
        )

    def _case_then(self, connection: Connection, prepared: Prepared) -> _Case:
        question, stored = prepared.question, prepared.stored
        if stored is not None:
            given = stored.authorisation
            kept = replay_queries.kept(connection, given.export_id)
            record = None if kept is None or kept.record is None else unpack(kept.record)
            return _Case(
                bundle=self._policies.stored(connection, given.bundle),
                destination=given.destination,
                purpose=given.purpose,
                inputs=stored.inputs,
                fields=given.fields,
                at=given.created_at if record is None else record.decided_at,
                position=given.ledger_position,
                record=record,
            )
        at = question.as_of or 0
        position = commit_at(connection, at)
        return _Case(
            bundle=self._policies.stored(connection, self._policies.in_force_at(connection, position)),
            destination=question.destination,
            purpose=question.purpose,
            inputs=frozenset() if prepared.members is None else prepared.members.categories,
            fields=question.fields,
            at=at,
            position=position,
        )

    def _explained(
        self,
        connection: Connection,
        case: _Case,
        reader: FactReader,
        ledger: ConsentLedger,
        profile_no: int,
        numbers: Sequence[int],
        relinked: BitMap,
        *,
        segment: str,
        in_segment: bool | None = None,
        recorded: Recorded | None = None,
        limits: tuple[str, ...] = (),
    ) -> Explained:
        bundle = case.bundle
        target, stated = bundle.destinations.get(case.destination), bundle.purposes.get(case.purpose)
        if target is None or stated is None:
            raise NotFoundError("these policies know no such destination or purpose")
        refusal = barred(target, stated, case.at)
        terms = bind(bundle, target, stated, case.inputs, case.fields)
        sets = reader.read(
            connection, {profile_no: numbers}, relinked, terms, bundle, target, stated, case.at
        )
        facts = sets.of(profile_no)
        explanation = explain(terms, facts)
        missing = Standing(purpose=stated.key, state="missing", reason="no_record")
        standing = ledger.states(connection, stated.key, [profile_no]).get(profile_no, missing)
        records = ledger.records_of(connection, numbers) if standing.record_id is not None else []
        recorded_places = facts.places or frozenset()
        instead = ""
        if stated.variant and (refusal is not None or not explanation.decision.allowed):
            variant = bundle.purposes[stated.variant]
            asked = bind(bundle, target, variant, frozenset(), None)
            known = reader.read(
                connection, {profile_no: numbers}, relinked, asked, bundle, target, variant, case.at
            )
            if (
                barred(target, variant, case.at) is None
                and explain(asked, known.of(profile_no)).decision.allowed
            ):
                instead = variant.key
        return Explained(
            destination=target.name,
            purpose=stated.key,
            segment=segment,
            bundle=bundle.sha256,
            at=case.at,
            ledger_position=case.position,
            terms=terms,
            explanation=explanation,
            barred="" if refusal is None else refusal.reason,
            because={
                place: "controller"
                if place in terms.home
                else "recorded"
                if place in recorded_places
                else "no_place_recorded"
                for place in explanation.places
            },
            standing=standing,
            record=next((record for record in records if record.record_id == standing.record_id), None),
            instead=instead,
            in_segment=in_segment,
            recorded=recorded,
            limits=limits,
        )

    def _recorded(self, connection: Connection, stored: Stored, numbers: Sequence[int]) -> Recorded:
        """Return what an export has on record about these identities."""
        given = stored.authorisation
        own = BitMap(numbers)
        plan = next((one.plan for one in stored.classes if BitMap.deserialize(one.identities) & own), None)
        if plan is None:
            return Recorded(outcome="absent", plan={}, leaf=self._leaf(stored, own, None), fetched_at=())
        if BitMap.deserialize(stored.changed) & own:
            leaf = self._leaf(stored, own, plan)
            return Recorded(outcome="changed_meanwhile", plan={}, leaf=leaf, fetched_at=())
        fetches = queries.fetches_of(connection, given.export_id)
        return Recorded(
            outcome="released",
            plan=dict(zip(given.fields, map(manifest.word, plan), strict=True)),
            leaf=self._leaf(stored, own, plan),
            fetched_at=tuple(start for start, _, skipped in fetches if not own & skipped),
        )

    def _leaf(self, stored: Stored, own: BitMap, plan: FieldPlan | None) -> str:
        """Return whether the manifest has the leaf of one of these identities: of ``plan``, or any."""
        held = self._keyring.proof_secrets(own)
        if not held:
            return "no_key"
        given, tree = stored.authorisation, manifest.Leaves(stored.manifest)
        found = {tree.get(manifest.position(secret, given.export_id)) for secret in held.values()} - {None}
        wanted = found if plan is None else {manifest.plan_value(given.fields, plan)} & found
        return "present" if wanted else "missing"


def _recalled(connection: Connection, held: Bundle, candidate: Bundle) -> list[str]:
    """Say which audiences would be recalled whole: mostly for what their people were chosen by."""
    lists, said = Lists.categories(connection), []
    for audience in delivery_queries.audiences(connection):
        then, now = (question_of(bundle, audience, lists) for bundle in (held, candidate))
        if not _is_open(then) or _is_open(now) or not audience.holding.people():
            continue
        named = f"{audience.segment} for {audience.purpose}"
        said.append(f"{audience.destination}: everybody held there of {named} would be recalled")
    return said


def _is_open(question: Question | None) -> bool:
    """Return whether anybody may be held, as far as no fact about a person decides it."""
    return question is not None and not question.terms.unlisted()


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    """Policies bound in time to a question; ``record`` is what an export keeps of its people."""

    bundle: Bundle
    destination: str
    purpose: str
    inputs: frozenset[str]
    fields: Sequence[str] | None
    at: Micros
    position: int
    record: Record | None = None
