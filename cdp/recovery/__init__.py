"""Backups, restores, and the journal's replay: what stands between a restored database and its readers."""

from cdp.recovery.apart import KeptApart
from cdp.recovery.backup import back_up, back_up_keys
from cdp.recovery.erase import Eraser, Forget, Stop, StoppedError, Tell
from cdp.recovery.installation import Installation
from cdp.recovery.model import Asked, Erased, Manifest, Replayed, State
from cdp.recovery.restore import (
    check_empty,
    drop_derived,
    in_order,
    not_in_order,
    read_manifest,
    restore,
    restore_keys,
)
from cdp.recovery.service import Recovery
from cdp.recovery.tables import initialise

__all__ = [
    "Asked",
    "Erased",
    "Eraser",
    "Forget",
    "Installation",
    "KeptApart",
    "Manifest",
    "Recovery",
    "Replayed",
    "State",
    "Stop",
    "StoppedError",
    "Tell",
    "back_up",
    "back_up_keys",
    "check_empty",
    "drop_derived",
    "in_order",
    "initialise",
    "not_in_order",
    "read_manifest",
    "restore",
    "restore_keys",
]
