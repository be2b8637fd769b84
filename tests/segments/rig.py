"""A store, its warehouse and the segment service, all real, and a population put into them."""

from __future__ import annotations

from pathlib import Path

from generated import FIELDS, TRUST
from oracle import World
from population import Population
from pyroaring import BitMap

from cdp.segments import SegmentService
from cdp.warehouse import Mirror, Warehouse


class Rig:
    """A store, its warehouse and the segment service, all real."""

    def __init__(self, url: str, folder: Path) -> None:
        self.people = Population(url)
        self.mirror = Mirror(self.people.store, folder, FIELDS, self.people.clock)
        self.warehouse = Warehouse(folder, trust=lambda: {"plan": TRUST})
        self.restrained: set[int] = set()
        self.segments = SegmentService(
            self.people.store,
            self.people.committer,
            self.warehouse,
            FIELDS,
            self.people.clock,
            lambda _connection: BitMap(self.restrained),
            lambda _categories: frozenset(),
            bytes.hex,
        )

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
        for event in world.events:
            rig.people.event(
                batch,
                event["identity"],
                event["name"],
                event["properties"],
                at=event["at"],
                kind=event["type"],
            )
        for place, item in enumerate(world.traits):
            item["event_id"] = bytes([place * 37 % 256]) * 16
            rig.people.trait(
                batch,
                item["identity"],
                item["name"],
                item["value"],
                at=item["at"],
                source_id=item["source"],
                event_id=item["event_id"],
                sealed=item["value"] is None,
            )


def rig_of(folder: str) -> Rig:
    return Rig(f"sqlite:///{folder}/cdp.sqlite", Path(folder) / "warehouse")
