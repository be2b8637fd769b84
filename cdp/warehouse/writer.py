"""Rows of the store → new files of the mirror, beside those that it has.

Invariant: no more rows are held in memory than one file of each dataset has, whatever comes in.
"""

from __future__ import annotations

import pyarrow as pa

from cdp.warehouse import rewrite, shape
from cdp.warehouse.files import Directory
from cdp.warehouse.model import DATASETS, Declared, File, Manifest


class Writer:
    """Adds rows to what a manifest lists.

    :param declared: what the rows are shaped under; where the manifest's files were written under something
        else, each dataset gets an empty file of all columns in the place of the one before.
    """

    def __init__(self, directory: Directory, manifest: Manifest, declared: Declared) -> None:
        self._directory = directory
        self._held: dict[str, list[pa.Table]] = {dataset: [] for dataset in DATASETS}
        self.replaced: list[str] = []
        self._files = {dataset: list(manifest.files.get(dataset, ())) for dataset in DATASETS}
        if not manifest.files or manifest.declared != declared:
            for dataset, files in self._files.items():
                self.replaced += [file.name for file in files if not file.rows]
                empty = directory.write(dataset, shape.schema(dataset, declared).empty_table())
                self._files[dataset] = [empty, *(file for file in files if file.rows)]

    def add(self, dataset: str, table: pa.Table) -> None:
        """Take rows of a dataset."""
        self._held[dataset].append(table)
        if sum(table.num_rows for table in self._held[dataset]) >= rewrite.FILE_ROWS:
            self._flush(dataset)

    def finish(self) -> dict[str, tuple[File, ...]]:
        """Write what is held and return all files."""
        for dataset in DATASETS:
            self._flush(dataset)
        return {dataset: tuple(files) for dataset, files in self._files.items()}

    def _flush(self, dataset: str) -> None:
        held = self._held[dataset]
        if any(table.num_rows for table in held):
            self._files[dataset].append(rewrite.put(self._directory, dataset, held))
        held.clear()
