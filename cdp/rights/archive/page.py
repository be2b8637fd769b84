"""The reading view of an archive: pages of HTML in which nothing happens. Pure.

What is in them was written by anybody: the person, a form, whoever knew an address. So:

1. Every text is escaped, wherever it stands, and there are no attributes with a value of somebody's.
2. No script, no form, no frame, no image, nothing loaded: a Content-Security-Policy in the page forbids all
   of it, beside there being none. The only style is ours, named by its hash.
3. The only links are ours, from page to page of the archive. An address is text.
4. Each value stands in a ``bdi`` of its own (Unicode Bidirectional Algorithm, UAX #9, section 2.7), so that a
   mark that turns the direction of text ends with the value. Control characters are shown as U+FFFD.
5. A long value is cut here; the JSON file has the whole of it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import msgspec

LONGEST = 2_000
"""Characters of a value that are shown."""
_DEEPEST = 8
_CONTROLS = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "�")
_ODD = re.compile("[&<>\"'\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_STYLE = """
body{font:1rem/1.5 system-ui,sans-serif;margin:0
auto;max-width:72rem;padding:1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.6rem}h2{margin-top:2.5rem;border-top:1px solid #767676;padding-top:1rem;font-size:1.25rem}
table{border-collapse:collapse;width:100%}th,td{text-align:start;vertical-align:top;padding:.3rem .6rem;
border-bottom:1px solid #ccc;overflow-wrap:anywhere;min-width:5rem}
th{background:#f2f2f2;white-space:nowrap}dl{margin:0}dt{font-weight:600}
dd{margin:0 0 .3rem 1rem;overflow-wrap:anywhere}.wide{overflow-x:auto}.none{color:#595959}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}th{background:#2b2b2b}.none{color:#b3b3b3}
a{color:#9cf}}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CSP = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
NOTHING = '<p class="none">Nothing.</p>'


def text(value: object) -> str:
    """Return a text as it may stand in a page."""
    said = str(value)
    if len(said) > LONGEST:
        said = said[:LONGEST] + f" … ({len(said)} characters; the JSON file has all of them)"
    if _ODD.search(said) is None:  # most of them, and there are many
        return said
    return escape(said.translate(_CONTROLS).encode(errors="replace").decode())


def value(held: Any, depth: int = 0) -> str:
    """Return a value of somebody's data, set apart from all around it."""
    if isinstance(held, str):
        return f"<bdi>{text(held)}</bdi>"
    if held is None:
        return '<span class="none">–</span>'
    if isinstance(held, dict) and depth < _DEEPEST:
        inner = "".join(
            f"<dt><bdi>{text(key)}</bdi></dt><dd>{value(one, depth + 1)}</dd>" for key, one in held.items()
        )
        return f"<dl>{inner}</dl>" if held else value(None)
    if isinstance(held, list | tuple) and depth < _DEEPEST:
        inner = "".join(f"<li>{value(one, depth + 1)}</li>" for one in held)
        return f"<ul>{inner}</ul>" if held else value(None)
    if isinstance(held, bool):
        return "yes" if held else "no"
    said = msgspec.json.encode(held).decode() if isinstance(held, dict | list | tuple) else held
    return f"<bdi>{text(said)}</bdi>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """Return a table; ``columns`` are words of ours."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{value(one)}</td>" for one in row) + "</tr>" for row in rows)
    if not body:
        return NOTHING
    told = f"<p>{escape(caption)}</p>" if caption else ""
    return f'{told}<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def section(place: str, title: str, content: str) -> str:
    """Return a section; ``place`` and ``title`` are words of ours."""
    return f'<section><h2 id="{escape(place)}">{escape(title)}</h2>{content}</section>'


def paragraphs(said: Iterable[str]) -> str:
    """Return texts one below the other."""
    return "".join(f"<p>{text(one)}</p>" for one in said)


def links(pages: Iterable[tuple[str, str]]) -> str:
    """Return a list of links within the archive: (address, words), both ours."""
    items = "".join(f'<li><a href="{escape(href)}">{escape(name)}</a></li>' for href, name in pages)
    return f"<nav><ul>{items}</ul></nav>" if items else NOTHING


def page(title: str, content: str) -> bytes:
    """Return a whole page."""
    return (
        '<!doctype html>\n<html lang="en" dir="ltr"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{CSP}">'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex, nofollow">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{content}</main></body></html>\n"
    ).encode()
