"""A report as one HTML page that needs nothing else: no script, no picture, nothing from anywhere.

Invariants: everything that is not this file's is escaped; a value stands in an element of its own, so that a
text from right to left turns no other around; nothing in it runs in a spreadsheet that opens the page; the
policy that forbids scripts stands in the page too, where a saved file keeps it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cdp.reports.outline import outline

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid #8886}
h3,h4,h5,h6{font-size:1rem;margin:1.5rem 0 .3rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}
dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9em}
th,td{text-align:start;vertical-align:top;padding:.25rem .5rem;border-bottom:1px solid #8886}
td{overflow-wrap:anywhere}
th{opacity:.7}bdi{unicode-bidi:isolate}
@media print{body{max-width:none;margin:0}.wide{overflow:visible}
h2,h3{break-after:avoid}tr{break-inside:avoid}}
""".strip()
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: Any) -> str:
    """Return a value as it stands in the page, not yet escaped."""
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {cell(held)}" for key, held in value.items())
    if isinstance(value, list):
        return ", ".join(map(cell, value))
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


_PAGES = Environment(
    loader=PackageLoader("cdp.reports"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters["cell"] = cell


def page(report: Mapping[str, Any]) -> bytes:
    """Return a report as a page."""
    first, *rest = outline(report)
    made = _PAGES.get_template("report.html").render(
        first=first, rest=rest, style=_STYLE, policy=CONTENT_SECURITY_POLICY
    )
    return made.encode()
