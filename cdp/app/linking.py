"""Wires what changes links by somebody's judgement: a steward's, or a machine's that a steward reviews."""

from __future__ import annotations

from functools import partial

from cdp.clock import Clock
from cdp.consent import ConsentLedger
from cdp.crypto import Keyring, ProfileIds
from cdp.gate import Gate
from cdp.identity import IdentityService, Steward
from cdp.matching import Chooser, Matching, ReviewQueue, Settler, Watch
from cdp.portrait import Relinker
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.store import Committer, Store


def linking(
    store: Store,
    committer: Committer,
    keyring: Keyring,
    gate: Gate,
    ledger: ConsentLedger,
    profiles: ProfileService,
    segments: SegmentService,
    identity: IdentityService,
    ids: ProfileIds,
    clock: Clock,
) -> tuple[Relinker, Matching, ReviewQueue, Watch]:
    """Return the verbs of stewards, matching, the queue of what it proposes and what stewards look at."""
    steward = Steward(identity, keyring, committer, clock)
    relinker = Relinker(committer, keyring, ids, identity, ledger, segments, steward, gate)
    settler = Settler(committer, gate, identity, clock)
    merge = partial(relinker.merge, reason="match_review", dry_run=False)
    return (
        relinker,
        Matching(store, committer, gate, Chooser(store, committer, gate, profiles), settler, clock),
        ReviewQueue(committer, settler, ids, merge, clock),
        Watch(settler, identity),
    )
