"""What a destination's key sees of a segment: an opaque id, as a name can tell why somebody is in it.

Invariants: every answer names a segment by that id. A key that was told a name may ask by it, but a name that
does not exist is refused in the same words as one that may not leave, and no refusal has a cause in it, which
would tell what a definition reads. The cause is in the audit log.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager

from cdp.access import Principal
from cdp.crypto import Keyring
from cdp.errors import DefinitionError, NotPermittedError
from cdp.segments import SegmentService

_REFUSED = "nothing of this segment may leave for this purpose now; the platform's officer can see why"


def segment_id(keyring: Keyring, segment: str) -> str:
    """Return the id by which destinations know a segment."""
    digest = hmac.new(keyring.secret("segment-ids"), b"cdp/segment-id/v1" + segment.encode(), hashlib.sha256)
    return f"s_{digest.hexdigest()[:16]}"


def named_segment(keyring: Keyring, segments: SegmentService, given: str, principal: Principal) -> str:
    """Return the name of the segment that a key means.

    :param given: its name; for a destination's key its id, too.
    :raises NotPermittedError: a destination's key names none.
    """
    if not principal.is_recipient:
        return given
    for held in segments.list():
        if given in {held.name, segment_id(keyring, held.name)}:
            return held.name
    raise NotPermittedError(_REFUSED)


@contextmanager
def without_cause(principal: Principal) -> Iterator[None]:
    """Let a destination's key know that it is refused, and not why.

    :raises NotPermittedError: the refusal.
    """
    try:
        yield
    except (NotPermittedError, DefinitionError):
        if not principal.is_recipient:
            raise
        raise NotPermittedError(_REFUSED) from None
