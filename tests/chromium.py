"""Debian's Chromium, spoken to over a pipe (Chrome DevTools Protocol): no driver, no library between.

Only what the tests need. Every request that the browser makes is kept, and names other than 127.0.0.1 do not
resolve, so that a page which reached for another server would fail and be seen.
"""

from __future__ import annotations

import base64
import os
import select
import shutil
import subprocess
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

EXECUTABLE = shutil.which("chromium")
_PATIENCE = 20.0
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the pages are our own, and CI may be root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
    "--hide-scrollbars",
    "--lang=en-GB",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
_KEYS = {
    "Tab": 9,
    "Enter": 13,
    "Space": 32,
    "ArrowDown": 40,
    "ArrowUp": 38,
    "ArrowLeft": 37,
    "ArrowRight": 39,
}
_TEXTS = {"Enter": "\r", "Space": " "}


class Chromium:
    """One browser; ``page`` opens a fresh, empty context in it."""

    def __init__(self, profile: Path) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        command = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        arguments = [str(EXECUTABLE), *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with (profile / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", command, *arguments], pass_fds=(theirs_in, theirs_out), stdout=log, stderr=log
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self._read, self._write = ours_in, ours_out
        self._buffer = b""
        self._events: deque[Any] = deque()
        self._number = 0

    def page(self) -> Page:
        """Open a page that shares nothing with any other."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session)

    def call(self, method: str, session: str = "", **params: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, msgspec.json.encode(message) + b"\0")
        until = time.monotonic() + _PATIENCE
        while True:
            answer = self._next(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self._events.append(answer)

    def events(self, until_method: str = "") -> list[Any]:
        """Return the events that came in, at least up to one of ``until_method``."""
        until = time.monotonic() + _PATIENCE
        while until_method and not any(event.get("method") == until_method for event in self._events):
            self._events.append(self._next(until))
        found = list(self._events)
        self._events.clear()
        return found

    def _next(self, until: float) -> Any:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            read = os.read(self._read, 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return msgspec.json.decode(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call("Browser.close")
        self._process.wait(_PATIENCE)
        os.close(self._read)
        os.close(self._write)


class Page:
    """One tab, used as a person does: by address, keyboard and eyes."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        self.requests: list[str] = []
        self.problems: list[str] = []
        for domain in ("Page", "Network", "Accessibility", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol on this page."""
        return self._browser.call(method, self._session, **params)

    def goto(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.loaded()

    def loaded(self) -> None:
        """Wait for a page to be loaded; keep what it asked for."""
        self._keep(self._browser.events("Page.loadEventFired"))

    def press(self, *keys: str, loads: bool = False) -> None:
        """Press keys, one after the other; ``loads`` when the last of them leads to another page."""
        self._keep(self._browser.events())
        for key in keys:
            code = _KEYS[key]
            given = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
            text = {"text": _TEXTS[key]} if key in _TEXTS else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", **given, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **given)
        if loads:
            self.loaded()

    def without_scripts(self) -> None:
        """Switch JavaScript off."""
        self.call("Emulation.setScriptExecutionDisabled", value=True)

    def width(self, pixels: int, height: int = 800) -> None:
        """Make the window ``pixels`` of CSS wide."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=pixels,
            height=height,
            deviceScaleFactor=1,
            mobile=True,
        )

    def look(self, expression: str) -> Any:
        """Return the value of an expression on the page (the inspector's, which no policy binds)."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def text(self) -> str:
        """Return what the page reads."""
        return str(self.look("document.body.innerText"))

    def accessible(self) -> list[dict[str, str]]:
        """Return role, name and description of everything that a screen reader is told."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            {part: str(node.get(part, {}).get("value", "")) for part in ("role", "name", "description")}
            for node in nodes
            if not node.get("ignored")
        ]

    def focused(self) -> str:
        """Return id, name or text of what has the focus."""
        return str(
            self.look(
                "(e => e === document.body ? '' : e.id || e.value || e.textContent.trim())"
                "(document.activeElement)"
            )
        )

    def picture(self, path: Path) -> None:
        """Store a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _keep(self, events: list[Any]) -> None:
        for event in events:
            params = event.get("params", {})
            if event.get("method") == "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
                self.problems.append(params["entry"]["text"])
            elif event.get("method") == "Runtime.exceptionThrown":
                self.problems.append("a script failed")
