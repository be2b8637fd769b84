"""An empty data directory made ready: schema, keys, first policies, operator key.

Also one that was restored settled, and one whose keys go to another root.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from cdp import policy, recovery
from cdp.access import OPERATOR_NAME, OPERATOR_ROLES
from cdp.app.lost import NO_KEYS_FOR_JOURNAL, check_not_lost, is_lost
from cdp.app.opening import NO_KEYS
from cdp.app.parts import check_parts, check_writers
from cdp.app.wiring import build, make_policies
from cdp.audit import AuditLog, Entry
from cdp.beside import configure_logging
from cdp.clock import Clock, SystemClock
from cdp.crypto import (
    FileKeyProvider,
    Keyring,
    lies_under,
    open_provider,
    open_target,
    prepare,
)
from cdp.errors import ConfigurationError, ConflictError, KeyAccessError
from cdp.identity import blind_indexes
from cdp.journal import Journal
from cdp.recovery import Replayed, State
from cdp.settings import Settings
from cdp.store import Committer, Store, migrate

OPERATOR_FILE = "operator.key"


def initialise(settings: Settings, clock: Clock | None = None) -> bool:
    """Prepare an empty data directory: schema, root key, first KEK, operator key. Safe to repeat.

    A root key is made for an empty database only: one that lost its key gets an error, not a new key.

    :returns: False when everything was there already.
    :raises ConfigurationError: something of it was lost; nothing is made.
    """
    clock = clock or SystemClock()
    check_parts(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with closing(Store(settings.database)) as store, closing(Store(settings.keys_database)) as keys:
        check_writers(settings, store)
        kind, _, place = settings.key_provider.partition(":")
        is_new = migrate.is_empty(store)
        has_keys = Keyring.exists(keys)
        if is_new:
            check_not_lost(settings, keys)
        elif not has_keys:
            raise ConfigurationError(NO_KEYS)
        if kind == "file" and not has_keys and not Path(place).exists():
            FileKeyProvider.create(Path(place))
        provider = open_provider(settings.key_provider)
        Keyring.initialise(keys, provider, settings.workspace, clock)
        migrate.upgrade(store)
    establish(settings, clock)
    with closing(build(settings, clock)) as platform:
        access = platform.services.access
        if any(key.name == OPERATOR_NAME for key in access.list_keys()):
            return False
        _, key = access.create_key(None, OPERATOR_NAME, OPERATOR_ROLES, purposes={"*"})
    path = settings.data_dir / OPERATOR_FILE
    path.touch(mode=0o600)
    path.write_text(key + "\n", encoding="ascii")
    return True


def establish(settings: Settings, clock: Clock | None = None) -> bool:
    """Put the folder's policies in force where none ever were.

    :returns: False when there was nothing to do.
    :raises PolicyError: the folder's policies are wrong.
    """
    clock = clock or SystemClock()
    with closing(Store(settings.database)) as store, closing(Store(settings.keys_database)) as keys:
        provider = open_provider(settings.key_provider)
        keyring = Keyring(keys, provider, settings.workspace, clock)
        Keyring.complete(keys, provider, settings.workspace)
        audit = AuditLog(keyring, settings.audit_origin, clock, settings.checkpoint_file)
        journal = Journal(settings.journal_dir, keyring.secret("journal"), clock, blind_indexes)
        with closing(journal):
            # A journal is begun, found to be lost, or replayed when the platform starts: not here. One that
            # is still to be replayed knows which policies were in force, and these may be others.
            told = journal if journal.segments() and recovery.in_order(store) else None
            policies = make_policies(settings, Committer(store, audit.append, clock, told), clock)
            return policies.establish(policy.read_folder(settings.policies_dir))


def move_root(settings: Settings, to: str, clock: Clock | None = None) -> bool:
    """Put everything that the root wraps under the root that ``to`` names, in the form of ``CDP_KEYS``.

    Recorded before it is done, as every step of the keys is: the log is in another database.

    :returns: False when it lay under that root already.
    :raises ConfigurationError: ``to`` cannot be understood or opened.
    :raises KeyAccessError: one of the roots does not answer, or not right; nothing changed.
    """
    target = open_target(to)
    try:
        platform = build(settings, clock)
    except KeyAccessError:
        with closing(Store(settings.keys_database)) as keys:
            if lies_under(keys, target, settings.workspace):
                return False
        raise
    with closing(platform):
        services = platform.services
        prepared = prepare(services.keyring, target, open_provider(to))
        about: dict[str, str | int] = {
            "from": settings.key_provider.partition(":")[0],
            "to": to.partition(":")[0],
            "keks": len(prepared.keks),
            "secrets": len(prepared.secrets),
        }
        with services.committer.batch() as batch:
            batch.record(Entry(action="keys.move", actor="system", object=about))
        prepared.put_in_place()
    return True


def begin_anew(settings: Settings, clock: Clock | None = None) -> tuple[State, Replayed]:
    """Make an empty main database where one was lost without a backup, and replay its journal into it.

    Until that is done it is not in order, also where this is interrupted; safe to repeat.

    :raises ConflictError: the main database is there.
    :raises ConfigurationError: nothing of a lost one is left, or its keys are gone.
    :raises PolicyError: the folder's policies are wrong; right them and repeat.
    """
    check_parts(settings)
    with closing(Store(settings.database)) as store, closing(Store(settings.keys_database)) as keys:
        if not migrate.is_empty(store):
            if recovery.in_order(store):
                raise ConflictError("the main database is there and in order; there is nothing to begin anew")
        elif not is_lost(settings, keys):
            raise ConfigurationError("neither a journal nor keys are left of a main database; run `cdp init`")
        else:
            if not Keyring.exists(keys):
                raise ConfigurationError(NO_KEYS_FOR_JOURNAL)
            migrate.upgrade(keys, migrate.Chain.KEYS)
            migrate.upgrade(store, then=recovery.not_in_order)
    establish(settings, clock)
    recovery.drop_derived(settings.mirror_dir)
    found = replay(settings, clock)
    initialise(settings, clock)  # an operator key is what is left to make
    return found


def replay(settings: Settings, clock: Clock | None = None) -> tuple[State, Replayed]:
    """Replay the journal into a restored database, as every start does; returns how that ended."""
    configure_logging(settings.log_level)
    with closing(build(settings, clock)) as platform:
        gatekeeper = platform.services.recovery
        return gatekeeper.state, gatekeeper.done
