"""The composition root: the only place where concrete parts are chosen.

``build`` opens the stores, checks that the schema is current, and wires the stages; ``create`` makes the
HTTP application around them, with the writer and the worker running between start-up and shutdown.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from litestar import Litestar

from cdp import policy
from cdp.access import OPERATOR_ROLES, AccessService
from cdp.api import Services, create_app
from cdp.audit import AuditLog
from cdp.clock import Clock, SystemClock
from cdp.consent import ConsentLedger
from cdp.crypto import BlindIndex, FileKeyProvider, Keyring, ProfileIds, open_provider
from cdp.errors import ConfigurationError
from cdp.export import ExportService
from cdp.gate import Gate
from cdp.identity import IdentityService
from cdp.ingest import Classifier, EventKeys, Quarantine, Validator
from cdp.pipeline import Pipeline
from cdp.portrait import PortraitService
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.settings import Settings, load
from cdp.store import Committer, Store, migrate
from cdp.warehouse import Mirror, Warehouse
from cdp.worker import Beside, Periodic, Worker, Writer

OPERATOR_NAME = "operator"
OPERATOR_FILE = "operator.key"
SEGMENTATION = "segmentation"
_HOUSEKEEPING_SECONDS = 3600.0


@dataclass(frozen=True)
class Platform:
    """Everything of one process, wired."""

    services: Services
    writer: Writer
    worker: Worker
    close: Callable[[], None]


def initialise(settings: Settings, clock: Clock | None = None) -> bool:
    """Prepare an empty data directory: schema, root key, first KEK, operator key. Safe to repeat.

    A root key is made for an empty database only: one that lost its key gets an error, not a new key.

    :returns: False when everything was there already.
    """
    clock = clock or SystemClock()
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with closing(Store(settings.database)) as store, closing(Store(settings.keys_database)) as keys:
        kind, _, place = settings.key_provider.partition(":")
        if kind == "file" and migrate.is_empty(store) and not Path(place).exists():
            FileKeyProvider.create(Path(place))
        provider = open_provider(settings.key_provider)
        migrate.upgrade(store)
        Keyring.initialise(keys, provider, settings.workspace, clock)
    with closing(build(settings, clock)) as platform:
        access = platform.services.access
        if any(key.name == OPERATOR_NAME for key in access.list_keys()):
            return False
        _, key = access.create_key(None, OPERATOR_NAME, OPERATOR_ROLES, purposes={"*"})
    path = settings.data_dir / OPERATOR_FILE
    path.touch(mode=0o600)
    path.write_text(key + "\n", encoding="ascii")
    return True


def build(settings: Settings, clock: Clock | None = None, *, mirror_apart: bool = False) -> Platform:
    """Wire the stages.

    :param mirror_apart: keep the warehouse current in a process of its own (``cdp worker``).
    :raises ConfigurationError: a part is missing, wrong or not initialised; nothing is left open.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold keys
    with ExitStack() as opened:
        services, writer, worker = _wire(settings, clock or SystemClock(), opened, mirror_apart=mirror_apart)
        services.pipeline.settle_consent()
        return Platform(services, writer, worker, opened.pop_all().close)


def _wire(
    settings: Settings, clock: Clock, opened: ExitStack, *, mirror_apart: bool
) -> tuple[Services, Writer, Worker]:
    _check_parts(settings)
    bundle = policy.load(settings.policies_dir)
    store = Store(settings.database)
    opened.callback(store.close)
    if migrate.pending(store):
        raise ConfigurationError("the database schema is not current; run `cdp init` or `cdp migrate`")
    key_store = Store(settings.keys_database)
    opened.callback(key_store.close)
    keyring = Keyring(key_store, open_provider(settings.key_provider), settings.workspace, clock)
    index_root = keyring.secret("index")
    blind = BlindIndex(index_root, settings.workspace)

    audit = AuditLog(keyring, settings.audit_origin, clock, settings.checkpoint_file)
    committer = Committer(store, audit.append, clock)
    access = AccessService(store, committer, clock, bundle.purposes, bundle.destinations)
    ledger = ConsentLedger(keyring, bundle, clock)
    identity = IdentityService(store, committer, keyring, blind, ledger, bundle.identity, clock)
    profiles = ProfileService(identity, access, bundle)
    quarantine = Quarantine(store, keyring, clock)
    event_keys = EventKeys(clock)
    pipeline = Pipeline(
        committer,
        keyring,
        Validator(bundle, identity.normalise, keyring.secret("event-key"), settings.max_event_bytes),
        Classifier(bundle.fields),
        event_keys,
        identity,
        ledger,
        quarantine,
        clock,
    )
    writer = Writer(pipeline, batch_events=settings.batch_events, queue_events=settings.queue_events)
    mirror = Mirror(store, settings.mirror_dir, bundle.fields, clock)
    warehouse = Warehouse(settings.mirror_dir, trust=profiles.trust)
    opened.callback(warehouse.close)
    segments = SegmentService(
        store,
        committer,
        warehouse,
        bundle.fields,
        clock,
        lambda connection: ledger.restrained(connection, SEGMENTATION),
    )
    gate = Gate(store, committer, keyring, bundle, ledger, segments, profiles, audit, clock)
    exports = ExportService(gate)
    ids = ProfileIds(index_root, settings.workspace)

    def forget_keys() -> None:
        with committer.batch() as batch:
            event_keys.forget(batch)

    worker = Worker(
        [
            Beside([sys.executable, "-m", "cdp", "worker"]) if mirror_apart else _mirroring(settings, mirror),
            Periodic("checkpoint", settings.checkpoint_interval_s, lambda: audit.sign_checkpoint(committer)),
            Periodic("housekeeping", _HOUSEKEEPING_SECONDS, forget_keys),
        ]
    )
    services = Services(
        settings=settings,
        clock=clock,
        store=store,
        committer=committer,
        keyring=keyring,
        profile_ids=ids,
        bundle=bundle,
        audit=audit,
        access=access,
        ledger=ledger,
        identity=identity,
        profiles=profiles,
        quarantine=quarantine,
        pipeline=pipeline,
        writer=writer,
        mirror=mirror,
        warehouse=warehouse,
        segments=segments,
        gate=gate,
        exports=exports,
        portrait=PortraitService(committer, ids, identity, profiles, ledger, segments, audit, bundle),
    )

    return services, writer, worker


def _check_parts(settings: Settings) -> None:
    """Refuse a part that is named and not there, rather than quietly take another."""
    if settings.warehouse != "duckdb":
        raise ConfigurationError("CDP_WAREHOUSE: duckdb is the only warehouse of this version")
    if settings.intake != "direct":
        raise ConfigurationError("CDP_INTAKE: direct is the only intake of this version")


def create(settings: Settings | None = None, *, mirror_apart: bool = False) -> Litestar:
    """Make the HTTP application of the environment's settings, or of those given."""
    chosen = settings or load()
    configure_logging(chosen.log_level)
    return application(build(chosen, mirror_apart=mirror_apart))


@contextmanager
def mirror_task(settings: Settings) -> Iterator[Periodic]:
    """Open what ``cdp worker`` runs: the mirror alone, which only reads the database."""
    configure_logging(settings.log_level)
    fields = policy.load(settings.policies_dir).fields
    with closing(Store(settings.database)) as store:
        yield _mirroring(settings, Mirror(store, settings.mirror_dir, fields, SystemClock()))


def _mirroring(settings: Settings, mirror: Mirror) -> Periodic:
    return Periodic("mirror", settings.mirror_interval_ms / 1000, mirror.refresh)


def application(platform: Platform) -> Litestar:
    """Make the HTTP application around a platform, whose writer and worker run while it is started."""

    def start() -> None:
        platform.writer.start()
        platform.worker.start()

    def stop() -> None:
        platform.writer.stop()
        platform.worker.stop()
        platform.close()

    return create_app(platform.services, on_startup=[start], on_shutdown=[stop])


def configure_logging(level: str) -> None:
    """Log JSON lines to standard error; only names, types and numbers are ever put into them."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
