"""Whom each destination holds, of which segment, for which purpose: what a recall is computed from."""

from cdp.gate.deliveries.holding import Holding
from cdp.gate.deliveries.keep import Deliveries
from cdp.gate.deliveries.queries import Audience, Change

__all__ = ["Audience", "Change", "Deliveries", "Holding"]
