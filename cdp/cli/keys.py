"""``cdp keys status | rotate | move``.

A move stands before the API, as `cdp init` does: over the API a stolen admin key would be enough to have all
keys wrapped under somebody else's root.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from cdp.cli.client import Api, connected
from cdp.cli.lock import alone
from cdp.cli.options import AsJson
from cdp.cli.output import progress, say, show_json, show_list
from cdp.settings import load

keyring = typer.Typer(help="Encryption keys.", no_args_is_help=True)
_COLUMNS = ("version", "state", "person", "proof", "buckets", "created_at", "rewrapped_at", "destroy_at")
_POLL_SECONDS = 1.0


@keyring.command("status")
def status(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show the root, each version of the key-encryption key, and how many keys lie under it."""
    with connected() as api:
        _show(api.get("/keyring"), as_json=as_json)


@keyring.command("rotate")
def rotate(
    wait: Annotated[bool, typer.Option(help="Wait until everything is re-wrapped.")] = True,  # noqa: FBT002  # a flag
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Make a new key-encryption key and re-wrap everything under it, beside ingest; go on with one begun."""
    with connected() as api:
        found = api.get("/keyring")
        if not _is_rewrapping(found):
            found = api.post("/keyring/rotate")
        if wait:
            found = _follow(api, found)
        _show(found, as_json=as_json)


@keyring.command("move")
def move(
    to: Annotated[
        str, typer.Option(help="The new root, as in CDP_KEYS; a key file that is missing is made.")
    ],
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Put all keys under another root, at once; the server is down, data and keys stay the same."""
    from cdp.app import move_root  # noqa: PLC0415  # all of the platform, which other commands need not load

    settings = load()
    with alone(settings.data_dir):
        moved = move_root(settings, to)
    if as_json:
        show_json({"moved": moved, "from": settings.key_provider, "to": to})
        return
    say(f"all keys lie under {to}" if moved else f"nothing to do: all keys lay under {to} already")
    say(f"set CDP_KEYS={to} before anything starts, here and on every other server")
    say(
        f"keep {settings.key_provider} for {settings.key_backup_days} days: a backup of the key database "
        "from before opens under it alone"
    )


def _follow(api: Api, found: Any) -> Any:
    """Show the progress on standard error until nothing lies under an old version."""
    try:
        with progress() as shown:
            task = shown.add_task("re-wrapping keys")
            while _is_rewrapping(found):
                held = {version["version"]: _keys(version) for version in found["versions"]}
                shown.update(task, total=sum(held.values()), completed=held[found["current"]])
                time.sleep(_POLL_SECONDS)
                found = api.get("/keyring")
    except KeyboardInterrupt:
        say("interrupted; a running server goes on with it, without one the next `cdp keys rotate` does")
        raise typer.Exit(1) from None
    return found


def _is_rewrapping(found: Any) -> bool:
    return any(version["state"] == "rewrapping" for version in found["versions"])


def _keys(version: Any) -> int:
    return int(version["buckets"]) + sum(map(int, version["deks"].values()))


def _show(found: Any, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    say(f"root: {found['provider']}, {'answers' if found['answers'] else found['problem']}")
    for lost in found["lost"]:
        say(
            f"KEK version {lost['version']} is lost: the {lost['keys']} keys under it do not open; "
            "restore the key database from its backup"
        )
    rows = [{**version, "person": 0, "proof": 0, **version["deks"]} for version in found["versions"]]
    show_list(rows, _COLUMNS, as_json=False)
