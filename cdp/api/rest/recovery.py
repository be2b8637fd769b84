"""Backups on record, and the way out of a restored database whose journal is lost."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from cdp.api.auth import allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.audit import Entry
from cdp.clock import rfc3339
from cdp.errors import InvalidInputError
from cdp.recovery import Asked


class BackupBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A backup that is about to be made.

    :param keys: of the key database too.
    """

    keys: bool = False


class ReplayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A replay.

    :param without_journal: none is there, and who withdrew or was erased after the backup is back.
    :param reason: why, as a code.
    """

    without_journal: bool = False
    reason: Literal["journal_lost", "test", ""] = ""


@post("/recovery/backups", opt=allow("admin"), sync_to_thread=True)
def begin_backup(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[BackupBody]
) -> dict[str, Any]:
    """Record that a backup is made, and return what its manifest needs: policies, journal positions."""
    positions = services.journal.positions()
    with services.committer.batch() as batch:
        lines = sum(position.lines for position in positions.values())
        counts = {"segments": len(positions), "lines": lines}
        batch.record(
            Entry(
                action="recovery.backup",
                actor=caller.actor,
                object={"keys": int(data.keys), "bundle": services.bundle.sha256},
                counts=counts,
            )
        )
    asked = Asked(at=rfc3339(services.clock.now()), bundle=services.bundle.sha256, journal=positions)
    return dict(msgspec.to_builtins(asked))


@get("/recovery", opt=allow("officer", "admin", always=True), sync_to_thread=False)
def read_recovery(services: InjectedServices) -> dict[str, Any]:
    """Return whether the database is in order, and why not."""
    state = services.recovery.state
    return {"ready": state.ready, "reason": state.reason or None}


@post("/recovery/replay", opt=allow("officer", always=True), sync_to_thread=True, status_code=200)
def replay(services: InjectedServices, caller: InjectedCaller, data: JSONBody[ReplayBody]) -> dict[str, Any]:
    """Replay the journal into a restored database, or put it in order without one."""
    if data.without_journal != bool(data.reason):
        raise InvalidInputError("a reason is given with without_journal, and only then")
    done = services.recovery.replay(caller.actor, without_journal=data.without_journal, reason=data.reason)
    return dict(msgspec.to_builtins(done))


HANDLERS = [begin_backup, read_recovery, replay]
