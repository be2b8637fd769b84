"""How far an import is: which rows are done, and what became of them.

Invariant: an import's place and counts are written in the transaction that stores its rows, so a row is
counted once, whatever is killed between. Rows come in order, a piece at a time; whoever sends one that is
not the next is told where the import stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import msgspec

from cdp.access import Source
from cdp.audit import Entry
from cdp.clock import Clock, Micros, random_id
from cdp.errors import ConflictError, InvalidInputError, NotFoundError
from cdp.ingest.imports import queries
from cdp.ingest.imports.mapping import MappingText, RowMapping
from cdp.policy import Bundle
from cdp.store import Batch, Committer, Row

FileForm = Literal["csv", "jsonl", "parquet"]


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """One file, as one source's, read by one mapping.

    :param corrected: the mapping by which rows in quarantine are read, where it is another.
    :param at_row: number of the last row that is done.
    :param rows: how many are done; ``left_out`` of them are no events, as the mapping says.
    :param outcomes: what became of how many events, as the pipeline counts them.
    """

    import_no: int
    source_id: int
    file: str
    form: FileForm
    mapping: str
    corrected: str | None
    at_row: int
    rows: int
    left_out: int
    outcomes: dict[str, int]
    started_at: Micros
    finished_at: Micros | None


class Piece(msgspec.Struct, frozen=True):
    """Some rows of a file that follow on each other.

    :param after: number of the row that is done before them.
    :param upto: of the last one of them.
    :param rows: how many they are.
    :param left_out: how many of them are no events.
    """

    after: int
    upto: int
    rows: int
    left_out: int


class Imports:
    """The imports of every source.

    :param bundle: returns the policies in force.
    """

    def __init__(self, committer: Committer, bundle: Callable[[], Bundle], clock: Clock) -> None:
        self._committer = committer
        self._bundle = bundle
        self._clock = clock

    def begin(
        self, actor: str, source: Source, file: str, form: FileForm, mapping: str, *, anew: bool = False
    ) -> Import:
        """Return the import of a file, begun before or now.

        :param file: SHA-256 of it, hex.
        :param mapping: the text of a mapping file; empty for none.
        :param anew: although another file's import was broken off.
        :raises InvalidInputError: the mapping is wrong, or there is none and the form needs one.
        :raises ConflictError: another file's import by this source and mapping was broken off, and rows are
            known by their place: were it the same file, changed since, its first rows would count twice.
        """
        text = self._checked(mapping)
        if not mapping and form != "jsonl":
            raise InvalidInputError(
                f"a {form} file needs a mapping: only JSON Lines may hold messages as such"
            )
        key = hashlib.sha256(f"{form}\n{mapping}".encode()).hexdigest()
        with self._committer.store.reading() as connection:
            held = queries.by_key(connection, source.source_id, file, key)
            other = queries.broken_off(connection, source.source_id, file, key)
        if held is not None:
            return _import(held)
        if other is not None and text.needs_file and not anew:
            raise ConflictError(
                f"an import of another file ended at row {other.at_row}: if it is the same file and has "
                "changed, its first rows would count twice; put it back and finish, map message_id, or say "
                "--anew for a file of other rows"
            )
        number, now = random_id(), self._clock.now()
        with self._committer.batch() as batch:
            queries.add(batch.connection, (number, source.source_id, file, key, form, mapping, now))
            about: dict[str, str | int] = {"file": file, "source": source.source_id, "mapping": key}
            batch.record(Entry(action="import.begin", actor=actor, object=about))
        with self._committer.store.reading() as connection:  # whoever was first
            return _import(queries.by_key(connection, source.source_id, file, key))

    def get(self, import_no: int) -> Import:
        """Return an import.

        :raises NotFoundError: there is none.
        """
        with self._committer.store.reading() as connection:
            return _import(queries.by_number(connection, import_no))

    def list(self, limit: int, before: int | None = None) -> list[Import]:
        """Return imports, the newest first."""
        with self._committer.store.reading() as connection:
            return [_import(row) for row in queries.listed(connection, limit, before)]

    def mapping(self, import_no: int, *, replayed: bool) -> RowMapping:
        """Return how an import's rows are read.

        :param replayed: they lay in quarantine.
        :raises NotFoundError: there is no such import.
        """
        with self._committer.store.reading() as connection:
            row = queries.by_number(connection, import_no)
        held = _import(row)
        corrected = held.corrected if replayed else None
        return MappingText.compiled(held.mapping if corrected is None else corrected, held.file)

    def note(self, held: Import, piece: Piece) -> Callable[[Batch, Mapping[str, int], bool], None]:
        """Return what writes down, in the transaction that stores a piece, that it is done."""
        return partial(_note, held.import_no, piece)

    def finish(self, actor: str, import_no: int) -> Import:
        """Say that an import is at the end of its file."""
        held = self.get(import_no)
        if held.finished_at is None:
            with self._committer.batch() as batch:
                queries.finish(batch.connection, import_no, self._clock.now())
                counts = {"rows": held.rows, "left_out": held.left_out, **held.outcomes}
                about: dict[str, str | int] = {"file": held.file, "source": held.source_id}
                batch.record(Entry(action="import.end", actor=actor, object=about, counts=counts))
        return self.get(import_no)

    def correct(self, actor: str, import_no: int, mapping: str) -> Import:
        """Have the import's rows that lie in quarantine be read by another mapping when they are replayed.

        :raises InvalidInputError: it is wrong.
        """
        self._checked(mapping)
        held = self.get(import_no)
        with self._committer.batch() as batch:
            queries.correct(batch.connection, import_no, mapping)
            about: dict[str, str | int] = {"file": held.file, "source": held.source_id}
            batch.record(Entry(action="import.correct", actor=actor, object=about))
        return held

    def _checked(self, mapping: str) -> MappingText:
        text, bundle = MappingText(mapping), self._bundle()
        text.check_names(bundle.purposes, bundle.destinations)
        return text


def _note(import_no: int, piece: Piece, batch: Batch, counts: Mapping[str, int], last: bool) -> None:  # noqa: FBT001  # a note
    row = queries.by_number(batch.connection, import_no)
    held = _import(row)
    outcomes = {name: held.outcomes.get(name, 0) + count for name, count in counts.items()}
    values: dict[str, Any] = {"outcomes": msgspec.json.encode(outcomes).decode()}
    if last:
        values |= {
            "at_row": piece.upto,
            "row_count": held.rows + piece.rows,
            "left_out": held.left_out + piece.left_out,
        }
    if not queries.change(batch.connection, import_no, piece.after, **values):
        raise ConflictError(f"the import is at row {held.at_row}: another command sends its rows; run one")


def _import(row: Row[Any] | None) -> Import:
    if row is None:
        raise NotFoundError("there is no such import")
    return Import(
        import_no=int(row.import_no),
        source_id=int(row.source_id),
        file=row.file,
        form=row.form,
        mapping=row.mapping,
        corrected=row.corrected,
        at_row=int(row.at_row),
        rows=int(row.row_count),
        left_out=int(row.left_out),
        outcomes=msgspec.json.decode(row.outcomes),
        started_at=int(row.started_at),
        finished_at=None if row.finished_at is None else int(row.finished_at),
    )
