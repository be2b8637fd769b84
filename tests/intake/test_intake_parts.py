"""The address of a stream, its lanes, the size of messages, and what is under way at most."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats_cluster import free_ports
from opendsr_world import Authority
from platform_fixtures import POLICIES

from cdp.access import Limits, Source
from cdp.clock import FixedClock, parse_rfc3339
from cdp.errors import ConfigurationError, MissingExtraError, OverloadedError, UnavailableError
from cdp.ingest import Delivery
from cdp.intake import Carried, Envelopes, Sorter, StreamIntake, open_stream, read_address
from cdp.policy import load

NOW = parse_rfc3339("2026-03-01T12:00:00Z")
SHOP = Source(source_id=1, name="shop", kind="browser", enabled=True)
NO = {"consent": {"categoryPreferences": {"Email": False}}}
YES = {"consent": {"categoryPreferences": {"Email": True}}}
SORTER = Sorter(load(POLICIES), b"k" * 32)


def delivery(*messages: Any, **more: Any) -> Delivery:
    raw = tuple(one if isinstance(one, bytes) else msgspec.json.encode(one) for one in messages)
    return Delivery(source=SHOP, messages=raw, received_at=NOW, **more)


@pytest.mark.parametrize(
    ("given", "servers", "name", "user"),
    [
        ("nats://one:4222", ("nats://one:4222",), "cdp", None),
        ("nats://one:4222,10.0.0.2:4223/shop", ("nats://one:4222", "nats://10.0.0.2:4223"), "shop", None),
        ("nats://ann:p%40ss@[::1]:4222/shop-1/", ("nats://[::1]:4222",), "shop-1", "ann"),
        ("tls://one.example:4222", ("tls://one.example:4222",), "cdp", None),
    ],
)
def test_an_address(given: str, servers: tuple[str, ...], name: str, user: str | None) -> None:
    found = read_address(given)
    assert (found.servers, found.name, found.user) == (servers, name, user)
    assert found.password == (None if user is None else "p@ss")
    assert (found.tls is not None) == given.startswith("tls")
    assert "p@ss" not in repr(found)


@pytest.mark.parametrize(
    "given",
    [
        *("", "nats", "nats://", "nats://one", "nats://one:x", "http://one:4222", "nats://one:4222/a.b"),
        *("nats://s3cret@one:4222", "nats://ann:s3cret@one", "nats://one:4222,/x", "nats://one:4222/a/b"),
    ],
)
def test_no_address(given: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_address(given)
    assert "s3cret" not in refused.value.message


def test_files_of_an_address(tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    for address, files in [
        ("nats://one:4222", {"ca": missing}),
        ("tls://one:4222", {"ca": missing}),
        ("tls://one:4222", {"certificate": missing}),
        ("tls://one:4222", {"certificate": missing, "key": missing}),
    ]:
        with pytest.raises(ConfigurationError):
            read_address(address, **files)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cdp.intake.jetstream", raising=False)
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cdp\[nats\]'"):
        open_stream(read_address("nats://127.0.0.1:4222"))


def test_lanes() -> None:
    told = {"type": "track", "event": "Segment Consent Preference Updated", "userId": "u", "context": NO}
    plain = {"type": "track", "event": "Order Completed", "userId": "u", "context": YES}
    odd = [b"{", b"[]", b"\xff", {"type": 7, "event": [], "context": 3}, {"context": {"consent": [1]}}]
    assert [lane for lane, _ in SORTER(delivery(told))] == ["urgent"]
    (partition, whole) = SORTER(delivery(plain, *odd))[0]
    assert partition in "0123"
    assert len(whole.messages) == 1 + len(odd)
    assert [lane for lane, _ in SORTER(delivery(plain, context=NO))] == [partition]  # its own word counts
    assert [lane for lane, _ in SORTER(delivery({**plain, "context": {}}, context=NO))] == ["urgent"]
    assert [lane for lane, _ in SORTER(delivery(plain, sec_gpc=True))] == ["urgent"]
    (urgent, first), (same, rest) = SORTER(delivery(plain, told, plain))
    assert (urgent, same) == ("urgent", partition)  # one person, one partition
    assert (len(first.messages), len(rest.messages)) == (1, 2)
    many = {SORTER(delivery({**plain, "userId": f"u{n}"}))[0][0] for n in range(99)}
    assert many == set("0123")


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_parts_are_the_whole(said: list[bool]) -> None:
    messages = [
        {"type": "track", "event": "E", "n": n, "context": NO if no else {}} for n, no in enumerate(said)
    ]
    whole = delivery(*messages)
    parts = SORTER(whole)
    assert len(parts) == len(set(said))
    made = [(one.nonce, one.raw) for _, part in parts for one in part.each()]
    assert sorted(made) == [(one.nonce, one.raw) for one in whole.each()]


class _Slow:
    """A stream that takes its time, and never has room for more than a kilobyte in a message."""

    def __init__(self) -> None:
        self.sent: list[Carried] = []

    def publish(self, make: Any) -> Future[None]:
        self.sent += [carried for _, carried in make(1024)]
        return Future()


class _Plain:
    """Envelopes that show what is in them."""

    def seal(self, delivery: Delivery) -> Carried:
        return Carried(delivery.each()[0].nonce, NOW, b"".join(delivery.messages))


def test_what_is_under_way_is_bounded_and_a_message_is_no_larger_than_the_servers_take() -> None:
    slow = _Slow()
    intake = StreamIntake(cast("Any", slow), cast("Envelopes", _Plain()), SORTER, FixedClock(NOW))
    intake.submit(delivery(*({"event": "E", "n": n, "x": "x" * 300} for n in range(40))))
    assert len(slow.sent) == 16
    assert max(len(one.sealed) for one in slow.sent) <= 1024
    assert len({one.number for one in slow.sent}) == 16
    large = delivery(*({"event": "E", "x": "x" * 900} for _ in range(4096)))
    for _ in range(8):  # 31 MB
        intake.submit(large)
    with pytest.raises(OverloadedError):
        intake.submit(large)


def test_a_source_is_held_to_its_rate_and_may_still_say_no() -> None:
    slow = _Slow()
    intake = StreamIntake(cast("Any", slow), cast("Envelopes", _Plain()), SORTER, FixedClock(NOW))
    source = msgspec.structs.replace(SHOP, limits=Limits(events_per_second=2))
    plain, no = ({"type": "track", "event": "E", "userId": "u", "context": context} for context in ({}, NO))
    calls = [msgspec.structs.replace(delivery(one), source=source) for one in (plain, no)]
    for _ in range(2):
        intake.submit(calls[0])
    with pytest.raises(OverloadedError) as refused:
        intake.submit(calls[0])
    assert refused.value.retry_after >= 1
    intake.submit(calls[1])
    assert len(slow.sent) == 3


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """One server that wants a certificate and a password; yields its port and its authority's certificate."""
    authority = Authority(tmp_path / "authority", "NATS")
    certificate, key = authority.issue("localhost")
    port = free_ports(1)[0]
    (tmp_path / "server.conf").write_text(
        f"""listen: 127.0.0.1:{port}
        jetstream {{ store_dir: "{tmp_path / "store"}" }}
        tls {{ cert_file: "{certificate}", key_file: "{key}" }}
        authorization {{ user: ann, password: "p@ss" }}
        """
    )
    beside = Path(sys.executable).with_name("nats-server")
    binary = str(beside) if beside.exists() else shutil.which("nats-server") or ""
    server = subprocess.Popen([binary, "-c", str(tmp_path / "server.conf"), "-l", str(tmp_path / "log")])
    time.sleep(0.5)
    yield port, authority.file
    server.kill()
    server.wait()


def test_who_asks_and_who_answers_is_checked(
    guarded: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server alone holds no three replicas: whoever is let in is told so by it, and refused by us."""
    monkeypatch.setattr("cdp.intake.jetstream._PATIENCE", 1.5)
    port, ca = guarded
    told = {}
    for name, address, files in [
        ("in", f"tls://ann:p%40ss@localhost:{port}", {"ca": ca}),
        ("wrong password", f"tls://ann:nonsense@localhost:{port}", {"ca": ca}),
        ("unknown authority", f"tls://ann:p%40ss@localhost:{port}", {}),
    ]:
        with closing(open_stream(read_address(address, **files))) as stream:
            with pytest.raises(UnavailableError) as refused:
                stream.check()
            told[name] = refused.value.message
    assert "replicas > 1 not supported" in told["in"]
    assert "Authorization Violation" in told["wrong password"]
    assert "SSLCertVerificationError" in told["unknown authority"]
