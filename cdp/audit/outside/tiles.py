"""Where the tiles of a log lie (C2SP tlog-tiles), pure.

A tile holds up to 256 consecutive hashes of one level of every eighth level of the tree; tile n of level L
begins with hash 256·n, which covers the entries from 256·n·256^L on. A partial tile, at the right edge, says
how many it holds: ``.p/W``. Entries lie in bundles of 256 likewise, under the name ``entries``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

WIDTH = 256
LEVELS = 8  # levels of the tree that one level of tiles spans
_PATH = re.compile(
    r"(?P<level>[0-9]|[1-5][0-9]|6[0-3]|entries)/"
    r"(?P<number>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class Tile(NamedTuple):
    """One tile.

    :param level: of tiles; None for a bundle of entries.
    :param width: hashes, or entries, from 1 to 256.
    """

    level: int | None
    number: int
    width: int = WIDTH


def parse_tile(path: str) -> Tile | None:
    """Return the tile that a path behind ``tile/`` names; None when it names none."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    level = None if found["level"] == "entries" else int(found["level"])
    number = int(found["number"].replace("x", "").replace("/", ""))
    tile = Tile(level, number, int(found["width"] or WIDTH))
    return tile if tile_path(tile) == path else None


def tile_path(tile: Tile) -> str:
    """Return the path of a tile behind ``tile/``: 1,234,067 of level 0 is ``0/x001/x234/067``."""
    groups = f"{tile.number:,}".split(",")
    groups = [f"x{int(group):03}" for group in groups[:-1]] + [f"{int(groups[-1]):03}"]
    level = "entries" if tile.level is None else str(tile.level)
    partial = "" if tile.width == WIDTH else f".p/{tile.width}"
    return f"{level}/{'/'.join(groups)}{partial}"


def tile_paths(size: int) -> Iterator[str]:
    """Yield the path of every tile of hashes of a log of ``size`` entries, then of its bundles of entries."""
    level = 0
    while size >> LEVELS * level:
        full, width = divmod(size >> LEVELS * level, WIDTH)
        yield from (tile_path(Tile(level, number)) for number in range(full))
        if width:
            yield tile_path(Tile(level, full, width))
        level += 1
    full, width = divmod(size, WIDTH)
    yield from (tile_path(Tile(None, number)) for number in range(full))
    if width:
        yield tile_path(Tile(None, full, width))
