"""``/schema``: the REST routes as one page of our own, and as OpenAPI (``/schema/openapi.json``).

The usual viewers load their scripts from somebody else's servers; this page loads nothing.
"""

from __future__ import annotations

from html import escape
from typing import Any

from litestar import Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Server

from cdp import __version__
from cdp.api.auth import ALWAYS, allow

_STYLE = (
    "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{font-size:1rem;margin:1.5rem 0 0}code{background:#eee8;padding:.1em .3em}p{margin:.2rem 0}"
)


class _Page(OpenAPIRenderPlugin):
    """One heading for each operation, with its description and parameters."""

    def __init__(self) -> None:
        super().__init__(path="/", favicon="", style="")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page."""
        del request  # the same page for everybody
        info = openapi_schema["info"]
        parts = [
            "<!doctype html><html lang=en><meta charset=utf-8><title>REST API</title>",
            f"<style>{_STYLE}</style>",
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
            "<p>Machine-readable: <a href=/schema/openapi.json>openapi.json</a></p>",
        ]
        for path, methods in openapi_schema.get("paths", {}).items():
            for method, operation in methods.items():
                parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
                parts.append(f"<p>{escape(operation.get('description') or '')}</p>")
                names = [escape(found["name"]) for found in operation.get("parameters", [])]
                if names:
                    parts.append("<p>Parameters: " + ", ".join(names) + "</p>")
        return "".join(parts).encode()


def openapi_config(public_url: str) -> OpenAPIConfig:
    """Return the configuration of the documentation, which is open to everybody."""
    return OpenAPIConfig(
        title="Customer data platform",
        version=__version__,
        use_handler_docstrings=True,
        servers=[Server(url=public_url)],
        render_plugins=[_Page()],
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            opt=allow(ALWAYS),
            dto=None,
            return_dto=None,
        ),
    )
