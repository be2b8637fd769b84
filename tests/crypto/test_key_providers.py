"""One contract for every root: the file, Vault and AWS KMS; and what a service across a network may do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from key_servers import TOKEN, Answer, KeyServer, KmsServer, VaultServer, environment

from cdp.clock import FixedClock
from cdp.crypto import FileKeyProvider, KeyProvider, Keyring
from cdp.crypto.keys import SECRETS
from cdp.crypto.remote import Patience, RemoteKeyProvider
from cdp.errors import KeyAccessError
from cdp.store import Store

SECRET = bytes(range(32))
HASTE = Patience(total_s=0.6, attempt_s=0.15, pause_s=0.02)
BUSY: dict[str, list[Answer]] = {
    "vault": [
        (503, {"errors": ["Vault is sealed"]}),
        (429, {"errors": ['request path "transit/decrypt/cdp": rate limit quota exceeded']}),
        (500, {"errors": ["internal error"]}),
        (502, {"errors": []}),
        (412, {"errors": ["required index state not present"]}),
    ],
    "awskms": [
        (400, {"__type": "ThrottlingException", "message": "Rate exceeded"}),
        (500, {"__type": "KMSInternalException"}),
        (503, {"__type": "DependencyTimeoutException"}),
    ],
}
REFUSED: dict[str, list[tuple[Answer, str]]] = {
    "vault": [
        ((403, {"errors": ["permission denied"]}), "refuses the token"),
        ((404, {"errors": ["no handler for route"]}), "no such transit key"),
        ((400, {"errors": ["cipher: message authentication failed"]}), "wrapped elsewhere"),
        ((501, {"errors": []}), "not initialised"),
    ],
    "awskms": [
        (
            (400, {"__type": "AccessDeniedException", "Message": "not authorized"}),
            "refuses these credentials",
        ),
        ((400, {"__type": "NotFoundException"}), "no such key"),
        ((400, {"__type": "DisabledException"}), "disabled"),
        ((400, {"__type": "KMSInvalidStateException"}), "cannot be used"),
        ((400, {"__type": "IncorrectKeyException"}), "did not wrap this"),
        ((400, {"__type": "InvalidCiphertextException"}), "did not wrap this"),
        ((400, {"__type": "ExpiredTokenException"}), "expired"),
    ],
}


class Root(NamedTuple):
    """A provider, the service behind it, and how to reach it in haste or under another root."""

    kind: str
    provider: KeyProvider
    server: KeyServer | None
    other: KeyProvider

    @property
    def service(self) -> KeyServer:
        assert self.server is not None
        return self.server


def _remote(kind: str, server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> RemoteKeyProvider:
    if kind == "vault":
        vault = pytest.importorskip("cdp.crypto.vault", reason="pip install 'cdp[vault]'")
        made = vault.VaultKeyProvider(f"http://127.0.0.1:{server.port}/transit/cdp", HASTE)
    else:
        aws = pytest.importorskip("cdp.crypto.awskms", reason="pip install 'cdp[aws]'")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        made = aws.AwsKmsKeyProvider("alias/cdp", HASTE)
    assert isinstance(made, RemoteKeyProvider)
    return made


@pytest.fixture
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Root]:
    kind = request.param
    if kind == "file":
        here, there = (FileKeyProvider.create(tmp_path / name) for name in ("root.key", "other.key"))
        yield Root(kind, here, None, there)
        return
    environment(monkeypatch)
    servers = [VaultServer(), VaultServer()] if kind == "vault" else [KmsServer(), KmsServer()]
    here_, there_ = (_remote(kind, server, monkeypatch) for server in servers)
    yield Root(kind, here_, servers[0], there_)
    for server in servers:
        server.close()


every_root = pytest.mark.parametrize("root", ["file", "vault", "awskms"], indirect=True)
every_service = pytest.mark.parametrize("root", ["vault", "awskms"], indirect=True)


# -- the contract ----------------------------------------------------------------------------------


@every_root
def test_what_is_wrapped_opens_and_is_not_to_be_seen(root: Root) -> None:
    wrapped = root.provider.wrap(SECRET, b"kek 1")
    assert root.provider.unwrap(wrapped, b"kek 1") == SECRET
    assert SECRET not in wrapped
    assert root.provider.wrap(SECRET, b"kek 1") != wrapped


@every_root
def test_another_context_does_not_open(root: Root) -> None:
    wrapped = root.provider.wrap(SECRET, b"kek 1")
    with pytest.raises(KeyAccessError):
        root.provider.unwrap(wrapped, b"kek 2")


@every_root
def test_another_root_does_not_open(root: Root) -> None:
    with pytest.raises(KeyAccessError):
        root.other.unwrap(root.provider.wrap(SECRET, b"kek 1"), b"kek 1")


@every_root
def test_an_altered_or_cut_secret_does_not_open(root: Root) -> None:
    wrapped = root.provider.wrap(SECRET, b"kek 1")
    for broken in (wrapped[:-1], wrapped[:5], b"", wrapped[:-6] + b"AAAAAA", b"\xff" * 60):
        with pytest.raises(KeyAccessError):
            root.provider.unwrap(broken, b"kek 1")


@every_root
def test_a_root_describes_itself_without_secrets(root: Root) -> None:
    shown = root.provider.describe()
    assert {"file": "root.key", "vault": "transit/cdp", "awskms": "alias/cdp"}[root.kind] in shown
    assert TOKEN not in shown


@every_root
def test_a_keyring_lives_on_it(root: Root, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'keys.sqlite'}")
    clock = FixedClock(0)
    Keyring.initialise(store, root.provider, "test", clock)
    ring = Keyring(store, root.provider, "test", clock)
    ring.create([1])
    secret = ring.secret("index")
    again = Keyring(store, root.provider, "test", clock)
    assert again.secret("index") == secret
    assert again.deks([1])[1].key == ring.deks([1])[1].key
    with pytest.raises(KeyAccessError):
        Keyring(store, root.other, "test", clock)
    store.close()


# -- a service that is busy, refuses, is slow or gone -------------------------------------------------


@every_service
def test_a_busy_service_is_asked_again(root: Root) -> None:
    for error in BUSY[root.kind]:
        root.service.errors.append(error)
        wrapped = root.provider.wrap(SECRET, b"c")
        root.service.errors.extend([error, error])
        assert root.provider.unwrap(wrapped, b"c") == SECRET


@every_service
def test_one_that_stays_busy_is_given_up_in_time(root: Root) -> None:
    wrapped = root.provider.wrap(SECRET, b"c")
    for error in BUSY[root.kind]:
        root.service.errors.extend([error] * 200)
        started = time.monotonic()
        with pytest.raises(KeyAccessError, match="try again later"):
            root.provider.unwrap(wrapped, b"c")
        assert time.monotonic() - started < 2
        assert 190 < len(root.service.errors) < 200  # a few attempts, not a storm
        root.service.errors.clear()
    assert root.provider.unwrap(wrapped, b"c") == SECRET


@every_service
def test_a_refusal_is_named_with_what_to_do_and_not_repeated(root: Root) -> None:
    wrapped = root.provider.wrap(SECRET, b"c")
    for error, words in REFUSED[root.kind]:
        root.service.errors.extend([error, (200, {})])
        with pytest.raises(KeyAccessError, match=words):
            root.provider.unwrap(wrapped, b"c")
        assert len(root.service.errors) == 1
        root.service.errors.clear()


@every_service
@pytest.mark.parametrize("fault", ["pause_s", "trickle_s"])
def test_a_slow_service_is_not_waited_for(root: Root, fault: str) -> None:
    """Also one whose bytes trickle, so that no single wait for the socket is long."""
    wrapped = root.provider.wrap(SECRET, b"c")
    setattr(root.service, fault, {"pause_s": 1.0, "trickle_s": 0.1}[fault])
    started = time.monotonic()
    with pytest.raises(KeyAccessError, match="try again later"):
        root.provider.unwrap(wrapped, b"c")
    assert time.monotonic() - started < 2


@every_service
def test_a_service_that_is_gone_is_named(root: Root) -> None:
    wrapped = root.provider.wrap(SECRET, b"c")
    root.service.close()
    with pytest.raises(KeyAccessError, match="cannot be reached"):
        root.provider.unwrap(wrapped, b"c")


@every_service
def test_a_running_keyring_outlives_its_service(root: Root, tmp_path: Path) -> None:
    store, clock = Store(f"sqlite:///{tmp_path / 'keys.sqlite'}"), FixedClock(0)
    Keyring.initialise(store, root.provider, "test", clock)
    ring = Keyring(store, root.provider, "test", clock)
    ring.secret("index")
    root.service.close()
    ring.create([1])
    ring.observe_epoch(1)
    assert list(ring.deks([1])) == [1]
    assert len(ring.secret("index")) == 32
    with pytest.raises(KeyAccessError, match="cannot be reached"):
        ring.secret("journal")
    with pytest.raises(KeyAccessError, match="cannot be reached"):
        Keyring(store, root.provider, "test", clock)
    store.close()


# -- a service that lies ---------------------------------------------------------------------------


LIES: dict[str, Callable[[bytes], bytes]] = {
    "another secret": lambda held: bytes(len(held)),
    "one bit": lambda held: bytes([held[0] ^ 1]) + held[1:],
    "one bit of the check": lambda held: held[:-1] + bytes([held[-1] ^ 1]),
    "too short": lambda held: held[:-1],
    "too long": lambda held: held + b"\x00",
    "nothing": lambda _: b"",
    "the check alone": lambda held: held[-16:],
}


@every_service
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_a_secret_is_noticed(root: Root, lie: str) -> None:
    wrapped = root.provider.wrap(SECRET, b"c")
    root.service.lie = LIES[lie]
    with pytest.raises(KeyAccessError, match="other than what was wrapped"):
        root.provider.unwrap(wrapped, b"c")


@every_service
@pytest.mark.parametrize("garble", LIES)
def test_nothing_is_stored_that_does_not_open_again(root: Root, garble: str, tmp_path: Path) -> None:
    root.service.garble = LIES[garble]
    store = Store(f"sqlite:///{tmp_path / 'keys.sqlite'}")
    with pytest.raises(KeyAccessError):
        Keyring.initialise(store, root.provider, "test", FixedClock(0))
    assert not Keyring.exists(store)
    store.close()


@every_service
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"data": null}',
        b'{"data": {"plaintext": 7, "ciphertext": 7}, "Plaintext": 7, "CiphertextBlob": 7}',
        b'{"data": {"plaintext": "%%%", "ciphertext": "%%%"}, "Plaintext": "%%%", "CiphertextBlob": "%"}',
        b"\xff\xfe\x00",
        b"<html>proxy</html>",
    ],
)
def test_garbage_is_an_error_that_does_not_repeat_it(root: Root, raw: bytes) -> None:
    wrapped = root.provider.wrap(SECRET, b"c")
    root.service.raw = raw
    asks: list[Callable[[], bytes]] = [
        lambda: root.provider.unwrap(wrapped, b"c"),
        lambda: root.provider.wrap(SECRET, b"c"),
    ]
    for ask in asks:
        with pytest.raises(KeyAccessError) as caught:
            ask()
        assert "%%%" not in caught.value.message
        assert "proxy" not in caught.value.message


@every_service
def test_a_service_that_answers_with_another_kek_is_noticed(root: Root, tmp_path: Path) -> None:
    """The lie that only a commitment shows: a well-formed answer, made for this very context."""
    store, clock = Store(f"sqlite:///{tmp_path / 'keys.sqlite'}"), FixedClock(0)
    Keyring.initialise(store, root.provider, "test", clock)
    ring = Keyring(store, root.provider, "test", clock)
    ring.secret("index")
    first = root.service.seen[:]
    for name in ("keys2.sqlite", "keys3.sqlite"):
        other = Store(f"sqlite:///{tmp_path / name}")
        Keyring.initialise(other, root.provider, "test", clock)
        other.close()
    kek, *secrets = root.service.seen[len(first) : len(first) + 1 + len(SECRETS)]
    secret = secrets[SECRETS.index("index")]
    root.service.lie = lambda _: kek
    with pytest.raises(KeyAccessError, match="another key than KEK version 1"):
        Keyring(store, root.provider, "test", clock)
    fresh = Keyring.__new__(Keyring)
    fresh.__dict__.update(ring.__dict__, _secrets={})
    root.service.lie = lambda _: secret
    with pytest.raises(KeyAccessError, match="other than the secret index"):
        fresh.secret("index")
    store.close()


@every_service
def test_no_secret_and_no_token_is_logged(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        wrapped = root.provider.wrap(SECRET, b"c")
        root.service.errors.append(BUSY[root.kind][0])
        root.provider.unwrap(wrapped, b"c")
    assert TOKEN not in caplog.text
    assert SECRET.hex() not in caplog.text
