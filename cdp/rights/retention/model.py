"""Runs of retention, and the legal holds that stop it."""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.clock import Micros

RunState = Literal["running", "done", "stopped"]
HoldReason = Literal["legal_claim", "regulator", "tax_audit", "investigation", "other"]
EVERYBODY = 0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One look through everything for what is past its period.

    :param dry: nothing is deleted, only counted.
    :param schedule: SHA-256 of the periods, and of what decides which of them fit.
    :param now: what is past its period *then* is deleted; fixed when the run begins.
    :param position: identities up to this number are done; ``upto`` is the last one.
    :param counts: ``events.ROW``, ``values.ROW``, ``traits.ROW``: deleted by that row of retention.yaml;
        ``held``: kept by a legal hold; ``unreadable``: envelopes whose key is lost.
    :param identities: of how many identities something was deleted.
    """

    run_id: str
    dry: bool
    actor: str
    schedule: str
    now: Micros
    state: RunState
    position: int
    upto: int
    counts: dict[str, int]
    identities: int
    changed_at: Micros


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold: what it covers is deleted neither by retention nor by an erasure until it is lifted.

    :param identity_no: whose data, with all that is one person with it when it is asked; ``EVERYBODY``.
    :param categories: of which data, with all below.
    :param reference: of the file elsewhere that says why: letters, digits, ``.``, ``-``, ``/``.
    """

    hold_id: str
    identity_no: int
    categories: tuple[str, ...]
    reason: HoldReason
    reference: str
    placed_by: str
    placed_at: Micros
    lifted_at: Micros | None = None
