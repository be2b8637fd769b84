"""The changes of an audience since a cursor, for its destination.

1. The key carries the purpose and belongs to the destination.
2. The feed is brought up to date (``cdp/gate/feed.py``). When that is refused (switch, contract, minimum
   audience, policies) there are removals to tell nevertheless, and nothing else.
3. A page of changes is read; those who are there are fetched through the gate like any export, so nobody is
   in it who is not permitted now, and all of them count as delivered.
4. A row says ``add`` or ``update`` when its HMAC is not that of the row delivered up to the cursor. None is
   kept of whoever is left out.
5. When all of that is stored, which may take its time, everybody in the page is looked at once more; it ends
   before the first of whom anything happened meanwhile, who is read anew with the next one.

Invariants: a repeated cursor gives the same or newer truth; a removal stays in the feed, so none is lost; a
cursor holds numbers only. A page may be empty and not the last one; an *add* of who is there changes them.
A cursor that is not of this feed is as none: the feed is told from its start, and the page says so. So who
reads on after a restore, when each feed is another one, misses nothing and keeps nobody.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, takewhile
from typing import Any

import msgspec
from pyroaring import BitMap

from cdp.access import Principal
from cdp.crypto import Keyring
from cdp.errors import InvalidInputError, KeyAccessError, NotFoundError, NotPermittedError
from cdp.export.formats import PROFILE_REF
from cdp.export.names import named_segment, without_cause
from cdp.export.outbox import Outbox
from cdp.gate import UNSUBSCRIBE_URL, Audience, Change, Gate, Request
from cdp.segments import SegmentService
from cdp.store import Committer, retrying

_AT_ONCE = 500


class Cursor(msgspec.Struct, frozen=True):
    """How far a destination has read.

    :param audience_no: of which feed; of none before the first page.
    :param seq: the last change that it has; ``removed`` the last removal, further on while it gets only
        those.
    """

    audience_no: int = 0
    seq: int = 0
    removed: int = 0


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """A page.

    :param changes: ``{"op", "profile_ref", …}``.
    :param from_start: everybody is named from here on; whoever is not is not in the audience.
    """

    changes: list[dict[str, Any]]
    from_start: bool
    cursor: Cursor
    has_more: bool


class Feeds:
    """Delta feeds through the gate."""

    def __init__(
        self, committer: Committer, keyring: Keyring, gate: Gate, segments: SegmentService, outbox: Outbox
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._gate = gate
        self._segments = segments
        self._outbox = outbox

    def changes(
        self, principal: Principal, segment: str, purpose: str, cursor: Cursor, limit: int
    ) -> Changes:
        """Return the changes since a cursor.

        :param segment: its id, as destinations see it.
        :raises NotPermittedError: the key lacks the purpose, or nothing may leave and there is no removal.
        :raises NotFoundError: there is no such segment or destination.
        """
        if not principal.may_state(purpose):  # 1
            raise NotPermittedError("this key may not use data for this purpose")
        name = named_segment(self._keyring, self._segments, segment, principal)
        asked = Request(segment=name, destination=principal.destination, purpose=purpose, principal=principal)
        refused: Exception | None = None
        try:  # 2
            with without_cause(principal):
                self._gate.feed.refresh(asked)
        except (NotPermittedError, NotFoundError, InvalidInputError) as error:
            refused = error
        audience = self._gate.feed.find(principal.destination, purpose, name)
        if audience is None:
            raise refused or NotFoundError("there is no such feed for this key")
        if cursor.audience_no != audience.audience_no:
            cursor = Cursor()
        if refused is None:
            try:
                with without_cause(principal):
                    return self._page(principal, audience, cursor, limit)
            except NotPermittedError as error:  # switched off in between
                refused = error
        found = self._removals(audience, cursor, limit)
        if not found.changes:
            raise refused
        return found

    def _page(self, principal: Principal, audience: Audience, cursor: Cursor, limit: int) -> Changes:
        rows = self._gate.feed.page(audience, cursor.seq, limit + 1, only_removed=False)
        page = rows[:limit]
        there = BitMap(row.anchor for row in page if row.removed is None)
        shown: dict[int, dict[str, Any]] = {}
        moved: Callable[[], BitMap] = BitMap
        if there and audience.fed_export is not None:
            shown, moved = self._fetched(principal, audience, there)  # 3
        made = self._made(audience, [row for row in page if row.removed is not None])
        delivered: list[tuple[int, bytes | None, int]] = []
        for row in page:
            if row.anchor not in shown:
                if row.digest is not None:
                    delivered.append((row.anchor, None, row.seq))
                continue
            digest = self._digest(shown[row.anchor])
            since = row.digest_seq if digest == row.digest else row.seq
            if since > cursor.seq:  # 4
                op = "add" if row.added_seq > cursor.seq or row.digest is None else "update"
                made[row.seq] = {"op": op, **shown[row.anchor]}
            if digest != row.digest:
                delivered.append((row.anchor, digest, row.seq))
        if delivered:
            retrying(partial(self._keep, audience, delivered))
        late = moved()  # 5
        page = list(takewhile(lambda row: row.anchor not in late, page))
        at = page[-1].seq if page else cursor.seq
        return Changes(
            changes=[made[seq] for seq in sorted(made) if seq <= at],
            from_start=cursor.seq == 0,
            cursor=Cursor(audience.audience_no, at, max(at, cursor.removed)),
            has_more=len(rows) > len(page),
        )

    def _removals(self, audience: Audience, cursor: Cursor, limit: int) -> Changes:
        """Return removals alone; the cursor waits where it is for everything else."""
        after = max(cursor.seq, cursor.removed)
        rows = self._gate.feed.page(audience, after, limit + 1, only_removed=True)
        page = rows[:limit]
        made = self._made(audience, page)
        return Changes(
            changes=[made[seq] for seq in sorted(made)],
            from_start=False,
            cursor=Cursor(audience.audience_no, cursor.seq, page[-1].seq if page else after),
            has_more=len(rows) > limit,
        )

    def _fetched(
        self, principal: Principal, audience: Audience, anchors: BitMap
    ) -> tuple[dict[int, dict[str, Any]], Callable[[], BitMap]]:
        """Return anchor → row, of those who are permitted now; and what tells of whom that may not be so."""
        rendering, named, moved = self._gate.render_some(audience.fed_export or "", principal, anchors)
        names = [column.name for column in rendering.columns]
        shown = {
            named[row.profile_ref]: {
                PROFILE_REF: row.profile_ref,
                **{name: value for name, value in zip(names, row.values, strict=True) if value is not None},
            }
            for row in chain.from_iterable(iter(partial(rendering.take, _AT_ONCE), []))
        }
        return shown, moved

    def _made(self, audience: Audience, rows: Sequence[Change]) -> dict[int, dict[str, Any]]:
        """Return seq → removal, of everybody who can be named."""
        named = self._gate.feed.removed(audience, [row.anchor for row in rows])
        made = {}
        for row in rows:
            profile_ref = named.get(row.anchor) or self._erased(row)
            if profile_ref is not None:
                made[row.seq] = {"op": "remove", PROFILE_REF: profile_ref, "reason": row.removed}
        return made

    def _erased(self, row: Change) -> str | None:
        if row.ref is None or row.message_id is None:
            return None
        try:
            return self._outbox.opened_ref(row.message_id, row.anchor, row.ref)
        except KeyAccessError:
            return None

    def _keep(self, audience: Audience, rows: Sequence[tuple[int, bytes | None, int]]) -> None:
        with self._committer.batch() as batch:
            self._gate.feed.delivered(batch, audience, rows)

    def _digest(self, row: Mapping[str, Any]) -> bytes:
        key = self._keyring.secret("feed-digests")
        # a link is another one each time, which is no news of the person
        told = {name: value for name, value in row.items() if name != UNSUBSCRIBE_URL}
        return hmac.digest(key, msgspec.json.encode(told, order="sorted"), "sha256")[:16]
