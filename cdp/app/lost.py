"""Tells a main database that was lost from one that was never made: both are empty.

Invariant: while a journal or a key of anybody is left, nothing is made in an empty main database, unless
somebody asks for that by its name (``setup.begin_anew``). It would know no refusal and nobody's erasure, and
hand out identity numbers again under which others' keys lie. A first ``cdp init`` that was interrupted leaves
neither of the two, as the journal and the keys of people are made after the main database.
"""

from __future__ import annotations

from cdp import journal
from cdp.crypto import Keyring
from cdp.errors import ConfigurationError
from cdp.settings import Settings
from cdp.store import Store, migrate

LOST = (
    "the main database is empty while its journal or keys are there: it was lost, or CDP_DATABASE_URL names "
    "another one. Bring it back with `cdp restore FOLDER`; where there is no backup, "
    "`cdp restore --without-backup` begins an empty one under the refusals of the journal (docs/recovery.md)"
)
NO_KEYS_FOR_JOURNAL = (
    "the key database holds no keys, and without them the journal cannot be read; restore it from its backup "
    "(docs/recovery.md says what is left to do when there is none)"
)


def is_lost(settings: Settings, keys: Store) -> bool:
    """Return whether an empty main database takes the place of one that was there.

    :param keys: the key database, of whatever version of the schema.
    """
    return bool(journal.segments(settings.journal_dir)) or Keyring.holds_people(keys)


def check_not_lost(settings: Settings, keys: Store) -> None:
    """Let an empty main database pass where none was there before.

    :raises ConfigurationError: it was lost.
    """
    if is_lost(settings, keys):
        raise ConfigurationError(LOST)


def check_made(settings: Settings, store: Store, keys: Store) -> None:
    """Let a main database pass that was made once.

    :raises ConfigurationError: it is empty: lost, or never made.
    """
    if migrate.is_empty(store):
        check_not_lost(settings, keys)
        raise ConfigurationError("there is no main database yet; run `cdp init`")
