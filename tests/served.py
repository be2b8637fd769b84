"""`cdp serve`, or another program that serves the platform, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cdp.settings import Settings


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment of a process with these settings, and nothing else."""
    return {
        "PATH": str(Path(sys.executable).parent),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "CDP_DATA_DIR": str(settings.data_dir),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_KEYS_DATABASE_URL": settings.keys_database_url,
        "CDP_POLICIES_DIR": str(settings.policies_dir),
        "CDP_INTAKE": settings.intake,
    }


@contextmanager
def served(
    settings: Settings, program: Sequence[str] = ("-m", "cdp", "serve", "--port"), **more: Any
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yield the address of a server that is ready, and its process; it ends with the block.

    :param program: what Python runs; it is given the port.
    :param more: further settings, as ``body_timeout_s``.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {f"CDP_{name.upper()}": str(value) for name, value in more.items()}
    command = [sys.executable, *program, str(port)]
    process = subprocess.Popen(command, env=environment_of(settings) | given)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process)
        yield url, process
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the server did not become ready")
