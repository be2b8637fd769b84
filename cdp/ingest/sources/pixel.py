"""Pixels: one event in the query of an image's address, as mails and pages without scripts send it.

Segment's has JSON under ``data``, in base64 of either alphabet or as it is. Rudder's has each field as a
parameter: ``context.page.path=/x`` is ``{"context": {"page": {"path": "/x"}}}``, every value a text.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import msgspec

from cdp.errors import MalformedBodyError

_MAX_DEPTH = 16
_STANDARD = str.maketrans("-_ ", "+/+")  # a plus that nobody encoded comes out of a query as a space


def segment_pixel(data: str) -> bytes:
    """Return the JSON of the event in the parameter ``data`` (Segment, "Pixel Tracking API").

    :raises MalformedBodyError: it is neither JSON nor base64.
    """
    if data.lstrip().startswith("{"):
        return data.encode()
    text = data.strip().translate(_STANDARD).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedBodyError("`data` is neither a JSON object nor one in base64") from None


def rudder_pixel(parameters: Iterable[tuple[str, str]]) -> bytes:
    """Return the JSON of the event whose fields are these parameters; of two of one name the first counts.

    :raises MalformedBodyError: a field is both a text and an object, or lies too deep.
    """
    event: dict[str, Any] = {}
    for name, value in parameters:
        *path, last = name.split(".")
        if len(path) > _MAX_DEPTH:
            raise MalformedBodyError(f"a parameter names more than {_MAX_DEPTH} levels")
        place = event
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise MalformedBodyError("a parameter is both a text and an object")
        if isinstance(place.setdefault(last, value), dict):
            raise MalformedBodyError("a parameter is both a text and an object")
    return msgspec.json.encode(event)
