"""``cdp init | migrate | serve | doctor``: the commands that stand before the API is there."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from cdp import policy
from cdp.cli.client import OPERATOR_KEY_FILE, connected
from cdp.cli.lock import alone, announced
from cdp.cli.options import AsJson
from cdp.cli.output import say, show_json, show_list
from cdp.clock import SystemClock, rfc3339
from cdp.crypto import open_provider
from cdp.errors import CdpError, ConfigurationError
from cdp.settings import Settings, load
from cdp.store import Store, migrate

_LATE = 3_600_000_000  # microseconds that a delivery may wait before something is wrong
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # what a client on this machine calls instead


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (init, migrate_, serve, doctor):
        app.command(command.__name__.rstrip("_"))(command)


def init() -> None:
    """Prepare the data directory: schema, keys, and the operator's API key. Safe to repeat."""
    from cdp.app import initialise  # noqa: PLC0415  # all of the platform, which other commands need not load

    settings = load()
    with alone(settings.data_dir):
        made = initialise(settings)
    key = settings.data_dir / OPERATOR_KEY_FILE
    if made:
        say(f"{settings.data_dir} is ready; the operator key lies in {key} (commands find it there)")
        say(f"back up {settings.key_provider}: without it nothing sealed can ever be opened")
    else:
        say(f"{settings.data_dir} was ready already; nothing changed")


def migrate_() -> None:
    """Bring both databases to the newest schema, and its first policies in force where it has none."""
    from cdp.app import check_made, establish  # noqa: PLC0415  # as above

    settings = load()
    with alone(settings.data_dir):
        with closing(Store(settings.keys_database)) as keys, closing(Store(settings.database)) as store:
            check_made(settings, store, keys)
            done = [f"keys {revision}" for revision in migrate.upgrade(keys, migrate.Chain.KEYS)]
            done += migrate.upgrade(store)
        if establish(settings):
            say("the policies of CDP_POLICIES_DIR are in force; `cdp policy activate` brings others")
    say(f"applied {', '.join(done)}" if done else "the schema is current; nothing to do")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve the API until interrupted; other commands then go through this server."""
    from cdp.app import build  # noqa: PLC0415  # as above
    from cdp.audit import verifier_sha256  # noqa: PLC0415  # as above
    from cdp.cli.server import server  # noqa: PLC0415  # as above

    url = f"http://{_LOCAL.get(host, host)}:{port}"
    os.environ.setdefault("CDP_PUBLIC_URL", url)  # the server process, too, makes links to where it listens
    settings = load()
    _check_free(host, port)
    with alone(settings.data_dir), announced(settings.data_dir, url):
        with closing(build(settings)) as platform:  # a wrong configuration is said here, in one line
            key = platform.services.audit.key.verifier_text()
        say(f"API on {url}, REST docs at {url}/schema, GraphQL at {url}/graphql; Ctrl-C ends it")
        say(f"whoever verifies the audit log pins its key {key} and verify.py, SHA-256 {verifier_sha256()}")
        server(settings, host, port).serve()


def _check_free(host: str, port: int) -> None:
    """Refuse an address that cannot be had, before a server process is started for it."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"cannot listen on {host} port {port}: {reason}") from None


def doctor(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Check what the platform needs, one thing at a time; exit with 1 when something is wrong."""
    settings = load()
    checks: dict[str, Callable[[], str]] = {
        "data directory": lambda: _directory(settings.data_dir),
        "policies": lambda: f"bundle {policy.load(settings.policies_dir).sha256[:12]}",
        "root key": lambda: open_provider(settings.key_provider).describe(),
        "database": lambda: _database(settings),
        "warehouse": lambda: _warehouse(settings),
        "segments": lambda: _segments(settings),
        "operator key": lambda: _operator_key(settings),
        "intake": lambda: _intake(settings),
        "witness": lambda: _witness(settings),
        "platform": _ready,
        "events": _balance,
        "audit log": _pins,
    }
    found = [_checked(name, check) for name, check in checks.items()]
    if as_json:
        show_json(found)
    else:
        show_list(found, ("check", "ok", "detail"), as_json=False)
    wrong = [str(item["check"]) for item in found if not item["ok"]]
    if wrong:
        raise ConfigurationError(f"not in order: {', '.join(wrong)}")


def _checked(name: str, check: Callable[[], str]) -> dict[str, object]:
    try:
        return {"check": name, "ok": True, "detail": check()}
    except CdpError as error:
        return {"check": name, "ok": False, "detail": error.message}


def _directory(path: Path) -> str:
    if not os.access(path, os.W_OK):
        raise ConfigurationError(f"{path} does not exist or cannot be written; run `cdp init`")
    return str(path)


def _database(settings: Settings) -> str:
    from cdp.app import check_made  # noqa: PLC0415  # as above

    with closing(Store(settings.database)) as store, closing(Store(settings.keys_database)) as keys:
        check_made(settings, store, keys)
        pending = migrate.pending(store) + migrate.pending(keys, migrate.Chain.KEYS)
    if pending:
        raise ConfigurationError("the schema is not current; run `cdp migrate`")
    return "schema is current"


def _warehouse(settings: Settings) -> str:
    from cdp.warehouse import Directory  # noqa: PLC0415  # as above

    return Directory(settings.mirror_dir).describe()


def _segments(settings: Settings) -> str:
    from cdp.segments import lag  # noqa: PLC0415  # as above

    with closing(Store(settings.database)) as store:
        return lag(store, SystemClock()).describe()


def _intake(settings: Settings) -> str:
    from cdp.app import stream_at  # noqa: PLC0415  # as above
    from cdp.intake import open_stream  # noqa: PLC0415  # as above

    address = stream_at(settings)
    if address is None:
        return "direct"
    with closing(open_stream(address)) as stream:
        stream.check()
        found = stream.backlog()
    if found.oldest_at is not None and SystemClock().now() - found.oldest_at > _LATE:
        since = rfc3339(found.oldest_at)
        raise ConfigurationError(
            f"{found.messages} deliveries wait, the oldest since {since}: is a `cdp worker` at work?"
        )
    return f"stream {address.name}: {found.messages} deliveries wait"


def _witness(settings: Settings) -> str:
    from cdp.audit import open_witness, witness_state  # noqa: PLC0415  # as above

    at = open_witness(settings.witness_url, settings.witness_key, settings.witness_ca)
    if at is None:
        return "none: CDP_WITNESS_URL names one"
    with closing(Store(settings.database)) as store:
        state = witness_state(store, at.key.verifier_text())
    if state.trouble:
        since = rfc3339(state.since)
        raise ConfigurationError(f"{at.key.name} does not countersign since {since}: {state.trouble}")
    return f"{at.key.name} countersigned up to {state.size}"


def _operator_key(settings: Settings) -> str:
    if os.environ.get("CDP_API_KEY"):
        return "from CDP_API_KEY"
    path = settings.data_dir / OPERATOR_KEY_FILE
    if not path.is_file():
        raise ConfigurationError(f"no {path}; run `cdp init`, or set CDP_API_KEY")
    if path.stat().st_mode & 0o077:
        raise ConfigurationError(f"{path} can be read by others; run chmod 600 on it")
    return str(path)


def _ready() -> str:
    with connected() as api:
        return str(api.get("/health/ready")["status"])


def _balance() -> str:
    with connected() as api:
        found = api.get("/counts")
    if not found["balanced"]:
        raise ConfigurationError("not all that was received is accounted for; see `cdp source counts NAME`")
    return f"{found['received']} received, all accounted for"


def _pins() -> str:
    with connected() as api:
        found = api.get("/audit/verifier")
    return f"key {found['key']}, SHA-256 of verify.py {found['verify_py_sha256']}"
