"""A store, its warehouse and the segment service, all real, and a population put into them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generated import FIELDS, TRUST, events, groups, traits
from hypothesis import strategies as st
from oracle import World
from population import NOW, Population
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.segments import Change, SegmentService, Table, queries
from cdp.store import Batch
from cdp.warehouse import Mirror, Warehouse
from cdp.warehouse.queries import profiles_of


class Rig:
    """A store, its warehouse and the segment service, all real."""

    def __init__(self, url: str, folder: Path) -> None:
        self.people = Population(url)
        self.mirror = Mirror(self.people.store, folder, FIELDS, self.people.clock)
        self.warehouse = Warehouse(folder, trust=lambda: {"plan": TRUST})
        self.restrained: set[int] = set()
        self._observed = 0
        self.segments = self.process()

    def process(self) -> SegmentService:
        """Return the segment service of one process; each call is another process."""
        return SegmentService(
            self.people.store,
            self.people.committer,
            self.warehouse,
            FIELDS,
            self.people.clock,
            lambda connection: BitMap(profiles_of(connection, self.restrained).values()),
            lambda _categories: frozenset(),
            bytes.hex,
        )

    def define(self, world: World, tags: dict[str, Any]) -> None:
        """Apply tags, here and in the other world."""
        for name, tag in tags.items():
            self.segments.tags.apply(
                "system", {"name": name, "kind": "behaviour", "timezone": world.zone, **tag}
            )
        world.tags |= tags

    def values(self, profiles: list[int]) -> dict[int, dict[str, Any]]:
        """Return what the tags say of some people."""
        with self.people.store.reading() as connection:
            found = self.segments.tags.values(connection, BitMap(profiles))
        return {number: {one.name: one.value for one in said} for number, said in found.items()}

    def follow(self) -> None:
        """Bring the followed segments to the head of the store."""
        self.segments.follow.turn()

    def slide(self) -> None:
        """Follow as of this very instant, windows too."""
        self.segments.follow.turn(slide=True)

    def stored(self, name: str) -> BitMap:
        """Return the members of a segment that stand in the store."""
        with self.people.store.reading() as connection:
            held = queries.members(connection, name)
        assert held is not None
        return held.bitmap

    def changes(self) -> list[Change]:
        """Return who came and went, from the beginning."""
        return list(self.segments.changes(0))

    def touch(self) -> None:
        """Commit something about nobody."""
        with self.people.committer.batch():
            pass

    def happen(
        self,
        world: World,
        seen: list[dict[str, Any]],
        observed: list[dict[str, Any]],
        group_of: list[int] | None,
    ) -> None:
        """Let this happen in one batch, here and in the other world; nothing happens to who was erased."""
        with self.people.committer.batch() as batch:
            if group_of is not None:
                self.regroup(batch, world, group_of)
            seen = [event for event in seen if event["identity"] in world.profile_of]
            observed = [item for item in observed if item["identity"] in world.profile_of]
            self.write(batch, seen, observed)
        world.events += seen
        world.traits += observed

    def write(self, batch: Batch, seen: list[dict[str, Any]], observed: list[dict[str, Any]]) -> None:
        """Store events and observations; each of these is given an event of its own."""
        for event in seen:
            self.people.event(
                batch,
                event["identity"],
                event["name"],
                event["properties"],
                at=event["at"],
                kind=event["type"],
            )
        for item in observed:
            self._observed += 1
            item["event_id"] = (self._observed * 40_503 % 2**16).to_bytes(2) * 8  # in no order
            self.people.trait(
                batch,
                item["identity"],
                item["name"],
                item["value"],
                at=item["at"],
                source_id=item["source"],
                event_id=item["event_id"],
                sealed=item["value"] is None,
            )

    def regroup(self, batch: Batch, world: World, group_of: list[int]) -> None:
        """Merge and split people, here and in the other world, until they are these groups."""
        now = profiles([group if n in world.profile_of else 0 for n, group in enumerate(group_of, 1)])
        now = {n: p for n, p in now.items() if n in world.profile_of}
        moved = {n for n, p in now.items() if p != world.profile_of[n]}
        for group in {now[n] for n in moved}:
            self.people.link(batch, [n for n, p in now.items() if p == group])
        world.profile_of = now

    def erase(self, world: World, number: int) -> None:
        """Erase the person of an identity, if they are there, here and in the other world."""
        if number in world.profile_of:
            self.people.erase(*world.forget(world.profile_of[number]))

    def close(self) -> None:
        self.warehouse.close()
        self.people.close()


def profiles(group_of: list[int]) -> dict[int, int]:
    """Identity → smallest identity of its group."""
    return {
        number: min(n for n, g in enumerate(group_of, 1) if g == group)
        for number, group in enumerate(group_of, 1)
    }


def load(rig: Rig, world: World) -> None:
    with rig.people.committer.batch() as batch:
        for group in set(world.profile_of.values()):
            rig.people.link(batch, [n for n, p in world.profile_of.items() if p == group])
        rig.write(batch, world.events, world.traits)


def rig_of(folder: str) -> Rig:
    return Rig(f"sqlite:///{folder}/cdp.sqlite", Path(folder) / "warehouse")


def happened(rig: Rig, *histories: Sequence[tuple[str, Micros]]) -> None:
    """Store a person for each history of (event, instant)."""
    with rig.people.committer.batch() as batch:
        for number, history in enumerate(histories, 1):
            rig.people.link(batch, [number])
            for name, at in history:
                rig.people.event(batch, number, name, at=at)
    rig.mirror.refresh()


def exact(tables: Sequence[Table]) -> list[list[int]]:
    """Show the numbers of tables as they are."""
    return [[len(cell.members) for cell in table] for table in tables]


worlds = st.builds(
    lambda group_of, seen, observed: World(profiles(group_of), seen, observed, TRUST, {"plan"}, NOW),
    groups,
    st.lists(events, max_size=14),
    st.lists(traits, max_size=10),
)
"""Six identities, who of them is one person, what happened and what was said of them."""
