"""Rotation of the key that wraps all others, which records its steps in the audit log."""

from __future__ import annotations

from functools import partial

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.crypto import Keyring, Rotation
from cdp.store import Committer


def wire_rotation(keyring: Keyring, committer: Committer, clock: Clock, backup_days: int) -> Rotation:
    """Return the rotation of a keyring.

    :param backup_days: days for which backups of the key database are kept.
    """
    return Rotation(keyring, partial(_record, committer), clock, backup_days)


def _record(committer: Committer, action: str, actor: str, numbers: dict[str, int]) -> None:
    with committer.batch() as batch:
        batch.record(Entry(action=action, actor=actor, object=dict(numbers)))
