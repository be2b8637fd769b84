"""Files of somebody else's rows: mapping files, what a row becomes, and how far each import is."""

from cdp.ingest.imports.mapping import MappingText, RowMapping, schema
from cdp.ingest.imports.rows import UNREADABLE, from_row, row_message, row_number, unreadable_message
from cdp.ingest.imports.service import FileForm, Import, Imports, Piece

__all__ = [
    "UNREADABLE",
    "FileForm",
    "Import",
    "Imports",
    "MappingText",
    "Piece",
    "RowMapping",
    "from_row",
    "row_message",
    "row_number",
    "schema",
    "unreadable_message",
]
