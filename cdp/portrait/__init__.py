"""One person across the stages: what is known, where it came from, who used it."""

from cdp.portrait.model import Portrait
from cdp.portrait.relink import Relinker
from cdp.portrait.reveal import Disclosure, Revealer
from cdp.portrait.service import PortraitService

__all__ = ["Disclosure", "Portrait", "PortraitService", "Relinker", "Revealer"]
