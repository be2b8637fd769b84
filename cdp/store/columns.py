"""Whole columns of many rows, each as one text that the database joins and numpy takes apart.

Much quicker than a Python object for each value, and the same statement on both stores. The texts of one read
have the rows in one order. Where the pieces of a text are not as many as the rows, the rows are read one by
one (``read_labelled``) or not at all (``read_numbers``): no value is ever taken for that of another row.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func

from cdp.store.dialect import read_rows

_BETWEEN = "\x1f"  # unit separator; a text that holds it is noticed


class Labelled(msgspec.Struct, frozen=True):
    """Numbers, each with one of a few labels.

    :param numbers: ``(n,)``, in any order, also more than once.
    :param codes: ``(n,)``: the place in ``labels``.
    """

    numbers: NDArray[np.int64]
    codes: NDArray[np.int64]
    labels: list[tuple[str, ...]]

    def sets(self) -> Iterator[tuple[tuple[str, ...], BitMap]]:
        """Yield each label with its numbers, which are below 2³²."""
        codes = self.codes.astype(np.min_scalar_type(len(self.labels)))  # the smaller, the faster sorted
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(self.labels)))
        for label, some in zip(
            self.labels, np.split(self.numbers[order].astype(np.uint32), ends), strict=False
        ):
            yield label, BitMap(array("I", some.tobytes()))


def read_numbers(connection: Connection, query: Select[Any]) -> NDArray[np.int64]:
    """Return the rows of ``query``, in any order, as an array (rows, columns): whole numbers, none NULL."""
    found = connection.execute(query.with_only_columns(*map(_joined, query.selected_columns))).one()
    return np.transpose([_numbers(text) for text in found])  # the numbers of a column lie side by side


def read_labelled(connection: Connection, query: Select[Any]) -> Labelled:
    """Return what ``query`` selects, a whole number and then texts of which none is NULL."""
    number, *texts = query.selected_columns
    joined = (func.aggregate_strings(text, _BETWEEN) for text in texts)
    first, *others = connection.execute(query.with_only_columns(_joined(number), *joined)).one()
    numbers = _numbers(first)
    columns = [(text or "").split(_BETWEEN) for text in others] if len(numbers) else [[] for _ in others]
    if any(len(column) != len(numbers) for column in columns):
        rows = read_rows(connection, query)
        numbers = np.array([row[0] for row in rows], np.int64)
        columns = [list(column) for column in zip(*(row[1:] for row in rows), strict=True)]
    labels = list(zip(*columns, strict=True))
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    codes = np.fromiter(map(places.__getitem__, labels), np.int64, len(labels))
    return Labelled(numbers, codes, list(places))


def _joined(column: ColumnElement[Any]) -> ColumnElement[str]:
    return func.aggregate_strings(cast(column, Text), ",")


def _numbers(text: str | None) -> NDArray[np.int64]:
    return np.fromstring(text or "", np.int64, sep=",")
