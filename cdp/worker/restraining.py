"""What restrains somebody: it is stored before all else that waits, and taken when all else is refused.

A refusal, withdrawal, objection or opt-out, in whichever signal. ``may`` looks at a call that would be
refused, before anything is made of it, and may be wrong both ways: escaped letters hide a signal from it,
whose call is then refused and sent again like any other. ``does`` looks at what was heard, and decides.
"""

from __future__ import annotations

import msgspec

from cdp.consent import RESTRAINING
from cdp.ingest import Delivery, Prepared

_SIGNS = (b"onsent", b"gpc", b"gpp")  # consent, consentManagement, gdpr_consent, googleConsentMode…


def may(delivery: Delivery) -> bool:
    """Return whether a call may say something that restrains somebody."""
    if delivery.sec_gpc and delivery.source.kind == "browser":
        return True
    if delivery.statements:
        return any(said.state in RESTRAINING for said in delivery.statements)
    for_all = (msgspec.json.encode(delivery.context),) if delivery.context else ()
    return any(sign in raw for raw in (*for_all, *delivery.messages) for sign in _SIGNS)


def does(prepared: Prepared) -> bool:
    """Return whether what was prepared restrains somebody."""
    for item in prepared.events:
        said = item.classified.event.statements
        if said and any(one.state in RESTRAINING for one in said):
            return True
    return any(reject.heard is not None for reject in prepared.rejects)
