"""What runs beside the API, and how often. Everything here can be repeated without harm."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from cdp.api import Services
from cdp.app.lost import check_made
from cdp.audit import Entry
from cdp.clock import SystemClock
from cdp.identity import IdentityService
from cdp.ingest import EventKeys, Judges, Shapes
from cdp.pipeline import Pipeline
from cdp.policy import InForce
from cdp.segments import observe
from cdp.settings import Settings
from cdp.store import Store
from cdp.warehouse import Mirror
from cdp.worker import Answering, Beside, Periodic, Preparing, Worker

_PREPARE = sys.executable, "-m", "cdp.beside"
_HOUSEKEEPING_SECONDS = 3600.0
_ASKING_SECONDS = 1.0
KEYS_SECONDS = 1.0
_POLICIES_SECONDS = 1.0
_PAGES_A_TURN = 20
_CATALOGUE_SECONDS = 60.0
_PLANS_SECONDS = 1.0
_VIOLATIONS_SECONDS = 10.0
_COUNTED_SECONDS = 1.0
_COUNTS_SECONDS = 60.0
_RECALLS_SECONDS = 2.0
_RIGHTS_SECONDS = 1.0
_SEGMENTS_SECONDS = 1.0
_SCHEDULES_SECONDS = 10.0
_LAG_SECONDS = 5.0
_WITNESS_SECONDS = 2.0
_FIGURES_SECONDS = 30.0


def schedule(services: Services, event_keys: EventKeys, *, mirror_apart: bool) -> Worker:
    """Return the clockwork of one process.

    :param mirror_apart: keep the warehouse current in a process of its own (``cdp worker``).
    """
    settings, committer = services.settings, services.committer

    def sign_checkpoint() -> None:
        services.audit.sign_checkpoint(committer)

    def issue_recalls() -> None:
        services.outbox.issue()
        if services.steady.sure():
            services.outbox.expire()

    def observe_sending() -> None:
        services.outbox.observe()
        services.opendsr_reports.observe()
        services.opendsr_fan_out.observe()

    def follow_policies() -> None:
        services.in_force.refresh()
        services.deriving.settle()

    def derive_ahead() -> None:
        candidates = services.policies.proposed()
        services.deriving.clear(candidates, _PAGES_A_TURN)
        for candidate in candidates:
            services.deriving.prepare(candidate, _PAGES_A_TURN)

    return Worker(
        [
            Beside([sys.executable, "-m", "cdp", "worker"])
            if mirror_apart
            else Periodic("mirror", settings.mirror_interval_ms / 1000, services.mirror.refresh),
            Periodic("checkpoint", settings.checkpoint_interval_s, sign_checkpoint),
            Periodic("asking", _ASKING_SECONDS, partial(services.audit.fold, committer)),
            Periodic("witness", _WITNESS_SECONDS, services.witness.turn),
            Periodic("housekeeping", _HOUSEKEEPING_SECONDS, partial(_keep_house, services, event_keys)),
            Periodic("keys", KEYS_SECONDS, services.rotation.advance),
            Periodic("policies", _POLICIES_SECONDS, follow_policies),
            Periodic("consent", _POLICIES_SECONDS, derive_ahead),
            Periodic("identity", _POLICIES_SECONDS, services.rules_pass.advance),
            Periodic("identifiers", _POLICIES_SECONDS, services.index_pass.advance),
            *beside_writing(services),
            *_preparing(services),
            Periodic("counts", _COUNTS_SECONDS, services.counts.fold),
            Periodic("schedules", _SCHEDULES_SECONDS, services.segments.keep_schedules),
            Periodic("segments", _SEGMENTS_SECONDS, services.segments.follow.turn),
            Periodic("lag", _LAG_SECONDS, partial(observe, services.store, services.clock)),
            Periodic("recalls", _RECALLS_SECONDS, issue_recalls),
            Periodic("rights", _RIGHTS_SECONDS, services.rights.advance),
            Periodic("retention", _RIGHTS_SECONDS, services.retention.keep),
            Periodic("opendsr", _RECALLS_SECONDS, services.opendsr_reports.turn),
            Periodic("recipients", _RECALLS_SECONDS, services.opendsr_fan_out.turn),
            Periodic("outbox", _RECALLS_SECONDS, services.webhooks.send),
            Periodic("figures", _FIGURES_SECONDS, observe_sending),
            Periodic("intake", _FIGURES_SECONDS, services.intake.observe),
            Periodic("mirrored", _FIGURES_SECONDS, services.mirror.observe),
        ]
    )


def preparing_apart(
    settings: Settings,
    pipeline: Pipeline,
    identity: IdentityService,
    shapes: Shapes,
    judges: Judges,
) -> Preparing | None:
    """Return the processes that prepare events for this one, which ``schedule`` starts; None for none."""
    if settings.preparers < 1 or settings.intake != "direct":  # a stream's deliveries are not stored here
        return None
    processes = [Answering(_PREPARE) for _ in range(settings.preparers)]
    return Preparing(processes, pipeline, lambda: identity.epoch, shapes, judges)


def _preparing(services: Services) -> list[Periodic | Beside]:
    apart = services.writer.preparing
    return [] if apart is None else [*apart.processes, Periodic("counted", _COUNTED_SECONDS, apart.collect)]


def beside_writing(services: Services) -> list[Periodic]:
    """Return what runs in every process that writes what sources send."""
    return [
        Periodic("catalogue", _CATALOGUE_SECONDS, services.catalogue.flush),
        Periodic("plans", _PLANS_SECONDS, services.plans.judges.refresh),
        Periodic("violations", _VIOLATIONS_SECONDS, services.plans.flush),
    ]


def _keep_house(services: Services, event_keys: EventKeys) -> None:
    committer = services.committer
    with committer.batch() as batch:
        event_keys.forget(batch)
    if ended := services.intake.over(services.keyring.ended_buckets()):
        with committer.batch() as batch:
            counts = {"quarantined": services.quarantine.forget(batch), "bucket_keys": len(ended)}
            batch.record(Entry(action="retention.end", actor="system", counts=counts))
        services.keyring.destroy_buckets(ended)
    services.records.forget()
    if services.steady.sure():  # not while the clock may be ahead: what goes now is gone
        services.archives.expire()
        services.erasure.expire()


@contextmanager
def mirror_task(settings: Settings) -> Iterator[Periodic]:
    """Open what ``cdp worker`` runs: the mirror alone, which only reads the database."""
    with closing(Store(settings.database)) as store:
        with closing(Store(settings.keys_database)) as keys:
            check_made(settings, store, keys)
        in_force = InForce(store)
        mirror = Mirror(store, settings.mirror_dir, in_force.bundle.fields, SystemClock())
        in_force.subscribe(lambda held: mirror.adopt(held.fields))

        def turn() -> None:
            in_force.refresh()
            mirror.refresh()

        yield Periodic("mirror", settings.mirror_interval_ms / 1000, turn)
