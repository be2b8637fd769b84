"""``cdp source …`` and ``cdp key …``: who may push, who may call. Keys are printed once."""

from __future__ import annotations

from typing import Annotated

import typer

from cdp.access import SourceKind
from cdp.cli.client import connected
from cdp.cli.options import AsJson, KeyRole
from cdp.cli.output import say, show_json, show_list, show_record
from cdp.errors import IntegrityError

sources = typer.Typer(help="Sources: systems that push events.", no_args_is_help=True)
keys = typer.Typer(help="API keys: who may call the platform.", no_args_is_help=True)
_LIMITS = ("events_per_second", "burst", "max_body_kib", "max_event_kib")
_SOURCE_COLUMNS = ("name", "kind", "enabled", "signs_user_ids", "links", "default_region", *_LIMITS, "id")
_DAY_COLUMNS = (
    "day", "received", "stored", "duplicates", "quarantined", "refused", "suppressed", "waiting", "balanced",
)  # fmt: skip
_KEY_COLUMNS = ("name", "roles", "purposes", "destination", "expires_at")


PerSecond = Annotated[int | None, typer.Option(help="Events a second, to each process.")]
Burst = Annotated[int | None, typer.Option(help="Events at once; unless given, those of one second.")]
MaxBody = Annotated[int | None, typer.Option(help="KiB of one call, up to 4096; else as CDP_MAX_BODY_BYTES.")]
MaxEvent = Annotated[int | None, typer.Option(help="KiB of one event; else as CDP_MAX_EVENT_BYTES.")]


@sources.command("create")
def create_source(
    name: str,
    kind: Annotated[SourceKind, typer.Option(help="What its word counts for.")] = "server",
    links: Annotated[bool, typer.Option(help="May have links to people's own choices made.")] = False,  # noqa: FBT002  # a flag
    region: Annotated[str | None, typer.Option(help="ISO 3166: of numbers without a country code.")] = None,
    events_per_second: PerSecond = None,
    burst: Burst = None,
    max_body_kib: MaxBody = None,
    max_event_kib: MaxEvent = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Make a source and print its write key, this once."""
    limits = dict(zip(_LIMITS, (events_per_second, burst, max_body_kib, max_event_kib), strict=True))
    with connected() as api:
        given = {"name": name, "kind": kind, "links": links, "default_region": region, **limits}
        made = api.post("/sources", given)
    show_record(made, as_json=as_json)


@sources.command("update")
def update_source(
    name: str,
    events_per_second: PerSecond = None,
    burst: Burst = None,
    max_body_kib: MaxBody = None,
    max_event_kib: MaxEvent = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Say how much a source may send; what is not named stays, 0 takes a limit away."""
    named = zip(_LIMITS, (events_per_second, burst, max_body_kib, max_event_kib), strict=True)
    given = {limit: value or None for limit, value in named if value is not None}
    with connected() as api:
        show_record(api.call("PATCH", ("sources", name), body=given), as_json=as_json)


@sources.command("list")
def list_sources(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List the sources."""
    with connected() as api:
        show_list(api.items("/sources"), _SOURCE_COLUMNS, as_json=as_json)


@sources.command("counts")
def source_counts(
    name: str,
    from_: Annotated[str | None, typer.Option("--from", help="YYYY-MM-DD; from this day on.")] = None,
    to: Annotated[str | None, typer.Option(help="YYYY-MM-DD; up to this day.")] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Show what became of what a source sent, by day: all of it is accounted for, or it says where not."""
    with connected() as api:
        found = api.get(("sources", name, "counts"), **{"from": from_, "to": to})
    if as_json:
        show_json(found)
        return
    show_list(found["days"], _DAY_COLUMNS, as_json=False)
    if not found["balanced"]:
        raise IntegrityError(f"not all that {name} sent is accounted for")


@sources.command("disable")
def disable_source(name: str) -> None:
    """Refuse what a source sends from now on."""
    with connected() as api:
        api.post(("sources", name, "disable"))
    say(f"source {name} is disabled")


@sources.command("rotate")
def rotate_source(name: str, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Give a source a new write key, printed once; the old one stops working."""
    with connected() as api:
        show_record(api.post(("sources", name, "rotate")), as_json=as_json)


@sources.command("secret")
def source_secret(name: str, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Make the secret with which a browser source's site signs user ids, printed once; the old one ends."""
    with connected() as api:
        show_record(api.post(("sources", name, "secret")), as_json=as_json)


@sources.command("links")
def source_links(
    name: str,
    allow: Annotated[bool, typer.Option("--allow/--forbid", help="From now on; links made before live on.")],
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Say whether a server source may have links to people's own choices made."""
    with connected() as api:
        made = api.call("PUT", ("sources", name, "links"), body={"links": allow})
    show_record(made, as_json=as_json)


@keys.command("create")
def create_key(
    role: Annotated[list[KeyRole], typer.Option(help="What it may do; repeatable.")],
    name: Annotated[str, typer.Option(help="How it appears in lists.")],
    destination: Annotated[str, typer.Option(help="For the role destination: whose releases it pulls.")] = "",
    purpose: Annotated[list[str] | None, typer.Option(help="A purpose it may state; repeatable.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="RFC 3339 time at which it ends.")] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Make an API key and print it, this once. Nobody can grant what they lack."""
    body = {
        "name": name,
        "roles": role,
        "purposes": purpose or [],
        "destination": destination,
        "expires_at": expires_at,
    }
    with connected() as api:
        show_record(api.post("/keys", body), as_json=as_json)


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List the API keys."""
    with connected() as api:
        show_list(api.items("/keys"), _KEY_COLUMNS, as_json=as_json)


@keys.command("revoke")
def revoke_key(name: str) -> None:
    """Revoke an API key at once."""
    with connected() as api:
        api.call("DELETE", ("keys", name))
    say(f"key {name} is revoked")
