"""Every part of one process, put together: bottom to top, each given what it stands on.

A part that holds anything of a policy bundle also stands in ``_adopt``.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial

import structlog

from cdp import policy
from cdp.access import AccessService
from cdp.api import Asking, Services
from cdp.app.erasing import erasing, left_out, recovering
from cdp.app.folder import compare_folder
from cdp.app.linking import linking
from cdp.app.opendsr import open_dsr
from cdp.app.opening import open_stores, unlocked
from cdp.app.parts import open_intake, witness_at
from cdp.app.reporting import wire_reports
from cdp.app.rights import link_to, wire_rights
from cdp.app.rotation import wire_rotation
from cdp.app.schedule import preparing_apart, schedule
from cdp.audit import AuditLog, Bundler, Public, Witness
from cdp.beside import judge_by, user_id_signatures
from cdp.clock import Clock, SteadyClock, SystemClock
from cdp.consent import ConsentLedger, Deriving, ReceiptIssuer
from cdp.crypto import BlindIndex, LinkTokens, ProfileIds
from cdp.export import ExportService, Feeds, Outbox, Webhooks
from cdp.gate import Gate, Replays, Review, check_inside
from cdp.identity import IdentityService, IndexPass, Preview, Resolved, RulesPass, blind_indexes
from cdp.ingest import (
    Adapters,
    Classifier,
    Counts,
    DataCatalogue,
    EventKeys,
    Imports,
    Keeper,
    Plans,
    Preparer,
    Quarantine,
    Validator,
    inspect,
)
from cdp.journal import Journal
from cdp.pipeline import Pipeline
from cdp.policy import Bundle, InForce, Policies
from cdp.portrait import Conflicts, EntryDetails, PortraitService, Previewer, Revealer
from cdp.profiles import ProfileService
from cdp.recovery import Installation
from cdp.rights import Acts, Archives, LegalHolds, Links, Records, Retention, Stages
from cdp.rights import opendsr as dsr
from cdp.segments import Counting, SegmentService
from cdp.settings import Settings
from cdp.store import Batch, Committer
from cdp.told import ConsentIntake
from cdp.warehouse import Mirror, Warehouse, declared, open_engine
from cdp.worker import Room, Worker, Writer

log = structlog.get_logger()
SEGMENTATION = "segmentation"


@dataclass(frozen=True)
class Platform:
    """Everything of one process, wired."""

    services: Services
    writer: Writer
    worker: Worker
    close: Callable[[], None]


def build(settings: Settings, clock: Clock | None = None, *, mirror_apart: bool = False) -> Platform:
    """Wire the stages.

    :param mirror_apart: keep the warehouse current, and prepare events, in processes beside this one.
    :raises ConfigurationError: a part is missing, wrong or not initialised; nothing is left open.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold keys
    with ExitStack() as opened:
        services, writer, worker = _wire(settings, clock or SystemClock(), opened, mirror_apart=mirror_apart)
        services.recovery.settle()
        if services.recovery.state.ready:
            compare_folder(settings, services.bundle)
            services.gate.proofs.keep_older()
        services.deriving.settle()
        services.rules_pass.begin("system")
        services.index_pass.look()
        return Platform(services, writer, worker, opened.pop_all().close)


def _wire(
    settings: Settings, clock: Clock, opened: ExitStack, *, mirror_apart: bool
) -> tuple[Services, Writer, Worker]:
    store, key_store = open_stores(settings, opened)
    bundle, steady = (in_force := InForce(store)).bundle, SteadyClock(clock)
    keyring = unlocked(settings, key_store, steady)
    blind = BlindIndex(keyring.secret("index"), settings.workspace)
    audit = AuditLog(keyring, settings.audit_origin, clock, settings.checkpoint_file)
    journal = opened.enter_context(
        closing(Journal(settings.journal_dir, keyring.secret("journal"), clock, blind_indexes))
    )
    committer = Committer(store, audit.append, clock, journal)
    committer.on_policies = in_force.observe
    policies = make_policies(settings, committer, clock)
    access = AccessService(store, committer, clock, bundle.purposes, bundle.destinations)
    ledger = ConsentLedger(keyring, bundle, clock, journal.hold)
    identity = IdentityService(committer, keyring, blind, ledger, bundle.identity, clock, access.regions)
    profiles = ProfileService(identity, access, bundle, clock)
    keyring.keep("quarantine", bundle.quarantine_days)
    quarantine = Quarantine(store, keyring, clock)
    event_keys, imports = EventKeys(steady), Imports(committer, in_force.refresh, clock)
    catalogue, plans = DataCatalogue(committer, bundle.fields, clock), Plans(committer, clock)

    def judging(held: Bundle) -> tuple[Validator, Classifier, Keeper]:
        validator = judge_by(held, settings, keyring, identity.normalise, store)
        return validator, Classifier(held.fields), Keeper(held.intake)

    mirror = Mirror(store, settings.mirror_dir, bundle.fields, clock)
    warehouse = opened.enter_context(
        closing(
            Warehouse(
                settings.mirror_dir,
                trust=profiles.trust,
                engine=open_engine(settings.warehouse, settings.mirror_dir),
            )
        )
    )
    segments = SegmentService(
        store,
        committer,
        warehouse,
        bundle.fields,
        clock,
        left_out(ledger, SEGMENTATION),
        partial(_unreadable, in_force, clock),
        journal.tag,
    )
    links = Links(
        committer,
        identity,
        LinkTokens(keyring.secret("links"), settings.workspace),
        clock,
        settings.public_url,
    )
    gate = Gate(
        store,
        committer,
        keyring,
        in_force.current,
        ledger,
        segments,
        profiles,
        audit,
        access,
        links.unsubscribe,
        clock,
    )
    outbox = Outbox(store, committer, keyring, gate, in_force.current, clock)
    webhooks = Webhooks(store, committer, keyring, outbox, clock, loopback=settings.webhook_loopback)
    recovery = recovering(
        committer,
        keyring,
        journal,
        ledger,
        identity,
        Installation(journal, access, policies, segments.lists, outbox, webhooks, gate.deliveries),
        quarantine,
        outbox,
        audit,
        in_force,
        clock,
    )
    validator, classifier, keeper = judging(bundle)
    inspecting = partial(inspect, catalogue.shapes, plans.judges)
    preparer = Preparer(validator, classifier, identity.index, inspecting, Adapters(imports))
    pipeline = Pipeline(
        committer,
        keyring,
        preparer,
        keeper,
        event_keys,
        identity,
        ledger,
        segments.lists,
        recovery,
        quarantine,
    )
    room = Room(settings.queue_events, settings.queue_bytes)
    writer = Writer(
        pipeline,
        batch_events=settings.batch_events,
        room=room,
        preparing=preparing_apart(settings, pipeline, identity, catalogue.shapes, plans.judges)
        if mirror_apart
        else None,
    )
    acts = Acts(committer, keyring, identity, ledger, clock)
    stages = Stages(
        identity,
        access,
        profiles,
        ledger,
        ReceiptIssuer(committer, keyring, ledger, audit),
        segments,
        quarantine,
        audit,
        gate,
        clock,
    )
    ids = ProfileIds(keyring.secret("index"), settings.workspace)

    def arrived(batch: Batch, resolved: Resolved) -> Collection[int]:
        segments.lists.arrived(batch, resolved)
        return recovery.returned(batch, resolved)

    relinker, matching, review_queue, watch = linking(
        store, committer, keyring, gate, ledger, profiles, segments, identity, ids, clock
    )
    opened.callback(matching.stop)
    archives = Archives(committer, keyring, stages, links)
    erasure = erasing(settings, committer, keyring, audit, recovery, mirror, in_force, clock, archives)
    rights = wire_rights(
        committer, keyring, identity, profiles, acts, gate, outbox, in_force, clock, archives, erasure
    )
    opendsr = open_dsr(
        settings,
        committer,
        keyring,
        gate,
        identity,
        rights,
        in_force,
        clock,
        results=partial(link_to, archives),
    )
    erasure.before_destroying.append(opendsr.fan_out.materialise)
    replays = opened.enter_context(
        closing(Replays(store, committer, keyring, audit, identity, policies, gate.proofs, clock))
    )
    rotation = wire_rotation(keyring, committer, steady, settings.key_backup_days)
    services = Services(
        settings=settings,
        clock=clock,
        steady=steady,
        store=store,
        committer=committer,
        keyring=keyring,
        rotation=rotation,
        signatures=user_id_signatures(keyring),
        profile_ids=ids,
        in_force=in_force,
        policies=policies,
        audit=audit,
        public_log=Public(audit),
        bundles=Bundler(store, committer, audit, gate.proofs.manifests),
        witness=Witness(store, committer, audit, clock, witness_at(settings)),
        journal=journal,
        recovery=recovery,
        access=access,
        ledger=ledger,
        deriving=Deriving(committer, ledger, identity, clock),
        receipts=stages.receipts,
        identity=identity,
        steward=relinker,
        matching=matching,
        review_queue=review_queue,
        watch=watch,
        rules_preview=Previewer(committer, Preview(store, identity, keyring), identity, ledger, gate),
        rules_pass=RulesPass(committer, identity, keyring, policy.activation_count, clock),
        index_pass=IndexPass(committer, identity, keyring, blind, arrived, lambda: recovery.pending, clock),
        profiles=profiles,
        quarantine=quarantine,
        counts=Counts(committer),
        catalogue=catalogue,
        plans=plans,
        imports=imports,
        pipeline=pipeline,
        writer=writer,
        intake=opened.enter_context(closing(open_intake(settings, store, keyring, bundle, writer, clock))),
        consent_intake=ConsentIntake(writer, pipeline),
        mirror=mirror,
        warehouse=warehouse,
        segments=segments,
        counting=Counting(store, segments, lambda: in_force.bundle.fields, keyring.secret("counts"), clock),
        gate=gate,
        exports=ExportService(gate),
        outbox=outbox,
        feeds=Feeds(committer, keyring, gate, segments, outbox),
        webhooks=webhooks,
        replays=replays,
        review=Review(
            committer,
            keyring,
            gate.facts,
            in_force,
            policies,
            access,
            ledger,
            identity,
            segments,
            clock,
        ),
        portrait=PortraitService(committer, ids, identity, access, profiles, ledger, segments, audit, gate),
        entry_details=EntryDetails(committer, ids, identity, audit, gate),
        conflicts=Conflicts(committer, ids, identity, profiles, ledger, gate),
        reveal=Revealer(committer, keyring, ids, identity, audit, gate, clock),
        acts=acts,
        erasure=erasure,
        retention=Retention(committer, keyring, steady, in_force.refresh, gate.facts.laws, mirror.rebuild),
        holds=LegalHolds(committer, identity, clock, in_force.refresh),
        records=Records(committer, in_force.refresh, LegalHolds.on, steady, [dsr.forget_requests]),
        asking=Asking(),
        rights=rights,
        links=links,
        opendsr=opendsr.processor,
        opendsr_reports=opendsr.reports,
        opendsr_fan_out=opendsr.fan_out,
        archives=archives,
        reporting=wire_reports(
            settings,
            committer,
            audit,
            in_force,
            policies,
            ledger,
            gate,
            segments,
            catalogue,
            rotation,
            ids,
            clock,
        ),
    )
    in_force.subscribe(lambda held: _adopt(services, held, judging))
    return services, writer, schedule(services, event_keys, mirror_apart=mirror_apart)


def _adopt(
    services: Services, bundle: Bundle, judging: Callable[[Bundle], tuple[Validator, Classifier, Keeper]]
) -> None:
    """Have every part work under ``bundle``; a part that holds anything of a bundle stands here."""
    services.access.adopt(bundle.purposes, bundle.destinations)
    services.keyring.keep("quarantine", bundle.quarantine_days)
    services.ledger.adopt(bundle)
    services.identity.adopt(bundle.identity)
    services.profiles.adopt(bundle)
    for part in (services.mirror, services.catalogue, services.segments):
        part.adopt(bundle.fields)
    services.intake.adopt(bundle)
    services.pipeline.adopt(*judging(bundle))  # last: from here on events are judged anew


def _unreadable(in_force: InForce, clock: Clock, categories: frozenset[str]) -> frozenset[str]:
    """Return those of some data categories that no definition may read, while any may be evaluated at all.

    :raises NotPermittedError: the controller is switched off, or barred otherwise.
    """
    check_inside(in_force.bundle, SEGMENTATION, clock.now())
    return policy.unreadable(in_force.bundle, categories)


def make_policies(settings: Settings, committer: Committer, clock: Clock) -> Policies:
    """Return the verbs that put policies in force."""
    checks = (lambda bundle: declared(bundle.fields),)  # two fields may not share a column of the mirror
    return Policies(committer, clock, four_eyes=settings.four_eyes, checks=checks)
