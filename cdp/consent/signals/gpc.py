"""The Global Privacy Control → statements (W3C GPC; specs: consent-signals.md §3). Pure.

It opts out of the purposes that policy names, for the device, its profile and the known person: an ordinary
restraint. It is a stamp of the browser, sent with every request, and so costs a row only when it is news.
"""

from __future__ import annotations

from cdp.clock import Micros
from cdp.consent.model import Statement
from cdp.policy import Gpc

UNDATED: Micros = -1
"""The time of a statement that is as old as the message that carries it."""
HEADER = b'{"Sec-GPC":"1"}'
CONTEXT = b'{"context":{"gpc":true}}'


def statements(gpc: Gpc, evidence: bytes) -> list[Statement]:
    """Return what the control opts out of.

    :param evidence: where it was read.
    """
    return [
        Statement(
            purpose=purpose,
            state="opted_out",
            act=False,
            event_time=UNDATED,
            signal="gpc",
            method="stamp",
            evidence=evidence,
        )
        for purpose in gpc.opts_out_of
    ]
