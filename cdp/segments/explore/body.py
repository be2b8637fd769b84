"""body: what tables are asked for, read from plain data as definitions are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from cdp.clock import Micros
from cdp.errors import DefinitionError
from cdp.policy import FieldCatalogue
from cdp.segments.definition import Node
from cdp.segments.document import Document
from cdp.segments.moments import Moment
from cdp.segments.parse import parse
from cdp.segments.reader import Reader


class Body(Reader):
    """One question, whose parts are read by name.

    :raises DefinitionError: it is no map, or has a key that is not among ``known``.
    """

    def __init__(
        self, data: Mapping[str, Any], fields: FieldCatalogue, what: str, known: Collection[str]
    ) -> None:
        super().__init__(Document(data, {}), fields)
        self.data = self._map((), data, {*known, "timezone"}, what)
        if "timezone" in self.data:
            self._zone = self._timezone(("timezone",), self.data["timezone"])

    @property
    def zone(self) -> str:
        """The time zone; UTC unless one is given."""
        return self._zone

    def node(self, place: str, given: Any) -> Node:
        """Return the condition that ``given`` is.

        :param place: where it stands in the body; empty where the body itself is one.
        :raises DefinitionError: it is none, or may not be asked.
        """
        try:
            return parse({"timezone": self._zone, "where": given}, self._fields, "").where
        except DefinitionError as error:
            found = f"{place}{error.message.removeprefix('where')}".removeprefix(".")
            raise DefinitionError(f"the question{found}" if found.startswith(":") else found) from None

    def reference(self, place: str) -> str:
        """Return the name of a segment."""
        return self._reference((place,), self.data[place])

    def moment(self, place: str) -> Micros | Moment:
        """Return an instant, or a point of the calendar."""
        return self._moment((place,), self.data[place])
