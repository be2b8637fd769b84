"""Relay connections over the same cursors as REST (GraphQL Cursor Connections Specification)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import strawberry

from cdp.api.auth import roles
from cdp.api.graphql.guard import declared
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, encode_cursor

Node = TypeVar("Node")
T = TypeVar("T")

ANYBODY = roles("source", "marketer", "destination", "steward", "officer", "admin")
"""Every authenticated caller; what a connection holds is guarded by the type of its nodes."""


@declared(ANYBODY)
@strawberry.type
class PageInfo:
    """Where a page lies."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@declared(ANYBODY)
@strawberry.type
class Edge(Generic[Node]):
    """An item and the cursor that continues after it."""

    node: Node
    cursor: str


@declared(ANYBODY)
@strawberry.type
class Connection(Generic[Node]):
    """One page of a list; ``totalCount`` is null for roles that may not see it."""

    edges: list[Edge[Node]]
    page_info: PageInfo
    total_count: int | None = None


def page_size(first: int | None) -> int:
    """Return the page size that ``first`` asks for."""
    return DEFAULT_LIMIT if first is None else checked_limit(first)


def connection(
    page: Page[T],
    after: str | None,
    name: str,
    position: Callable[[T], tuple[int | str, ...]],
    node: Callable[[T], Node],
    total: int | None = None,
) -> Connection[Node]:
    """Make a connection from a page, with a cursor for each of its items.

    :param name: the list's name in its cursors, as in REST.
    :param total: how many there are in all, where the caller may know.
    """
    edges = [Edge(node=node(item), cursor=encode_cursor(name, *position(item))) for item in page.items]
    info = PageInfo(
        has_next_page=page.next is not None,
        has_previous_page=after is not None,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return Connection(edges=edges, page_info=info, total_count=total)
