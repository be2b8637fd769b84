"""One person across the stages: what is known, where it came from, who used it."""

from cdp.portrait.conflicts import Conflict, Conflicts, Word
from cdp.portrait.detail import Detail, EntryDetails, OpenedDetails
from cdp.portrait.draw import Evaluated, evaluated
from cdp.portrait.effects import Holder, Relinked, Side
from cdp.portrait.model import Link, Membership, Portrait, Provenance, ShownEvent, ShownIdentifier, Tag
from cdp.portrait.preview import Previewer
from cdp.portrait.reasons import ShownReason, ShownWhy
from cdp.portrait.relink import Relinker
from cdp.portrait.reveal import Disclosure, Revealer
from cdp.portrait.service import PortraitService

__all__ = [
    "Conflict",
    "Conflicts",
    "Detail",
    "Disclosure",
    "EntryDetails",
    "Evaluated",
    "Holder",
    "Link",
    "Membership",
    "OpenedDetails",
    "Portrait",
    "PortraitService",
    "Previewer",
    "Provenance",
    "Relinked",
    "Relinker",
    "Revealer",
    "ShownEvent",
    "ShownIdentifier",
    "ShownReason",
    "ShownWhy",
    "Side",
    "Tag",
    "Word",
    "evaluated",
]
