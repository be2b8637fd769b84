"""Segments: definitions, their evaluation on the warehouse, and the white, grey and black lists."""

from cdp.segments.counting import PER_DAY, SHORT_LIST, Counting
from cdp.segments.definition import Definition
from cdp.segments.document import read
from cdp.segments.explore import Show, Table, Version
from cdp.segments.follow import Follower
from cdp.segments.forget import forget_listed, forget_members, forget_waiting
from cdp.segments.lag import Lag, lag, observe
from cdp.segments.lists import Lists
from cdp.segments.model import PURPOSE, Change, ListKind, Members, PeopleList, Preview, Segment
from cdp.segments.noise import noised
from cdp.segments.parse import parse
from cdp.segments.reader import OF_EVENT
from cdp.segments.references import LIST_CATEGORY, check_readable, classified, closure, reads
from cdp.segments.service import SegmentService
from cdp.segments.tags.model import Tag, TagValue, Thresholds
from cdp.segments.tags.service import TagService
from cdp.segments.why import Happening, Reason, Why

__all__ = [
    "LIST_CATEGORY",
    "OF_EVENT",
    "PER_DAY",
    "PURPOSE",
    "SHORT_LIST",
    "Change",
    "Counting",
    "Definition",
    "Follower",
    "Happening",
    "Lag",
    "ListKind",
    "Lists",
    "Members",
    "PeopleList",
    "Preview",
    "Reason",
    "Segment",
    "SegmentService",
    "Show",
    "Table",
    "Tag",
    "TagService",
    "TagValue",
    "Thresholds",
    "Version",
    "Why",
    "check_readable",
    "classified",
    "closure",
    "forget_listed",
    "forget_members",
    "forget_waiting",
    "lag",
    "noised",
    "observe",
    "parse",
    "read",
    "reads",
]
