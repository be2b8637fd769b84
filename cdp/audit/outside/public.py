"""The log's public face: its checkpoint as a note, its tiles, and proofs as files.

Invariants: everything here is derived from stored nodes and entries, and nothing of it goes beyond the newest
checkpoint, so that whatever is given out is signed for.
"""

from __future__ import annotations

import base64

from cdp.audit import merkle
from cdp.audit import queries as log_queries
from cdp.audit.outside import queries
from cdp.audit.outside.tiles import LEVELS, WIDTH, parse_tile
from cdp.audit.service import AuditLog
from cdp.errors import AuditError, NotFoundError
from cdp.store import Connection

PROOF_TYPE = "c2sp.org/tlog-proof@v1"


class Public:
    """What anybody may hold of a log without its keeper's word."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def note(self, connection: Connection) -> str:
        """Return the newest checkpoint as a signed note, with what witnesses signed of it.

        :raises NotFoundError: none is signed yet.
        """
        return self._newest(connection)[1]

    def tile(self, connection: Connection, path: str) -> bytes:
        """Return a tile of hashes, or a bundle of entries, each behind its length in two bytes.

        :param path: behind ``tile/``.
        :raises NotFoundError: it is no tile, or reaches beyond the newest checkpoint.
        """
        tile = parse_tile(path)
        if tile is None:
            raise NotFoundError("this is no path of a tile")
        depth = 0 if tile.level is None else LEVELS * tile.level
        first = tile.number * WIDTH
        end = first + tile.width
        if end > self._newest(connection)[0] >> depth:
            raise NotFoundError("the newest checkpoint does not cover this tile; ask for its partial one")
        if tile.level is None:
            found = [one.entry for one in queries.entries_between(connection, first, end)]
            whole = b"".join(len(data).to_bytes(2) + data for data in found)
        else:
            places = [merkle.position(depth, index) for index in range(first, end)]
            stored = log_queries.nodes_at(connection, places)
            found = [stored[place] for place in places if place in stored]
            whole = b"".join(found)
        if len(found) != tile.width:
            raise AuditError("the audit log has lost what stands in a tile; run `cdp audit verify`")
        return whole

    def proof(self, connection: Connection, index: int) -> str:
        """Return a C2SP tlog-proof: an entry (as ``extra``), its path, and the newest checkpoint.

        :raises NotFoundError: the newest checkpoint does not cover that entry.
        """
        size, note = self._newest(connection)
        found = queries.entries_between(connection, index, index + 1) if 0 <= index < size else []
        if not found:
            raise NotFoundError("the newest checkpoint covers no entry with this index")
        hashes = self._audit.inclusion(connection, index, size)
        lines = [PROOF_TYPE, f"extra {_base64(found[0].entry)}", f"index {index}", *map(_base64, hashes)]
        return "\n".join(lines) + f"\n\n{note}"

    def _newest(self, connection: Connection) -> tuple[int, str]:
        latest = self._audit.latest_checkpoint(connection)
        if latest is None:
            raise NotFoundError("no checkpoint is signed yet; POST /api/v1/audit/checkpoint signs one")
        return next(queries.notes(connection, latest.size, latest.size))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
