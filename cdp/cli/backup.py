"""``cdp backup | restore``: copies of the databases, and the way back.

A backup is asked for over the API, which records it and says how far the journal is; the copy itself is
made here, beside a server that goes on. A restore stands before the API: it needs the data directory for
itself and the databases empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from cdp.cli.client import connected
from cdp.cli.lock import alone
from cdp.cli.options import AsJson
from cdp.cli.output import progress, say, show_record
from cdp.errors import InvalidInputError, NotRecoveredError
from cdp.settings import load
from cdp.store import Progress as Report
from cdp.store import Store

_NO_JOURNAL = "journal_lost"
_WithoutBackup = Annotated[
    bool,
    typer.Option(
        "--without-backup",
        help="The main database is lost and has no backup: begin an empty one, replay the journal into it.",
    ),
]
_WithoutJournal = Annotated[
    bool,
    typer.Option(
        "--without-journal",
        help="The journal is lost: who withdrew or was erased since is back. An officer's word, on record.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command()(backup)
    app.command()(restore)


def backup(
    out: Annotated[Path, typer.Option(help="Folder to make; it holds this backup alone.")],
    keys: Annotated[
        Path | None,
        typer.Option(help="Back the key database up too, into a folder of its own: delete it soon."),
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Copy the main database as it is now into a folder, while the platform goes on."""
    from cdp.recovery import Asked, back_up, back_up_keys  # noqa: PLC0415  # most of the platform

    settings = load()
    if keys is not None and keys.resolve() == out.resolve():
        raise InvalidInputError("--keys takes a folder of its own: key backups live shorter than the others")
    with connected(settings) as api:
        asked = msgspec.convert(api.post("/recovery/backups", {"keys": keys is not None}), Asked)
        with closing(Store(settings.database)) as store, _bar("main database") as report:
            manifest = back_up(store, out, asked, report, workspace=settings.workspace)
        if keys is not None:
            with closing(Store(settings.keys_database)) as store, _bar("key database") as report:
                back_up_keys(store, keys, asked, report, workspace=settings.workspace)
    if as_json:
        show_record(msgspec.to_builtins(manifest), as_json=True)
        return
    say(f"{out} holds backup {manifest.id}: commit {manifest.commit_no}, {manifest.log_size} audit entries")
    say("keep the journal too, on another disk: a restore is not served without it")
    if keys is None:
        say("the keys are not in it; `--keys FOLDER` backs them up apart")


def restore(
    folder: Annotated[Path | None, typer.Argument(help="A backup's folder.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Restore the key database too, from its folder.")] = None,
    without_backup: _WithoutBackup = False,  # noqa: FBT002  # a flag
    without_journal: _WithoutJournal = False,  # noqa: FBT002  # a flag
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Fill the empty databases from a backup and replay the journal; without a folder only the latter."""
    from cdp.app import begin_anew, replay  # noqa: PLC0415  # all of the platform

    settings = load()
    if folder is None and keys is not None and not without_backup:
        raise InvalidInputError("--keys goes with a backup's folder, or with --without-backup")
    if folder is not None and without_backup:
        raise InvalidInputError("a backup's folder and --without-backup exclude each other")
    if folder is not None or without_backup or not without_journal:
        with alone(settings.data_dir):
            _fill(folder, keys)
            if without_backup:
                state, replayed = begin_anew(settings)
            elif not without_journal:
                state, replayed = replay(settings)
    if without_journal:
        with connected(settings) as api:
            done = api.post("/recovery/replay", {"without_journal": True, "reason": _NO_JOURNAL})
    elif not state.ready:
        raise NotRecoveredError(state.reason)
    else:
        done = msgspec.to_builtins(replayed)
    show_record(done, as_json=as_json)
    if not as_json:
        say("the database is in order; `cdp audit verify`, then `cdp serve`")


def _fill(folder: Path | None, keys: Path | None) -> None:
    from cdp import recovery  # noqa: PLC0415  # most of the platform

    settings = load()
    main = None if folder is None else recovery.read_manifest(folder, settings.workspace)
    held = None if keys is None else recovery.read_manifest(keys, settings.workspace)
    with closing(Store(settings.database)) as store, closing(Store(settings.keys_database)) as key_store:
        if main is not None:
            recovery.check_empty(store, main)
        if keys is not None and held is not None:
            with _bar("key database") as report:
                recovery.restore_keys(key_store, keys, held, report)
        if folder is not None and main is not None:
            with _bar("main database") as report:
                recovery.restore(store, folder, main, report)
            recovery.drop_derived(settings.mirror_dir)


@contextmanager
def _bar(what: str) -> Iterator[Report]:
    """Show how far a copy is."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with progress(*columns, TimeRemainingColumn()) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total or None)
