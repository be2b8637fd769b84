"""A made-up crowd: people, one in eleven of them with two identities, and a year of their events.

The same numbers give the same crowd. Events come in slices, older ones first, each as large as a full run of
the mirror. ``fill`` puts them into a store and its mirror:

- where ``one_in`` is 1 every row goes into the store, and the mirror makes its files of that;
- where it is more, only what concerns one in so many profiles goes into the store, and the files are written
  here, sorted, cut and listed as the mirror's merges leave them. So can be asked what no disk at hand would
  hold as rows, and followed for those who are in the store.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from cdp.api import Services
from cdp.clock import DAY, Micros
from cdp.identity.tables import identifier_index, profile_members
from cdp.ingest.tables import events
from cdp.profiles.tables import trait_observations
from cdp.store import Batch, insert_many, read_head
from cdp.warehouse import declared, rewrite, shape
from cdp.warehouse.model import DATASETS, EVENTS, KEYS, MEMBERS, TRAITS, File, Manifest
from cdp.warehouse.queries import batch_of

NAMES = (
    "Product Viewed",
    "Product Added",
    "Email Opened",
    "Order Completed",
    "Cart Viewed",
    "Coupon Applied",
)
COUNTRIES = ("DE", "FR", "GB", "US", "CN", "JP", "BR", "IN")
CURRENCIES = ("EUR", "USD")
_SHARES = (0.45, 0.20, 0.15, 0.12, 0.06, 0.02)
_PRODUCTS = 2  # the names before this one are about a product
_SHOWN = ("identity_no", "name", "occurred_at", "p_revenue", "p_currency", "p_product_id")
_SLICE = 4_194_304
_COMMIT = 50_000  # rows of one commit
_YEAR = 365 * DAY
_EVENT = (
    "batch", "seq", "identity_no", "event_id", "source_id", "type", "name",
    "occurred_at", "stamped_at", "received_at", "properties", "sealed",
)  # fmt: skip
_MEMBER, _INDEX = (
    ("identity_no", "profile_no", "cluster_no", "batch"),
    ("blind_index", "identity_no", "version"),
)
_TRAIT = (
    "batch", "seq", "identity_no", "name", "value", "source_id", "observed_at", "event_id",
)  # fmt: skip


class Crowd:
    """People, numbered from 1, and ``count`` events of the year before ``now``.

    :param one_in: one in so many profiles is in the store.
    """

    def __init__(self, count: int, people: int, now: Micros, one_in: int = 1) -> None:
        self.count = count
        self.people = people
        self.now = now
        self.one_in = one_in

    def profile_of(self, identities: Any) -> Any:
        """Return the profiles of an array of identities."""
        return np.where(identities % 11 == 0, identities - 1, identities)

    def stored(self, identities: Any) -> Any:
        """Return which of an array of identities are in the store."""
        return self.profile_of(identities) % self.one_in == 0

    def fill(self, services: Services) -> None:
        """Put everybody, and all that happened, into an empty store and its mirror."""
        files: dict[str, list[File]] = {dataset: [] for dataset in DATASETS}
        for start in range(1, self.people + 1, _SLICE):
            numbers = np.arange(start, min(self.people + 1, start + _SLICE))
            commit_no = self._commit_people(services, numbers[self.stored(numbers)])
            if self.one_in > 1:
                files[MEMBERS] += _run(services, MEMBERS, self._members(numbers, commit_no))
                files[TRAITS] += _run(services, TRAITS, self._traits(numbers, services))
        for start in range(0, self.count, _SLICE):
            happened = self._slice(start, min(_SLICE, self.count - start))
            mine = happened.filter(pa.array(self.stored(happened["identity_no"].to_numpy())))
            commit_no = self._commit_events(services, mine)
            if self.one_in > 1:
                table = happened.append_column("commit_no", pa.array(np.full(len(happened), commit_no)))
                files[EVENTS] += _run(services, EVENTS, table)
        if self.one_in == 1:
            services.mirror.refresh()
            services.mirror.compact()
        else:
            _publish(services, files)

    def happen(self, services: Services, count: int, draw: np.random.Generator) -> None:
        """Commit as many events of now, each of somebody in the store."""
        numbers = draw.integers(1, self.people // self.one_in, count) * self.one_in
        mine = numbers[self.stored(numbers)]
        at = np.full(len(mine), self.now)
        self._commit_events(services, _happened(draw, mine, at))

    def _slice(self, start: int, count: int) -> pa.Table:
        draw = np.random.default_rng([7, start])
        begin = self.now - _YEAR + _YEAR * start // self.count
        at = begin + np.sort(draw.integers(0, _YEAR * count // self.count, count))
        return _happened(draw, draw.integers(1, self.people + 1, count), at)

    def _commit_people(self, services: Services, numbers: Any) -> int:
        commit_no = 0
        for some in _parts(numbers):
            with services.committer.batch() as batch:
                told = some.tolist()
                profiles = self.profile_of(some).tolist()
                members = [(no, its, its, batch.id) for no, its in zip(told, profiles, strict=True)]
                insert_many(batch.connection, profile_members, _MEMBER, members)
                indexes = [(no.to_bytes(16), no, 2) for no in told]
                insert_many(batch.connection, identifier_index, _INDEX, indexes)
                traits = [
                    (batch.id, seq, no, "country", f'"{country}"', 1, self.now - _YEAR, no.to_bytes(16))
                    for seq, (no, country) in enumerate(zip(told, _countries(some).tolist(), strict=True))
                ]
                insert_many(batch.connection, trait_observations, _TRAIT, traits)
            commit_no = batch.commit_no
        return commit_no

    def _commit_events(self, services: Services, happened: pa.Table) -> int:
        commit_no = 0
        for some in happened.to_batches(_COMMIT) or [happened]:
            with services.committer.batch() as batch:
                insert_many(batch.connection, events, _EVENT, list(_rows(batch, some)))
            commit_no = batch.commit_no
        return commit_no

    def _members(self, numbers: Any, commit_no: int) -> pa.Table:
        profiles, commits = self.profile_of(numbers), np.full(len(numbers), commit_no)
        return pa.table({"identity_no": numbers, "profile_no": profiles, "commit_no": commits})

    def _traits(self, numbers: Any, services: Services) -> pa.Table:
        told = numbers.tolist()
        same = (["country"], [self.now - _YEAR], [1])
        name, at, source = (one * len(told) for one in same)
        texts = [f'"{country}"' for country in _countries(numbers).tolist()]
        columns = [told, name, at, source, [number.to_bytes(16) for number in told], texts]
        return shape.trait_table(columns, declared(services.bundle.fields), Counter())


def _countries(identities: Any) -> Any:
    return np.array(COUNTRIES)[identities * 7919 % 8191 % len(COUNTRIES)]


def _happened(draw: np.random.Generator, whose: Any, at: Any) -> pa.Table:
    """Return events of some people at some instants, drawn."""
    count = len(whose)
    kinds = draw.choice(len(NAMES), count, p=_SHARES).astype(np.int8)
    names = pa.DictionaryArray.from_arrays(kinds, list(NAMES)).dictionary_decode()
    is_order, has_product = kinds == NAMES.index("Order Completed"), kinds < _PRODUCTS
    revenue = pa.array(draw.integers(500, 20_000, count) / 100, mask=~is_order)
    currencies = pa.array(draw.integers(0, len(CURRENCIES), count).astype(np.int8), mask=~is_order)
    products = pa.array(draw.integers(0, 5000, count).astype(np.int16), mask=~has_product)
    return pa.table(
        {
            "identity_no": whose,
            "type": pa.repeat("track", count),
            "name": names,
            "occurred_at": at,
            "received_at": at,
            "source_id": pa.repeat(pa.scalar(1, pa.int64()), count),
            "p_revenue": revenue,
            "p_currency": pa.DictionaryArray.from_arrays(currencies, list(CURRENCIES)).dictionary_decode(),
            "p_product_id": pa.DictionaryArray.from_arrays(
                products, [f"p{number}" for number in range(5000)]
            ).dictionary_decode(),
        }
    )


def _rows(batch: Batch, happened: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    columns = (happened.column(name).to_pylist() for name in _SHOWN)
    mark = batch.id.to_bytes(8)
    for seq, (number, name, at, revenue, currency, product) in enumerate(zip(*columns, strict=True)):
        properties = None
        if revenue is not None:
            properties = f'{{"revenue":{revenue},"currency":"{currency}"}}'
        elif product is not None:
            properties = f'{{"product_id":"{product}"}}'
        event_id = mark + seq.to_bytes(8)
        yield (batch.id, seq, number, event_id, 1, "track", name, at, at, at, properties, b"x")


def _parts(numbers: Any) -> Iterator[Any]:
    """Cut into commits; one without rows where there is nothing."""
    yield from np.split(numbers, range(_COMMIT, len(numbers), _COMMIT))


def _run(services: Services, dataset: str, table: pa.Table) -> list[File]:
    """Write one run of a dataset."""
    ordered = table.sort_by([(column, "ascending") for column in KEYS[dataset]])
    run = secrets.token_hex(8)
    parts = (ordered.slice(start, rewrite.FILE_ROWS) for start in range(0, len(ordered), rewrite.FILE_ROWS))
    return [rewrite.put(services.mirror.directory, dataset, [part], run) for part in parts]


def _publish(services: Services, files: dict[str, list[File]]) -> None:
    """Write the manifest, which the mirror must find to be of this store, and complete."""
    directory, columns = services.mirror.directory, declared(services.bundle.fields)
    empty = {
        dataset: directory.write(dataset, shape.schema(dataset, columns).empty_table()) for dataset in files
    }
    with services.store.reading() as connection:
        head, epoch = read_head(connection)
        batch = batch_of(connection, head)
    manifest = Manifest(
        commit_no=head,
        batch=batch,
        mapped=head,
        epoch=epoch,
        refreshed_at=services.clock.now(),
        files={dataset: (empty[dataset], *its) for dataset, its in files.items()},
        declared=columns,
    )
    with directory.writing():
        directory.publish(manifest)
    services.mirror.refresh()
    if directory.read_alone().names(EVENTS) != manifest.names(EVENTS):
        raise AssertionError("the mirror did not take the files for its own")
