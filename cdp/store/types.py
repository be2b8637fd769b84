"""Portable columns: the same six on SQLite and PostgreSQL.

An instant is a number of microseconds (``cdp.clock.Micros``), so that both databases compare and
index it alike and no driver converts time zones.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, LargeBinary, Text

Number = BigInteger
"""A 64-bit integer."""
Instant = BigInteger
"""Microseconds since 1970 UTC."""
Name = Text
"""A short text that is never personal data."""
Json = Text
"""JSON text of clear, declared, non-personal values."""
Bytes = LargeBinary
"""Raw bytes: hashes, indexes, sealed envelopes."""
Flag = Boolean
"""True or false."""
