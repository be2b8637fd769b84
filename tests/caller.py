"""A caller of a running application: the operator, sources and destinations, over HTTP."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from litestar.testing import TestClient

from cdp.api import Services


class Caller:
    """A client of the running application acting as the operator, and as a source."""

    def __init__(self, http: TestClient[Any], operator_key: str, services: Services) -> None:
        self.http = http
        self.services = services
        self.operator_key = operator_key
        self._write_keys: dict[str, str] = {}

    def api(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        purpose: str = "",
        key: str = "",
        expect: int = 0,
    ) -> Any:
        """Call the REST API and return the decoded answer."""
        headers = {"Authorization": f"Bearer {key or self.operator_key}"}
        if purpose:
            headers["CDP-Purpose"] = purpose
        content = None if body is None else msgspec.json.encode(body)
        answer = self.http.request(method, f"/api/v1{path}", headers=headers, content=content)
        wanted = {expect} if expect else {200, 201, 204}
        assert answer.status_code in wanted, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def write_key(self, kind: str = "server") -> str:
        """Return the write key of the source of this kind."""
        if kind not in self._write_keys:
            made = self.api("POST", "/sources", {"name": f"test-{kind}", "kind": kind})
            self._write_keys[kind] = made["write_key"]
        return self._write_keys[kind]

    def share_write_keys(self, other: Caller) -> None:
        """Send with the write keys of another caller, whose sources this platform has, too."""
        self._write_keys.update(other._write_keys)

    def send(self, *messages: dict[str, Any], kind: str = "server", wait: bool = False) -> None:
        """Send messages in one batch call."""
        answer = self.http.post(
            "/v1/batch?wait=warehouse" if wait else "/v1/batch",
            content=msgspec.json.encode({"batch": messages}),
            auth=(self.write_key(kind), ""),
        )
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"success": True}

    def lookup(self, type_: str, value: str) -> Any:
        """Look a profile up by an identifier."""
        body = {"type": type_, "value": value}
        return self.api("POST", "/profiles/lookup", body, purpose="data_quality")

    def officer(self, name: str, *, roles: tuple[str, ...] = ("officer",), key: str = "") -> str:
        """Return a key made for somebody, by the operator unless ``key`` is given."""
        body = {"name": name, "roles": roles, "purposes": ["*"]}
        made = self.api("POST", "/keys", body, key=key)["key"]
        assert isinstance(made, str)
        return made

    def destination_key(self, destination: str, *purposes: str) -> str:
        """Return the key of a destination."""
        body = {
            "name": f"{destination}-{secrets.token_hex(4)}",
            "roles": ["destination"],
            "destination": destination,
            "purposes": purposes or ["*"],
        }
        key = self.api("POST", "/keys", body)["key"]
        assert isinstance(key, str)
        return key
