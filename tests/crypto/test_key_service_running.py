"""A running platform whose key service is gone, slow, busy or lies: it goes on, says so, and recovers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from key_servers import KeyServer, KmsServer, VaultServer, environment
from litestar.testing import TestClient
from recovery_world import identify, number_of
from sqlalchemy import select

from cdp import app
from cdp.clock import FixedClock
from cdp.crypto.remote import Patience
from cdp.crypto.tables import keks, secrets
from cdp.errors import KeyAccessError
from cdp.settings import Settings
from cdp.store import Store

HASTE = Patience(total_s=0.6, attempt_s=0.2, pause_s=0.02)
POLICIES = Path(__file__).parents[2] / "policies"


def _busy(service: KeyServer) -> None:
    service.errors.extend([(503, {"errors": ["Vault is sealed"], "__type": "ThrottlingException"})] * 1000)


def _slow(service: KeyServer) -> None:
    service.pause_s = 1.0


def _lying(service: KeyServer) -> None:
    service.lie = lambda held: bytes([held[0] ^ 1]) + held[1:]


def _garbling(service: KeyServer) -> None:
    service.raw = b"<html>proxy</html>"


def well(service: KeyServer) -> None:
    service.errors.clear()
    service.pause_s, service.lie, service.raw = 0.0, None, None


@pytest.fixture(params=["vault", "awskms"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    environment(monkeypatch)
    pytest.importorskip("hvac" if request.param == "vault" else "boto3")
    made = VaultServer() if request.param == "vault" else KmsServer()
    monkeypatch.setattr(f"cdp.crypto.{request.param}.Patience", lambda: HASTE)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.port}")
    yield made
    made.close()


@pytest.fixture
def chosen(service: KeyServer, tmp_path: Path) -> Settings:
    vault = f"vault:http://127.0.0.1:{service.port}/transit/cdp"
    keys = vault if isinstance(service, VaultServer) else "awskms:alias/cdp"
    made = Settings(data_dir=tmp_path / "var", policies_dir=POLICIES, keys=keys)
    app.initialise(made, FixedClock(0))
    return made


@pytest.mark.parametrize("fault", [_busy, _slow, _lying, _garbling])
def test_it_goes_on_says_so_and_recovers_without_a_restart(
    chosen: Settings, service: KeyServer, clock: FixedClock, fault: Callable[[KeyServer], None]
) -> None:
    key = (chosen.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    platform = app.build(chosen, clock)
    with TestClient(app.application(platform)) as http:
        caller = Caller(http, key, platform.services)
        identify(caller, "ann")
        fault(service)
        identify(caller, "ben")
        assert number_of(caller, "ben") is not None
        mailer = caller.destination_key("mailer")  # what is derived for a new destination asks nobody
        hook = {"url": "https://mailer.example/recalls"}
        assert caller.api("PUT", "/destinations/mailer/webhook", hook, key=mailer)["secret"]
        assert http.get("/health/ready").status_code == 200
        shown = caller.api("GET", "/keyring")
        assert shown["answers"] is False
        assert shown["problem"]
        refused = caller.api("POST", "/keyring/rotate", expect=503)
        assert refused["type"] == "/problems/keys-unavailable"
        assert "proxy" not in refused["detail"]
        assert [one["version"] for one in caller.api("GET", "/keyring")["versions"]] == [1]
        well(service)
        assert caller.api("GET", "/keyring")["answers"] is True
        assert caller.api("POST", "/keyring/rotate", expect=202)["current"] == 2
        identify(caller, "cleo")
    fault(service)
    before = _rows(chosen)
    with pytest.raises(KeyAccessError):
        app.build(chosen, clock)
    assert _rows(chosen) == before
    well(service)
    app.build(chosen, clock).close()


def _rows(settings: Settings) -> list[tuple[Any, ...]]:
    with closing(Store(settings.keys_database)) as store, store.reading() as connection:
        return [tuple(row) for table in (keks, secrets) for row in connection.execute(select(table))]
