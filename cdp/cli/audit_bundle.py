"""``cdp audit bundle | proof``: what is taken out of the house to be verified there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn

from cdp.cli.client import connected
from cdp.cli.output import new_file, progress, say
from cdp.errors import InvalidInputError

_Out = Annotated[Path, typer.Option(help="The new file to write.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command("bundle")(bundle)
    app.command("proof")(proof)


def bundle(
    out: _Out,
    from_: Annotated[str | None, typer.Option("--from", help="RFC 3339; not before.")] = None,
    to: Annotated[str | None, typer.Option(help="RFC 3339; before.")] = None,
    pinned: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint that the reader holds; the bundle leads back to it."),
    ] = None,
) -> None:
    """Write an archive from which a period of the log is verified offline, by the verify.py in it."""
    sizes = [_size(path) for path in pinned or ()]
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with new_file(out) as file, connected() as api, progress(*columns) as shown:
        task = shown.add_task("bundle", total=None)
        api.download(
            "/audit/bundle",
            file,
            lambda done, total: shown.update(task, completed=done, total=total),
            params={"from": from_, "to": to, "pinned": sizes},
        )
        known = api.get("/audit/verifier")
    say(f"written to {out}; whoever checks it pins, from elsewhere:")
    say(f"the log's key          {known['key']}")
    say(f"SHA-256 of verify.py   {known['verify_py_sha256']}")


def proof(index: int, out: _Out) -> None:
    """Write the proof that an entry is in the log; ``verify.py --proof`` checks it offline."""
    with new_file(out) as file, connected() as api:
        file.write(api.text("/audit/proof/file", index=index).encode())
    say(f"written to {out}")


def _size(path: Path) -> int:
    """Return the size that a checkpoint speaks of."""
    try:
        with path.open(encoding="utf-8") as file:
            return int(file.read(1000).split("\n")[1])
    except (OSError, ValueError, IndexError):
        raise InvalidInputError(f"{path} is no signed checkpoint") from None
