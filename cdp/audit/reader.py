"""What is in the audit log: searched, counted, opened, forgotten. Nothing here changes an entry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cdp.audit import asking, queries
from cdp.audit.detail import Details
from cdp.audit.model import AuditEntry, AuditFilter, AuditPage, Checkpoint
from cdp.clock import Micros
from cdp.crypto import Keyring
from cdp.errors import AuditError
from cdp.store import Committer, Connection


class AuditReader:
    """Reads one log.

    :param keyring: opens what is sealed beside entries.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._details = Details(keyring)

    def search(
        self,
        connection: Connection,
        wanted: AuditFilter,
        limit: int = 100,
        after_index: int | None = None,
    ) -> list[AuditEntry]:
        """Return entries that match, newest first; see ``page``."""
        return self.page(connection, wanted, limit, after_index).entries

    def page(
        self,
        connection: Connection,
        wanted: AuditFilter,
        limit: int = 100,
        after_index: int | None = None,
        size: int | None = None,
    ) -> AuditPage:
        """Return entries that match, newest first, and exactly how many match.

        :param after_index: continue behind this entry: the last one of the page before. Entries
            appended meanwhile are newer than the first page, so no page repeats or misses any.
        :param size: of the first page, so that every page counts the same entries.
        """
        size = self.size(connection) if size is None else size
        found = asking.find(connection, wanted, limit, after_index, size)
        return AuditPage(entries=queries.entries_at(connection, found.indexes), total=found.total, size=size)

    def entry(self, connection: Connection, index: int) -> AuditEntry | None:
        """Return one entry; None where there is none."""
        return next(iter(queries.entries_at(connection, [index])), None)

    def details(self, connection: Connection, index: int) -> tuple[dict[int, dict[str, Any]], int]:
        """Open what lies sealed beside an entry: by identity number, and how many are gone.

        :raises SealError: one was altered or moved.
        """
        opened = self._details.open(index, queries.details_of(connection, index))
        return opened, queries.detail_count(connection, index) - len(opened)

    def uses_by_day(
        self, connection: Connection, wanted: AuditFilter, first: int, last: int, *, by_action: bool = False
    ) -> list[asking.DayOfUses]:
        """Return what was done by day, purpose and destination; see ``asking.uses_by_day``."""
        return asking.uses_by_day(connection, wanted, first, last, by_action=by_action)

    def rebuild_index(self, committer: Committer) -> None:
        """Make the index by which the log is asked anew, from the entries."""
        asking.rebuild(committer)

    def fold(self, committer: Committer) -> None:
        """Bring the index by which the log is asked up to date, a part at a time."""
        asking.fold(committer)

    def index_of(self, connection: Connection, commit_no: int, at: Micros) -> int:
        """Return the index of the first entry of the commit that was made at ``at``.

        :raises AuditError: that commit has no entry.
        """
        found = queries.first_of(connection, commit_no, at)
        if found is None:
            raise AuditError(f"commit {commit_no} has no entry in the log; run `cdp audit verify`")
        return found

    def count(self, connection: Connection, wanted: AuditFilter) -> int:
        """Return how many entries match."""
        return asking.find(connection, wanted, 0).total

    def size(self, connection: Connection) -> int:
        """Return how many entries the log has."""
        return queries.read_head(connection).size

    def latest_checkpoint(self, connection: Connection) -> Checkpoint | None:
        """Return the newest published checkpoint."""
        return queries.latest_checkpoint(connection)

    def forget(self, connection: Connection, identity_nos: Iterable[int]) -> None:
        """Erase all that tells which entries concern these identities, and their details; no entry changes.

        What stays beside the entries, references and hashes of details, says nothing once the ``proof`` and
        ``person`` keys are destroyed; the log verifies as before.
        """
        queries.forget(connection, identity_nos)
