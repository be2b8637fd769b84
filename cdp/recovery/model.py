"""A backup's manifest and the state of a database that may have come out of one."""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.clock import Micros
from cdp.journal import Position

FORMAT = 1
MANIFEST = "manifest.json"
MAIN = "main.backup"
KEYS = "keys.backup"


class StoredFile(msgspec.Struct, frozen=True):
    """One file of a backup."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup holds; written last, so that a folder without one is no backup.

    :param holds: the main database, or the key database.
    :param engine: which kind of database it was; it is restored into the same.
    :param commit_no: the last commit in it.
    :param journal: how far each segment of the journal was *before* the copy began.
    :param log_size: entries of the audit log in it.
    :param checkpoint: the newest signed checkpoint in it, a signed note; empty when there was none.
    :param bundle: SHA-256 of the policies in force.
    """

    format: int
    id: str
    made_at: str
    holds: Literal["main", "keys"]
    workspace: str
    engine: str
    revision: str
    files: dict[str, StoredFile]
    commit_no: int = 0
    journal: dict[str, Position] = {}
    log_size: int = 0
    checkpoint: str = ""
    bundle: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform says when it is asked for a backup.

    :param at: RFC 3339.
    :param bundle: SHA-256 of the policies in force.
    :param journal: how far each segment is, before anything is copied: what comes later is replayed.
    """

    at: str
    bundle: str
    journal: dict[str, Position]


Step = Literal["bound", "told", "unkeyed", "deleted", "done"]
"""How far an erasure has come: see ``cdp/recovery/erase.py``."""


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure.

    :param erasure_id: of the request that asked for it, or ``restore/N``.
    :param batch: the one in which it bound.
    :param identities: of how many identities it is.
    :param tags: the journal's, of their identifiers, as long as what names them is looked for.
    :param deleted: what → how many rows.
    :param proof_until: until when what proves lawful processing is kept; None when nothing is.
    :param entry: the index of the log entry that says it is done.
    :param certificate: the sealed secrets of whom it is about, until they are handed over.
    """

    erasure_id: str
    batch: int
    step: Step
    identities: int
    bound_at: Micros
    tags: tuple[str, ...] = ()
    deleted: dict[str, int] = {}
    proof_until: Micros | None = None
    entry: int | None = None
    certificate: bytes | None = None


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the backup that a database came out of; nothing when it was copied by hand.

    :param backup: its id; ``none`` for a database that was begun without one.
    :param journal: the positions that the journal must still hold.
    """

    backup: str = ""
    journal: dict[str, Position] = {}


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay did.

    :param lines: read from the journal.
    :param appended: consent records that the database lacked.
    :param pending: consent records and black-list entries of people whom the database does not know (yet).
    :param erased: identities that were erased again, their keys destroyed.
    :param tombstones: erased people whom the database does not know and who must not come back.
    :param apart: pairs of identities whose link was revoked again, and of rejected guesses.
    :param listed: people who were put on a black list again.
    :param ended: keys, sources, links, endpoints, destinations and proposals put out of use again.
    :param without_journal: nothing was read, by an officer's word.
    """

    lines: int = 0
    appended: int = 0
    pending: int = 0
    erased: int = 0
    tombstones: int = 0
    apart: int = 0
    listed: int = 0
    ended: int = 0
    without_journal: bool = False


class Awaited(msgspec.Struct, frozen=True):
    """Links of somebody who is not known (yet) that a steward revoked, or guesses that were rejected.

    :param numbers: the identities that they are kept apart from.
    :param tags: of those who are not known either.
    """

    guess: bool
    numbers: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the platform may serve.

    :param ready: the database is in order, or has been made so.
    :param reason: why it is not, for its operator.
    """

    ready: bool
    reason: str = ""
