"""Erasure on request: ``cdp/recovery/erase.py`` does it; here it is asked for, ended and certified."""

from cdp.rights.erase.service import ErasureService

__all__ = ["ErasureService"]
