"""Files out of files: sorted runs merged into longer ones, people taken out of them.

A *run* is a set of files cut along the key of their dataset, so that whoever looks for one key opens one
file of each run, and there few row groups. Runs grow like this: eight of about one size become one of the
next (fewer, if they fill it), until a run has ``_FULL_ROWS`` and stays. So a row is written again once for
each size, never once for each flush, and there are few runs however many rows there are.

Invariants: every function here does one bounded piece: it reads and writes about one file's rows, whatever
the size of the runs. Rows are only left out where they are doomed, or older words about the same identity in
the map.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace
from pyroaring import BitMap

from cdp.warehouse.files import Directory
from cdp.warehouse.model import KEYS, MEMBERS, File, Key, Merge
from cdp.warehouse.sets import bitmap

FILE_ROWS = 131_072  # of one file: what is read, sorted and written at once
_FAN = 8  # runs of one size that become one of the next
_FULL_ROWS = 4_194_304
_SMALL_ROWS = 1024
_SAMPLE_ROWS = 2048  # the key of every so manieth row is noted in a file: where a merge may cut
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(list[Key]).decode


def put(directory: Directory, dataset: str, tables: Sequence[pa.Table], run: str = "") -> File:
    """Sort tables of one dataset and write them as one file.

    :param run: the run that it belongs to; left out, it is one of its own.
    """
    table = pa.concat_tables(tables, promote_options="default")
    order = [(column, "ascending") for column in KEYS[dataset]]
    if dataset == MEMBERS:
        table = _newest(table.sort_by([*order, ("commit_no", "ascending")]))
    else:
        table = table.sort_by(order)
    every = table.select(KEYS[dataset]).take(np.arange(_SAMPLE_ROWS - 1, table.num_rows, _SAMPLE_ROWS))
    note = _encode(list(zip(*(column.to_pylist() for column in every.columns), strict=True)))
    return directory.write(dataset, table, run=run or secrets.token_hex(8), key=KEYS[dataset], note=note)


def choose(files: Sequence[File], *, everything: bool = False) -> tuple[str, ...]:
    """Return the runs to merge next, none where nothing is worth it.

    :param files: of a dataset, older runs first: those that are near in time are merged, so that time windows
        still leave out whole runs.
    :param everything: then merge whatever is not full, instead of waiting for eight of a size.
    """
    rows: Counter[str] = Counter()
    for file in files:
        if file.rows:
            rows[file.run] += file.rows
    growing = {run: _size(count) for run, count in rows.items() if count < _FULL_ROWS}
    for size in sorted(set(growing.values())):
        chosen: list[str] = []
        for run in (run for run, its in growing.items() if its == size):
            chosen.append(run)
            if len(chosen) == _FAN or sum(rows[run] for run in chosen) >= _FULL_ROWS:
                return tuple(chosen)
    return tuple(growing) if everything and len(growing) > 1 else ()


def begin(directory: Directory, dataset: str, files: Sequence[File], runs: tuple[str, ...]) -> Merge:
    """Return the plan of a merge: where its files are cut."""
    sample = [key for file in files if file.run in runs for key in _decode(directory.note(file))]
    sample.sort()
    each = FILE_ROWS // _SAMPLE_ROWS
    cuts = tuple(dict.fromkeys(sample[each - 1 :: each]))
    return Merge(dataset=dataset, runs=runs, into=secrets.token_hex(8), cuts=cuts)


def advance(directory: Directory, merge: Merge, files: Sequence[File]) -> Merge:
    """Write the next file of a merge."""
    after = merge.cuts[merge.step - 1] if merge.step else None
    upto = merge.cuts[merge.step] if merge.step < len(merge.cuts) else None
    tables = [
        directory.load(file, where=_between(KEYS[merge.dataset], after, upto))
        for file in files
        if file.run in merge.runs
        and (after is None or file.last > after)
        and (upto is None or file.first <= upto)
    ]
    written = merge.files
    if any(table.num_rows for table in tables):
        written = (*written, put(directory, merge.dataset, tables, merge.into))
    return replace(merge, step=merge.step + 1, files=written)


def finished(merge: Merge) -> bool:
    """True when every file of a merge is written."""
    return merge.step > len(merge.cuts)


def merged(merge: Merge, files: Iterable[File]) -> tuple[File, ...]:
    """Return the files of the dataset with the merged run in the place of those that it was made of."""
    kept: list[File] = []
    placed = False
    for file in files:
        if file.run not in merge.runs or not file.rows:
            kept.append(file)
        elif not placed:
            kept += merge.files
            placed = True
    return tuple(kept)


def identities(directory: Directory, file: File) -> BitMap:
    """Return the identities that a file has rows of."""
    return bitmap(directory.load(file, ["identity_no"])["identity_no"].to_numpy())


def without(directory: Directory, dataset: str, file: File, gone: BitMap) -> File | None:
    """Return what takes a file's place when some identities are gone: itself where it holds none of them."""
    if not file.rows:
        return file
    doomed = _in(directory.load(file, ["identity_no"]), gone)
    if not pc.any(doomed).as_py():
        return file
    kept = directory.load(file).filter(pc.invert(doomed))
    return put(directory, dataset, [kept], file.run) if kept.num_rows else None


def _in(table: pa.Table, identities: BitMap) -> pa.ChunkedArray:
    wanted = pa.array(np.frombuffer(identities.to_array(), dtype=np.uint32).astype(np.int64))
    return pc.is_in(table["identity_no"], value_set=wanted)


def _newest(members: pa.Table) -> pa.Table:
    """Keep each identity's last row of a table sorted by identity and commit."""
    identities = members["identity_no"].to_numpy()
    last = np.append(identities[1:] != identities[:-1], [True] * min(1, len(identities)))
    return members.filter(pa.array(last))


def _size(rows: int) -> int:
    return ((rows // _SMALL_ROWS).bit_length() + 2) // 3


def _between(columns: tuple[str, ...], after: Key | None, upto: Key | None) -> pc.Expression | None:
    """Return the condition that a row's key lies in (after, upto]."""
    lower = None if after is None else _greater(columns, after)
    upper = None if upto is None else ~_greater(columns, upto)
    if lower is None or upper is None:
        return lower if upper is None else upper
    return lower & upper


def _greater(columns: tuple[str, ...], key: Key) -> pc.Expression:
    first, value = pc.field(columns[0]), key[0]
    if len(columns) == 1:
        return first > value
    return (first > value) | ((first == value) & _greater(columns[1:], key[1:]))
