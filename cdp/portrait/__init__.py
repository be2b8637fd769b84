"""One person across the stages: what is known, where it came from, who used it."""

from cdp.portrait.model import Portrait
from cdp.portrait.service import PortraitService

__all__ = ["Portrait", "PortraitService"]
