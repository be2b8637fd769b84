"""Whose data somebody may see who proved that some identifiers are theirs."""

from cdp.identity.reach.queries import reach_of
from cdp.identity.reach.walk import Reach, walk

__all__ = ["Reach", "reach_of", "walk"]
