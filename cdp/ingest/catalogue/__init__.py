"""The data catalogue: which fields each source sends, how often, of what type, since when; never a value."""

from cdp.ingest.catalogue.model import EventShape, FieldShape, SeenField
from cdp.ingest.catalogue.service import DataCatalogue
from cdp.ingest.catalogue.shapes import Shapes, Taken, fit

__all__ = ["DataCatalogue", "EventShape", "FieldShape", "SeenField", "Shapes", "Taken", "fit"]
