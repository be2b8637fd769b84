"""What every process opens that writes: the databases and the keys."""

from __future__ import annotations

from contextlib import ExitStack, closing

from cdp.app.lost import check_made
from cdp.app.parts import check_parts
from cdp.clock import Clock
from cdp.crypto import Keyring, open_provider
from cdp.errors import ConfigurationError
from cdp.settings import Settings
from cdp.store import Store, migrate

NO_KEYS = (
    "the key database holds no keys while the main database holds data; restore it from its backup "
    "(new keys cannot open what the old ones sealed)"
)


def open_stores(settings: Settings, opened: ExitStack) -> tuple[Store, Store]:
    """Open the main database and that of the keys.

    :raises ConfigurationError: a part is missing, or a schema is not current.
    """
    check_parts(settings)
    store = opened.enter_context(closing(Store(settings.database)))
    key_store = opened.enter_context(closing(Store(settings.keys_database)))
    check_made(settings, store, key_store)
    if migrate.pending(store):
        raise ConfigurationError("the database schema is not current; run `cdp migrate`")
    return store, key_store


def unlocked(settings: Settings, key_store: Store, clock: Clock) -> Keyring:
    """Return the keys, unlocked.

    :raises ConfigurationError: there are none, or their schema is not current.
    """
    if not Keyring.exists(key_store):
        raise ConfigurationError(NO_KEYS)
    if migrate.pending(key_store, migrate.Chain.KEYS):
        raise ConfigurationError("the key database's schema is not current; run `cdp migrate`")
    keyring = Keyring(key_store, open_provider(settings.key_provider), settings.workspace, clock)
    keyring.unlock()
    return keyring
