"""The routes of the preference page. Nobody logs in: the token in the path is the capability.

Invariants:

1. GET and HEAD change nothing, whatever the link: mail scanners fetch links before people do.
2. Whatever is not a live link gets one and the same page and tells nothing about anybody.
3. No answer sets a cookie, names an identifier, may be stored by a cache or loads anything from another
   origin; everything works without a script, and none is ever allowed.
4. A form of ours answers with 303 to the page, so that reloading repeats nothing. A one-click POST (RFC 8058)
   is answered 200 at once.
5. Attempts with tokens that open nothing are limited per address, looks and changes by one link per link.
   A withdrawal by a live link is never refused: the services that press it for people share addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Request, Response, Router, get, head, post
from litestar.concurrency import sync_to_thread
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.params import FromPath, SkipValidation
from litestar.response import Stream

from cdp.clock import Micros
from cdp.console.confirmation import Confirmations
from cdp.console.language import Language, choose, languages
from cdp.console.model import RESULTS, Named, Result
from cdp.console.preferences import PreferencePage
from cdp.errors import CdpError, InvalidInputError, UnavailableError
from cdp.rights import ARCHIVE_HEADERS, KINDS, Archives, Download

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
_STYLE = (Path(__file__).parent / "static" / "style.css").read_bytes()
_MAX_BODY = 64 * 1024
_MAX_FIELDS = 500
_ONE_CLICK = ("List-Unsubscribe", "One-Click")
_PLACE = "/preferences"
_log = structlog.get_logger("cdp.console")

Html = Response[bytes]
AnyRequest = Request[Any, Any, Any]
Take = Callable[[str], bool]


class Site(NamedTuple):
    """What the handlers work with.

    :param controller: whose page it is, as people know it; empty for nobody.
    :param note: counts a token that opens nothing, by the address it came from, for the audit log.
    :param take: spends one of the attempts of a key (an address, a link); False when none is left.
    """

    pages: PreferencePage
    confirmations: Confirmations
    archives: Archives
    controller: str
    take: Take
    note: Callable[[str], None]


InjectedSite = NamedDependency[SkipValidation[Site]]

_TEMPLATES = Environment(
    loader=PackageLoader("cdp.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


# -- manage ---------------------------------------------------------------------------------------------


@get("/{token:str}", include_in_schema=False)
async def show(request: AnyRequest, site: InjectedSite, token: FromPath[str]) -> Html:
    """Show the page of a manage link."""
    said = _language(request, site.pages.language(token))
    if not site.take(f"link {token}"):
        return _busy(site, said)
    view = await sync_to_thread(site.pages.show, token, said.code)
    if view is None:
        return _gone(request, site, said)
    result = request.query_params.get("result", "")
    given = {"view": view, "result": result if result in RESULTS else "", "kinds": KINDS}
    return _page(site, said, "preferences.html", given, place=f"{_PLACE}/{token}")


@get("/{token:str}/receipts/{record_id:str}", include_in_schema=False)
async def receipt(
    request: AnyRequest, site: InjectedSite, token: FromPath[str], record_id: FromPath[str]
) -> Html:
    """Give the signed receipt of one record, to be kept."""
    said = _language(request, site.pages.language(token))
    number = int(record_id) if record_id.isascii() and record_id.isdigit() and len(record_id) < 20 else 0
    made = await sync_to_thread(site.pages.receipt, token, number)
    if made is None:
        return _gone(request, site, said)
    kept = {"Content-Disposition": 'attachment; filename="consent-receipt.json"'}
    return Response(made, headers={**HEADERS, **kept}, media_type="application/json")


@post("/{token:str}", include_in_schema=False, status_code=303)
async def change(request: AnyRequest, site: InjectedSite, token: FromPath[str]) -> Html | Stream:
    """Record the answers, object, lift an objection, open a request, or hand an archive over."""
    form = await _form(request)
    said = _language(request, site.pages.language(token), form.get("lang", ""))
    if not site.take(f"link {token}"):
        return _busy(site, said)
    if form.get("do") == "archive":
        found = await sync_to_thread(site.pages.archive, token, form.get("request", ""))
        return _gone(request, site, said) if found is None else _handed_over(found)
    result: Result | None
    if form.get("do") == "none":
        result = await sync_to_thread(site.pages.refuse_all, token, said.code)
    elif form.get("do") == "request":
        result = await sync_to_thread(site.pages.request, token, form.get("kind", ""), said.code)
    elif form.get("do") in {"object", "lift"}:
        key, texts = form.get("purpose", ""), form.get("texts", "")
        result = await sync_to_thread(site.pages.act, token, form["do"], key, texts, said.code)
    else:
        answers = {
            name.removeprefix("choice."): value for name, value in form.items() if name.startswith("choice.")
        }
        result = await sync_to_thread(site.pages.change, token, answers, form.get("texts", ""), said.code)
    if result is None:
        return _gone(request, site, said)
    place = f"{_PLACE}/{token}?lang={said.code}&result={result}"
    return Response(b"", status_code=303, headers={**HEADERS, "Location": place}, media_type="text/html")


# -- withdraw: one click --------------------------------------------------------------------------------


@get("/withdraw/{token:str}", include_in_schema=False)
async def ask_withdrawal(request: AnyRequest, site: InjectedSite, token: FromPath[str]) -> Html:
    """Ask before withdrawing."""
    said = _language(request, site.pages.language(token))
    return _asking(request, site, said, "withdraw", token, site.pages.about_withdrawal(token, said.code))


@post("/withdraw/{token:str}", include_in_schema=False, status_code=200)
async def withdraw(request: AnyRequest, site: InjectedSite, token: FromPath[str]) -> Html:
    """Withdraw at once when the body says so (RFC 8058, section 3.2), else ask."""
    form = await _form(request)
    said = _language(request, site.pages.language(token), form.get("lang", ""))
    if form.get(_ONE_CLICK[0]) != _ONE_CLICK[1]:
        return _asking(request, site, said, "withdraw", token, site.pages.about_withdrawal(token, said.code))
    named = await sync_to_thread(site.pages.withdraw, token, said.code)
    return _asking(request, site, said, "withdraw", token, named, done=True)


# -- confirm: double opt-in -----------------------------------------------------------------------------


@get("/confirm/{token:str}", include_in_schema=False)
async def ask_confirmation(request: AnyRequest, site: InjectedSite, token: FromPath[str]) -> Html:
    """Ask before confirming."""
    said = _language(request, site.confirmations.language(token))
    return _asking(request, site, said, "confirm", token, site.confirmations.about(token, said.code))


@post("/confirm/{token:str}", include_in_schema=False, status_code=200)
async def confirm(request: AnyRequest, site: InjectedSite, token: FromPath[str]) -> Html:
    """Record the consent that the link holds."""
    form = await _form(request)
    said = _language(request, site.confirmations.language(token), form.get("lang", ""))
    named = await sync_to_thread(site.confirmations.confirm, token, said.code)
    return _asking(request, site, said, "confirm", token, named, done=True)


# -- archive: what is kept of a person -----------------------------------------------------------------


@get("/archive/{token:str}", include_in_schema=False)
async def show_archive(request: AnyRequest, site: InjectedSite, token: FromPath[str]) -> Html:
    """Show what an archive link fetches, with the button that does."""
    said = _language(request)
    if not site.take(f"link {token}"):
        return _busy(site, said)
    found = await sync_to_thread(site.archives.peek, token)
    if found is None:
        return _gone(request, site, said)
    return _page(site, said, "archive.html", {"archive": found}, place=f"{_PLACE}/archive/{token}")


@post("/archive/{token:str}", include_in_schema=False, status_code=200)
async def fetch_archive(request: AnyRequest, site: InjectedSite, token: FromPath[str]) -> Html | Stream:
    """Hand the archive over."""
    said = _language(request)
    if not site.take(f"link {token}"):
        return _busy(site, said)
    found = await sync_to_thread(site.archives.fetch, token)
    return _gone(request, site, said) if found is None else _handed_over(found)


def _handed_over(found: Download) -> Stream:
    headers = {**HEADERS, **ARCHIVE_HEADERS, "Content-Length": str(found.size)}
    return Stream(found.pieces, status_code=200, media_type="application/zip", headers=headers)


# -- the rest -------------------------------------------------------------------------------------------


@head(
    ["/{token:str}", "/withdraw/{token:str}", "/confirm/{token:str}", "/archive/{token:str}"],
    include_in_schema=False,
    sync_to_thread=False,
)
def peek(token: FromPath[str]) -> None:
    """Say nothing about a link to whoever only looks whether it is there."""
    del token


@get("/style.css", include_in_schema=False, sync_to_thread=False)
def style() -> Html:
    """Give the one style sheet."""
    headers = {**HEADERS, "Cache-Control": "public, max-age=3600"}
    return Response(_STYLE, headers=headers, media_type="text/css")


def router(opt: Mapping[str, Any]) -> Router:
    """Return the routes under ``/preferences``, which work with the ``site`` in the application's state.

    :param opt: declares that the routes are open: who may call what is decided in ``app``.
    """
    return Router(
        _PLACE,
        route_handlers=[
            show,
            receipt,
            change,
            ask_withdrawal,
            withdraw,
            ask_confirmation,
            confirm,
            show_archive,
            fetch_archive,
            peek,
            style,
        ],
        dependencies={"site": Provide(_site, sync_to_thread=False)},
        exception_handlers={Exception: _failed, HTTPException: _failed},
        opt=dict(opt),
        request_max_body_size=_MAX_BODY,
        response_headers=HEADERS,
    )


def _site(state: State) -> Site:
    return cast("Site", state.site)


# -- how ------------------------------------------------------------------------------------------------


async def _form(request: AnyRequest) -> dict[str, str]:
    """Return the fields of a form; one-click clients send it in either of two ways (RFC 8058, 3.1).

    :raises InvalidInputError: it cannot be read.
    """
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        sent = await request.form()
        return {name: value for name, value in sent.items() if isinstance(value, str)}
    try:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise InvalidInputError("the form cannot be read") from None
    return dict(pairs)


def _language(request: AnyRequest, *wishes: str) -> Language:
    """Return the language asked for, else that of the link, else that of the browser."""
    asked = request.query_params.get("lang", "")
    return choose(asked, *reversed(wishes), request.headers.get("accept-language", ""))


def _asking(
    request: AnyRequest,
    site: Site,
    said: Language,
    what: str,
    token: str,
    named: Named | None,
    *,
    done: bool = False,
) -> Html:
    if named is None:
        return _gone(request, site, said)
    given = {"what": what, "named": named, "done": done}
    return _page(site, said, "ask.html", given, place=f"{_PLACE}/{what}/{token}")


def _gone(request: AnyRequest, site: Site, said: Language) -> Html:
    address = request.client.host if request.client else ""
    site.note(address)
    if not site.take(f"address {address}"):
        return _busy(site, said)
    return _page(site, said, "plain.html", {"what": "gone"}, status=404)


def _busy(site: Site, said: Language, status: int = 429) -> Html:
    return _page(site, said, "plain.html", {"what": "busy"}, status=status)


def _failed(request: AnyRequest, error: Exception) -> Html:
    """Answer an error with a page that says nothing of it; its type and place are in the log."""
    site = _site(request.app.state)
    said = _language(request)
    if isinstance(error, UnavailableError):
        return _busy(site, said, 503)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _page(site, said, "plain.html", {"what": "gone"}, status=error.status_code)
    if isinstance(error, InvalidInputError):
        return _page(site, said, "plain.html", {"what": "gone"}, status=400)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    known = isinstance(error, CdpError)
    _log.error("page failed", error=type(error).__name__, place=place, known=known)
    return _busy(site, said, 500)


def _page(
    site: Site,
    said: Language,
    template: str,
    given: Mapping[str, object],
    *,
    status: int = 200,
    place: str = "",
) -> Html:
    text = _TEMPLATES.get_template(template).render(
        t=said,
        place=place,
        controller=site.controller,
        languages=languages().values() if place else (),
        date=partial(_date, said),
        **given,
    )
    headers = {**HEADERS, "Content-Language": said.code}
    return Response(text.encode(), status_code=status, headers=headers, media_type="text/html")


def _date(said: Language, at: Micros) -> str:
    return said.date(at)
