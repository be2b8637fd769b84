"""`cdp import` against the application of a test, on whatever it stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import pytest
from caller import Caller
from typer.testing import CliRunner

from cdp.cli import import_file
from cdp.cli.client import Api
from cdp.cli.commands import app
from cdp.errors import CdpError


class Importer:
    """Runs the command as the operator.

    :param calls: how many calls of the platform a run may make before it breaks off.
    """

    def __init__(self, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        self.caller = caller
        self.calls = 1 << 60
        monkeypatch.setattr(import_file, "connected", self._connected)

    @contextmanager
    def _connected(self) -> Iterator[Api]:
        yield Api(self._send, self.caller.operator_key)

    def _send(self, request: httpx.Request) -> httpx.Response:
        if not self.calls:
            raise KeyboardInterrupt
        self.calls -= 1
        return self.caller.http.request(
            request.method,
            str(request.url.raw_path, "ascii"),
            headers=request.headers,
            content=request.content,
        )

    def __call__(self, *words: object, refused: bool = False) -> dict[str, Any]:
        """Run the command; returns its report, of a refusal with the message under ``error``."""
        done = CliRunner().invoke(app, ["import", *map(str, words), "--json"])
        error = done.exception
        assert refused == isinstance(error, CdpError), (done.output, error)
        report: dict[str, Any] = msgspec.json.decode(done.stdout) if done.stdout else {}
        return {**report, "error": error.message} if isinstance(error, CdpError) else report

    def broken_off(self, *words: object, calls: int) -> None:
        """Run the command and break it off after some calls."""
        self.calls = calls
        done = CliRunner().invoke(app, ["import", *map(str, words)])
        self.calls = 1 << 60
        assert done.exit_code == 130 or isinstance(done.exception, KeyboardInterrupt), done.output
