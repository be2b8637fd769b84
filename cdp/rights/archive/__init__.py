"""Access and portability: one archive of what is kept of a person, for that person (GDPR Art. 15 and 20)."""

from cdp.rights.archive.context import Stages
from cdp.rights.archive.model import Archive
from cdp.rights.archive.schema import schema
from cdp.rights.archive.service import HEADERS, LIFETIME, Archives, Download

__all__ = ["HEADERS", "LIFETIME", "Archive", "Archives", "Download", "Stages", "schema"]
