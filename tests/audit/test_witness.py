"""A witness countersigns every checkpoint; one that does not stops nothing, is seen, and is asked again."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec
import prometheus_client
import pytest
from caller import Caller
from litestar.testing import TestClient
from platform_fixtures import Shell
from witness_server import NAME, WitnessServer, witnessing

from cdp import app
from cdp.audit import AuditFilter, Entry, Witness, open_checkpoint, open_witness, witness_state
from cdp.clock import SECOND, FixedClock
from cdp.crypto import verify_signature
from cdp.errors import ConfigurationError
from cdp.settings import Settings


class World(NamedTuple):
    """A platform, and a witness that knows its log."""

    caller: Caller
    clock: FixedClock
    server: WitnessServer

    def witness(self, **changed: object) -> Witness:
        """Return what asks the witness, under other settings where some are given."""
        given = {"url": self.server.url, "key": self.server.key, "ca": self.server.ca, **changed}
        at = open_witness(**given)  # type: ignore[arg-type]  # by name
        services = self.caller.services
        return Witness(services.store, services.committer, services.audit, self.clock, at)

    def grow(self) -> int:
        """Have the log grow and sign it; returns its size."""
        with self.caller.services.committer.batch() as batch:
            batch.record(Entry(action="test.happened", actor="system"))
        return self.caller.services.audit.sign_checkpoint(self.caller.services.committer).size

    def recorded(self) -> list[tuple[str, object]]:
        """Return (outcome, trouble) of what is on record of the witness, oldest first."""
        with self.caller.services.store.reading() as connection:
            found = self.caller.services.audit.search(connection, AuditFilter(action="audit.witness"))
        return [(entry.outcome, entry.object.get("trouble")) for entry in reversed(found)]

    def note(self) -> str:
        """Return the newest checkpoint as it is given out."""
        with self.caller.services.store.reading() as connection:
            return self.caller.services.public_log.note(connection)


@pytest.fixture
def world(caller: Caller, clock: FixedClock, tmp_path: Path) -> Iterator[World]:
    with witnessing(caller.services.audit.key.verifier_text(), tmp_path) as server:
        yield World(caller, clock, server)


def test_each_checkpoint_is_countersigned_and_given_out_with_it(world: World) -> None:
    witness = world.witness()
    first = world.grow()
    assert witness.turn()
    assert witness.turn()  # nothing new: it is not asked again
    second = world.grow()
    assert witness.turn()
    assert world.server.asked == [0, first]
    assert world.server.held[0] == second
    note = world.note()
    assert note.endswith(world.server.cosign(note.partition("\n\n")[0] + "\n"))
    key = world.caller.services.audit.key
    assert open_checkpoint(note, key, verify_signature).size == second
    assert world.recorded() == []
    state = witness_state(world.caller.services.store, world.server.key)
    assert (state.size, state.trouble) == (second, "")


def test_a_witness_that_holds_another_size_is_asked_from_there(world: World) -> None:
    first = world.grow()
    world.witness().turn()
    store, committer = world.caller.services.store, world.caller.services.committer
    with committer.batch() as batch:  # the database forgot what the witness holds
        batch.connection.exec_driver_sql("DELETE FROM audit_witnesses")
    second = world.grow()
    assert world.witness().turn()
    assert world.server.asked == [0, 0, first]
    assert witness_state(store, world.server.key).size == second


def test_a_witness_that_is_down_stops_nothing_is_on_record_once_and_is_asked_again(world: World) -> None:
    witness = world.witness()
    world.grow()
    world.server.instead = (503, "text/plain", b"")
    for _ in range(5):
        assert not witness.turn()  # of these only the first asks: the others would be too soon
        world.grow()
    assert len(world.server.asked) == 1
    assert world.recorded() == [("failed", "http_503")]
    assert "cdp_audit_witness_failing 1.0" in prometheus_client.generate_latest().decode()
    pauses = []
    for _ in range(4):
        asked, waited = len(world.server.asked), 0
        while len(world.server.asked) == asked:
            world.clock.advance(SECOND)
            waited += 1
            witness.turn()
        pauses.append(waited)
    assert pauses == [5, 10, 20, 40]
    world.clock.jump(3600 * SECOND)
    assert not witness.turn()
    world.clock.jump(-3600 * SECOND)
    asked = len(world.server.asked)
    witness.turn()
    assert len(world.server.asked) == asked + 1, "put off by a clock that was ahead"
    world.server.instead = None
    world.clock.advance(3600 * SECOND)
    world.grow()
    assert witness.turn()
    assert world.recorded() == [("failed", "http_503"), ("allowed", None)]
    assert "cdp_audit_witness_failing 0.0" in prometheus_client.generate_latest().decode()
    world.grow()
    assert witness.turn()
    assert len(world.recorded()) == 2


def _line_of(world: World, change: Callable[[bytes], bytes]) -> bytes:
    line = world.server.cosign(world.note().partition("\n\n")[0] + "\n")
    head, _, encoded = line.rstrip("\n").rpartition(" ")
    raw = b64decode(encoded)
    return f"{head} {b64encode(change(raw)).decode()}\n".encode()


@pytest.mark.parametrize(
    ("status", "kind", "body", "trouble"),
    [
        (404, "text/plain", b"", "unknown_origin"),
        (403, "text/plain", b"", "refused_signature"),
        (422, "text/plain", b"", "refused_proof"),
        (400, "text/plain", b"", "refused_size"),
        (302, "text/plain", b"", "http_302"),
        (500, "text/plain", b"", "http_500"),
        (409, "text/x.tlog.size", b"999999\n", "holds_a_longer_log"),
        (409, "text/x.tlog.size", b"-1\n", "malformed_answer"),
        (409, "text/x.tlog.size", b"9" * 40, "malformed_answer"),
        (409, "text/plain", b"0\n", "malformed_answer"),
        (409, "text/x.tlog.size", b"0\n", "http_409"),
        (200, "text/plain", b"", "bad_cosignature"),
        (200, "text/plain", b"\xff\xfe", "bad_cosignature"),
        (200, "text/plain", b"x" * 200_000, "endless_answer"),
        (200, "text/plain", "\N{EM DASH} other.example AAAAAAAA\n".encode(), "no_cosignature"),
    ],
)
def test_an_answer_that_is_no_cosignature_counts_for_nothing(
    world: World, status: int, kind: str, body: bytes, trouble: str
) -> None:
    world.grow()
    before = world.note()
    world.server.instead = (status, kind, body)
    assert not world.witness().turn()
    assert world.recorded() == [("failed", trouble)]
    assert world.note() == before


@pytest.mark.parametrize("at", [5, 11, 20, 75])
def test_a_cosignature_is_verified_under_the_pinned_key(world: World, at: int) -> None:
    """One bit of its time or of the signature is another; and another witness's counts for nothing."""
    world.grow()
    world.server.instead = (
        200,
        "text/plain",
        _line_of(world, lambda raw: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]),
    )
    assert not world.witness().turn()
    assert world.recorded() == [("failed", "bad_cosignature")]


def test_a_witness_that_cannot_be_known_or_reached_is_not_believed(world: World) -> None:
    world.grow()
    assert not world.witness(ca=None).turn()  # its certificate is nobody's that the system knows
    assert world.server.asked == []
    world.clock.advance(3600 * SECOND)
    assert not world.witness(url="https://127.0.0.1:9").turn()
    assert world.recorded() == [("failed", "no_connection")]


def test_a_slow_witness_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp.audit.outside.witness._TIMEOUT_SECONDS", 0.2)
    world.server.seconds = 0.6
    world.grow()
    assert not world.witness().turn()
    assert world.recorded() == [("failed", "timeout")]


def test_a_log_put_back_is_told_apart_by_its_witness(world: World) -> None:
    world.grow()
    witness = world.witness()
    assert witness.turn()
    size = world.server.held[0]
    world.server.held = (size + 50, b"\x01" * 32)  # it saw more than the log has now
    world.grow()
    assert not witness.turn()
    assert world.recorded() == [("failed", "holds_a_longer_log")]


def test_of_two_processes_one_asks(world: World) -> None:
    world.grow()
    one, other = world.witness(), world.witness()
    assert one._claim(world.server.key)
    assert not other.turn()
    assert world.server.asked == []


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "http://127.0.0.1:1"},
        {"url": ""},
        {"url": "https://user:word@witness.example"},
        {"url": "https://witness.example/?a=b"},
        {"url": "https:///x"},
        {"url": "https://[::1"},
        {"key": ""},
        {"key": "nonsense"},
        {"key": "cdp.example/audit+6881a663+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"},
        {"ca": Path("/nowhere/ca.pem")},
    ],
)
def test_settings_of_a_witness_that_are_wrong_are_refused(world: World, changed: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="CDP_WITNESS"):
        world.witness(**changed)


def test_without_a_witness_nobody_is_asked(caller: Caller) -> None:
    assert open_witness("", "") is None
    assert not caller.services.witness.turn()


def test_a_running_server_asks_its_witness_and_doctor_says_how_it_is(
    settings: Settings, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(app.build(settings)) as platform:
        key = platform.services.audit.key.verifier_text()
    with witnessing(key, tmp_path) as server:
        named = {"witness_url": server.url, "witness_key": server.key, "witness_ca": server.ca}
        changed = msgspec.structs.replace(settings, **named, checkpoint_interval_s=1)
        platform = app.build(changed)
        with TestClient(app.application(platform)) as http:
            caller = Caller(
                http, (settings.data_dir / app.OPERATOR_FILE).read_text().strip(), platform.services
            )
            caller.api("POST", "/audit/checkpoint")
            for _ in range(400):
                if server.held[0]:
                    break
                time.sleep(0.05)
            assert server.held[0]
        for name, value in named.items():
            monkeypatch.setenv(f"CDP_{name.upper()}", str(value))
        assert f"{NAME} countersigned up to" in shell("doctor")
