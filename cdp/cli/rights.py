"""``cdp rights …``: what people ask for about their own data.

Whom a request is about is read from standard input, never from the command line, which others on the machine
can read and shells remember.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson
from cdp.cli.output import new_file, progress, say, show_list, show_record
from cdp.errors import CdpError, InvalidInputError, NotFoundError

rights = typer.Typer(help="Requests of people about their own data.", no_args_is_help=True)
_COLUMNS = ("id", "kind", "state", "opened_at", "due_at", "due", "channel", "profile")
_State = Literal["received", "identity_check", "in_progress", "fulfilled", "denied", "cancelled", "expired"]
_Kind = Literal["access", "portability", "rectification", "erasure", "restriction", "objection"]
_Due = Literal["ok", "soon", "late"]
_Method = Literal[
    "document", "signed_in", "address_reached", "called_back", "shared_knowledge", "authorised_agent"
]
_Request = Annotated[str, typer.Argument(metavar="ID", help="An id from `cdp rights list`.")]
_Type = Annotated[
    str, typer.Argument(metavar="TYPE", help="Type of the identifier; its value comes by standard input.")
]
_Unverified = Annotated[
    bool, typer.Option("--unverified", help="It is not known yet who asks: an identity check comes first.")
]
_LOOK_SECONDS = 0.5


@rights.callback()
def group() -> None:
    """Requests of people about their own data."""


@rights.command("list")
def list_requests(
    state: Annotated[_State | None, typer.Option(help="Only what stands there.")] = None,
    kind: Annotated[_Kind | None, typer.Option(help="Only of this kind.")] = None,
    due: Annotated[_Due | None, typer.Option(help="Only what is so urgent.")] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """List requests with the day by which each is answered, newest first."""
    with connected() as api:
        found = api.items("/rights/requests", state=state, kind=kind, due=due)
        show_list(found, _COLUMNS, as_json=as_json)


@rights.command("show")
def show(request: _Request, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show a request with its steps and who was told of it."""
    with connected() as api:
        show_record(api.get(("rights", "requests", request)), as_json=as_json)


@rights.command("verify")
def verify(
    request: _Request,
    method: Annotated[_Method, typer.Option(help="How it was seen who asks.")],
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Record that whoever asked is who they say; what was looked at is destroyed, and the work begins."""
    _step(request, "verify", {"method": method}, as_json=as_json)


@rights.command("deny")
def deny(
    request: _Request,
    reason: Annotated[str, typer.Option(help="A code: identity_not_confirmed, unfounded, excessive, …")],
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Deny a request."""
    _step(request, "deny", {"reason": reason}, as_json=as_json)


@rights.command("cancel")
def cancel(request: _Request, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Take a request back, as the person wishes."""
    _step(request, "cancel", None, as_json=as_json)


@rights.command("extend")
def extend(
    request: _Request,
    reason: Annotated[Literal["complexity", "number_of_requests"], typer.Option(help="Why it takes longer.")],
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Put off by when a request is answered, once; the person is to be told now."""
    _step(request, "extend", {"reason": reason}, as_json=as_json)


@rights.command("complete")
def complete(request: _Request, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Record that a request is met whose work was done by hand."""
    _step(request, "complete", None, as_json=as_json)


@rights.command("correct")
def correct(
    request: _Request,
    file: Annotated[Path, typer.Argument(help='JSON: {"trait": value}; null withdraws what is held.')],
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Correct traits for a request for rectification; who received them is told, and it is fulfilled."""
    try:
        given = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError:
        raise InvalidInputError("the file cannot be read") from None
    except msgspec.MsgspecError:
        raise InvalidInputError('the file holds no JSON object of the form {"trait": value}') from None
    body = {"corrections": [{"trait": name, "value": value} for name, value in given.items()]}
    _step(request, "corrections", body, as_json=as_json)


@rights.command("lift")
def lift(
    request: _Request,
    told_at: Annotated[str, typer.Option(help="When the person was told that it ends, RFC 3339.")],
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Lift what a request restrained, after the person was told."""
    _step(request, "lift", {"told_at": told_at}, as_json=as_json)


def _opener(kind: _Kind) -> Callable[..., None]:
    def run(
        identifier: _Type,
        unverified: _Unverified = False,  # noqa: FBT002  # a flag
        as_json: AsJson = False,  # noqa: FBT002  # a flag
    ) -> None:
        _open(kind, identifier, "", unverified=unverified, as_json=as_json)

    return run


for _name, _opened, _help in (
    ("access", "access", "Open a request for a copy of what is held."),
    ("port", "portability", "Open a request for what the person gave, to take along."),
    ("erase", "erasure", "Open a request to be forgotten."),
    ("restrict", "restriction", "Open a request that data is kept and not used; it binds at once."),
    ("rectify", "rectification", "Open a request that something wrong is put right."),
):
    rights.command(_name, help=_help)(_opener(_opened))  # type: ignore[arg-type]  # of the literals above


@rights.command("object")
def object_to(
    identifier: _Type,
    purpose: Annotated[str, typer.Option(help="To this purpose; to all unless given.")] = "",
    unverified: _Unverified = False,  # noqa: FBT002  # a flag
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Open an objection to what is done with data; it binds at once."""
    _open("objection", identifier, purpose, unverified=unverified, as_json=as_json)


def _open(kind: _Kind, identifier: str, purpose: str, *, unverified: bool, as_json: bool) -> None:
    if sys.stdin.isatty():
        value = typer.prompt(f"{identifier} of the person", hide_input=True)
    else:
        value = sys.stdin.readline().strip()
    if not value:
        raise InvalidInputError("the value of the identifier comes by standard input")
    body = {
        "identifier": {"type": identifier, "value": value},
        "kind": kind,
        "purpose": purpose,
        "verified": not unverified,
    }
    with connected() as api:
        show_record(api.post("/rights/requests", body), as_json=as_json)


def _step(request: str, verb: str, body: dict[str, Any] | None, *, as_json: bool) -> None:
    with connected() as api:
        show_record(api.post(("rights", "requests", request, verb), body), as_json=as_json)


@rights.command("archive")
def archive(
    request: str,
    out: Annotated[Path, typer.Option(help="Write it into this new file, readable by its owner only.")],
) -> None:
    """Fetch the archive of a request for access or portability, once it is built.

    The file holds somebody's data in clear: hand it to them, and delete it.
    """
    with new_file(out) as file, connected() as api:
        found = _built(api, request)
        file.write(api.data(("rights", "requests", request, "archive")))
    say(f"written to {out}: {found['bytes']} bytes, SHA-256 {found['sha256']}")


def _built(api: Api, request: str) -> dict[str, Any]:
    """Return the archive of a request when it is ready, showing how far it is until then."""
    with progress() as shown:
        task = shown.add_task("building", total=None)
        while True:
            asked: dict[str, Any] = api.get(("rights", "requests", request))
            try:
                found: dict[str, Any] = api.get(("rights", "requests", request, "archive", "status"))
            except NotFoundError:
                if asked["state"] != "in_progress":
                    raise
            else:
                if found["state"] == "ready":
                    return found
                shown.update(task, completed=found["done"], total=found["total"] or None)
            if asked["kind"] not in {"access", "portability"}:
                raise CdpError(f"a request for {asked['kind']} has no archive")
            time.sleep(_LOOK_SECONDS)
