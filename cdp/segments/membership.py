"""membership: the algebra of sets that combines what the leaves found. Pure.

``all`` intersects, ``any`` unites, ``not`` takes the rest of everyone. A nested segment is evaluated in
the same pass, on the same snapshot and for the same moment, and only once.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyroaring import BitMap

from cdp.segments.definition import All, Any_, Definition, Leaf, Node, Not, Used


class Evaluation:
    """One pass over a definition.

    :param found: each leaf's profiles.
    :param used: what nested segments and tags stand for, free of cycles.
    :param everyone: all profiles.
    """

    def __init__(
        self, found: Mapping[Leaf, BitMap], used: Mapping[Used, Definition], everyone: BitMap
    ) -> None:
        self._found = found
        self._used = used
        self._everyone = everyone
        self._done: dict[Used, BitMap] = {}

    def __call__(self, node: Node) -> BitMap:
        """Return the profiles for which ``node`` holds; the result must not be changed."""
        if isinstance(node, All):
            return BitMap.intersection(*map(self, node.parts))
        if isinstance(node, Any_):
            return BitMap.union(*map(self, node.parts))
        if isinstance(node, Not):
            return self._everyone - self(node.part)
        if isinstance(node, Used):
            if node not in self._done:
                self._done[node] = self(self._used[node].where)
            return self._done[node]
        return self._found[node]
