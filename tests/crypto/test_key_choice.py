"""How a root is chosen: by ``CDP_KEYS``, with its library imported only then."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from key_servers import ARN, TOKEN, KmsServer, VaultServer, environment

from cdp.crypto import open_provider
from cdp.errors import ConfigurationError, KeyAccessError, MissingExtraError

SECRET = bytes(range(32))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vault:https://vault.example", "MOUNT/KEY"),
        ("vault:https://vault.example/transit", "MOUNT/KEY"),
        ("vault:ftp://vault.example/transit/cdp", "MOUNT/KEY"),
        ("vault:transit/cdp", "MOUNT/KEY"),
        ("vault:http://vault.example/transit/cdp", "https only"),
        ("vault:https://token@vault.example/transit/cdp", "no credentials"),
    ],
)
def test_a_place_that_cannot_be_or_must_not_be_is_refused(
    spec: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(monkeypatch)
    pytest.importorskip("hvac", reason="pip install 'cdp[vault]'")
    with pytest.raises(ConfigurationError, match=message):
        open_provider(spec)


def test_the_token_is_read_from_a_file_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hvac", reason="pip install 'cdp[vault]'")
    server = VaultServer()
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    token = tmp_path / "token"
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(token))
    spec = f"vault:http://127.0.0.1:{server.port}/transit/cdp"
    with pytest.raises(ConfigurationError, match="VAULT_TOKEN"):
        open_provider(spec)
    token.write_text("old\n", encoding="ascii")
    provider = open_provider(spec)
    with pytest.raises(KeyAccessError, match="refuses the token"):
        provider.wrap(SECRET, b"c")
    token.write_text(TOKEN + "\n", encoding="ascii")
    assert provider.unwrap(provider.wrap(SECRET, b"c"), b"c") == SECRET
    server.close()


def test_a_region_comes_from_the_arn_and_is_asked_for_without(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3", reason="pip install 'cdp[aws]'")
    environment(monkeypatch)
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    server = KmsServer()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    provider = open_provider(f"awskms:{ARN}")
    assert provider.unwrap(provider.wrap(SECRET, b"c"), b"c") == SECRET
    with pytest.raises(ConfigurationError, match="region"):
        open_provider("awskms:alias/cdp")
    server.close()


@pytest.mark.parametrize(
    ("spec", "library", "extra"),
    [
        ("vault:https://vault.example/transit/cdp", "hvac", "vault"),
        ("awskms:alias/cdp", "boto3", "aws"),
    ],
)
def test_a_missing_library_tells_what_to_install(
    spec: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("cdp.crypto.vault", "cdp.crypto.awskms"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    blocked: Any = None
    monkeypatch.setitem(sys.modules, library, blocked)
    with pytest.raises(MissingExtraError, match=rf"cdp\[{extra}\]"):
        open_provider(spec)
