"""Recalls over the wire: signed, retried, never to a network of ours, acknowledged or late."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import standardwebhooks.webhooks
from gate_world import EMAIL, World, running
from receiver import Desk, Receiver, receiving
from standardwebhooks import Webhook

from cdp.clock import SECOND
from cdp.crypto import Signer, verify_signature
from cdp.errors import ConflictError, InvalidInputError
from cdp.export import Webhooks
from cdp.export.addresses import check_url, resolve
from cdp.export.signing import headers, shown_key, shown_secret

world_fixture = pytest.fixture(running, name="world")
BODY = (
    b'{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z",'
    b'"data":{"id":"1f81eb52-5198-4599-803e-771906343485"}}'
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def desk(world: World, receiver: Receiver) -> Desk:
    return Desk(world, receiver.url)


# -- signatures -------------------------------------------------------------------------------------


def test_the_signatures_are_those_of_the_specification() -> None:
    at, message_id = 1674087231, "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"
    first, second = bytes(range(32)), bytes(range(0x64, 0x84))
    signer = Signer(bytes(range(32)))
    assert shown_secret(first) == "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert shown_key(signer.public_key) == "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
    assert headers(message_id, at, BODY, [first, second], signer) == {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": "v1,4PMU5Dl90B4kgwxDpwuMZ/cnZ5ztf+Y+kviYQD66rJg= "
        "v1,4kZEUtbZ8C8E98FTo3UIsYdIlo7QRHDtR5uOHQ8KQBs= "
        "v1a,9WMPN5fBW9vm1uGlvFzBO4lpdfFKN4AQCSr2vrWsFuOibXSOTWlcWrPRSWk+YpmD9fAwgYREKtLcYCyZrvXFBw==",
    }


def test_the_library_s_own_vector() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key])
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_recall_arrives_and_both_of_its_signatures_verify(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.people("Ada", "Bea")
    desk.withdraw(1)
    assert desk.turn() == 1
    ((given, body),) = receiver.calls

    class Then(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # the clock of the world
            assert tz is UTC
            return datetime.fromtimestamp(desk.world.clock.now() / 1e6, UTC)

    monkeypatch.setattr(standardwebhooks.webhooks, "datetime", Then)
    message = Webhook(desk.secret).verify(body, given)
    assert message == {
        "type": "recall.remove",
        "timestamp": message["timestamp"],
        "data": {
            "destination": "mailer",
            "purpose": EMAIL,
            "segment": message["data"]["segment"],
            "deadline": message["data"]["deadline"],
            "removals": [{"profile_ref": desk.refs["Ada"], "reason": "unlist"}],
        },
    }
    assert message["data"]["segment"].startswith("s_")
    signature = next(one for one in given["webhook-signature"].split(" ") if one.startswith("v1a,"))
    signed = f"{given['webhook-id']}.{given['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(desk.public_key.removeprefix("whpk_"))
    assert verify_signature(key, signed, base64.b64decode(signature[4:]))
    assert given["content-type"] == "application/json"
    assert given["host"] == receiver.url.split("/")[2]
    assert desk.states() == {"sent": 1}


def test_during_a_rotation_both_secrets_verify(desk: Desk, receiver: Receiver) -> None:
    desk.people("Ada", "Bea")
    new = desk.webhooks.rotate("key:1", "mailer").secret
    assert new not in {None, desk.secret}
    with pytest.raises(ConflictError):
        desk.webhooks.rotate("key:1", "mailer")
    desk.withdraw(1)
    desk.turn()
    desk.withdraw(3)
    desk.turn(after=86_401)
    signatures = [given["webhook-signature"].split(" ") for given, _ in receiver.calls]
    assert [[one.partition(",")[0] for one in line] for line in signatures] == [
        ["v1", "v1", "v1a"],
        ["v1", "v1a"],
    ]
    assert desk.webhooks.get("mailer").secret is None


# -- receivers that fail ----------------------------------------------------------------------------


def test_a_receiver_that_is_down_is_told_later_with_the_same_id(desk: Desk, receiver: Receiver) -> None:
    desk.people("Ada", "Bea")
    desk.withdraw(1)
    receiver.answers = [(500, {}), (503, {}), (200, {})]
    assert desk.turn() == 0
    assert desk.turn(after=1) == 0, "not before its time"
    assert desk.turn(after=10) == 0
    assert desk.turn(after=1) == 0, "503 asks for a pause"
    assert desk.turn(after=400) == 1
    assert len(receiver.calls) == 3
    assert len(set(receiver.ids())) == 1
    stamps = [int(given["webhook-timestamp"]) for given, _ in receiver.calls]
    assert stamps == sorted(set(stamps)), "each attempt has its own time"


def test_retry_after_is_honoured(desk: Desk, receiver: Receiver) -> None:
    desk.people("Ada")
    desk.withdraw(1)
    receiver.answers = [(429, {"Retry-After": "1000"}), (200, {})]
    desk.turn()
    assert desk.turn(after=990) == 0
    assert len(receiver.calls) == 1
    assert desk.turn(after=20) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Thu, 01 Jan 2026 00:10:00 GMT",
        "soon",
        "-5",
        "99999999999",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_whatever_retry_after_says_there_is_a_next_time(desk: Desk, receiver: Receiver, text: str) -> None:
    desk.people("Ada")
    desk.withdraw(1)
    receiver.answers = [(503, {"Retry-After": text}), (200, {})]
    desk.turn()
    assert desk.turn(after=86_500) == 1


def test_a_redirect_is_not_followed_and_is_no_success(desk: Desk, receiver: Receiver) -> None:
    desk.people("Ada")
    desk.withdraw(1)
    receiver.answers = [(307, {"Location": receiver.url})]
    assert desk.turn() == 0
    assert len(receiver.calls) == 1
    assert desk.states() == {"queued": 1}


def test_gone_disables_the_endpoint_until_it_is_set_anew(desk: Desk, receiver: Receiver) -> None:
    desk.people("Ada", "Bea")
    desk.withdraw(1)
    receiver.answers = [(410, {}), (200, {})]
    desk.turn()
    assert desk.webhooks.get("mailer").endpoint.disabled_for == "gone"
    assert desk.turn(after=100_000) == 0
    assert len(receiver.calls) == 1
    assert desk.webhooks.put("key:1", "mailer", receiver.url).secret is None
    assert desk.turn() == 1


def test_a_slow_receiver_does_not_hold_the_turn(world: World, receiver: Receiver) -> None:
    desk = Desk(world, receiver.url, timeout=1.0)
    desk.people("Ada")
    desk.withdraw(1)
    receiver.seconds = 1.5
    assert desk.turn() == 0
    assert desk.webhooks.get("mailer").endpoint.slow_until is not None
    assert desk.states() == {"queued": 1}


def test_an_endpoint_that_never_answers_is_given_up_and_what_waits_can_be_read(world: World) -> None:
    desk = Desk(world, "http://127.0.0.1:9/hook")
    desk.people("Ada")
    desk.withdraw(1)
    for _ in range(12):
        desk.turn(after=1.3 * 86_400)
    assert desk.webhooks.get("mailer").endpoint.disabled_for == "exhausted"
    (waiting,) = desk.outbox.waiting(world.mailer, after="", limit=10)
    assert desk.refs["Ada"].encode() in bytes(waiting.body)
    assert waiting.late


def test_a_message_that_is_refused_again_and_again_fails_alone(desk: Desk, receiver: Receiver) -> None:
    desk.people("Ada", "Bea")
    desk.withdraw(1)
    receiver.answers = [(400, {})]
    for _ in range(12):
        desk.turn(after=1.3 * 86_400)
    assert desk.states() == {"failed": 1}
    assert len(receiver.calls) == 10
    assert desk.webhooks.get("mailer").endpoint.enabled
    receiver.answers = [(200, {})]
    desk.withdraw(3)
    assert desk.turn() == 1
    assert desk.states() == {"failed": 1, "sent": 1}


def test_one_that_died_while_sending_sends_again_with_the_same_id(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.people("Ada")
    desk.withdraw(1)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(desk.webhooks, "_settle", dies)
    with pytest.raises(KeyboardInterrupt):
        desk.turn()
    monkeypatch.undo()
    again = Webhooks(
        desk.world.store,
        desk.world.committer,
        desk.world.keyring,
        desk.outbox,
        desk.world.clock,
        loopback=True,
    )
    assert again.send() == 0, "it may be on its way"
    desk.world.clock.advance(61 * SECOND)
    assert again.send() == 1
    assert len(receiver.calls) == 2
    assert len(set(receiver.ids())) == 1


# -- where it may go --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "ftp://hooks.example/",
        "https://user:word@hooks.example/",
        "https://hooks.example/#part",
        "https:///nowhere",
        "https://hooks.example:99999/",
        "https://hooks.example/\u00e9",
        "https://hooks.example/a b",
        "hooks.example",
        "https://" + "h" * 3000,
    ],
)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_url(url, loopback=False)
    assert "hooks" not in caught.value.message


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "10.0.0.1",
        "172.16.5.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",  # noqa: S104  # an address to refuse
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[::ffff:10.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:0001::]",
        "2130706433",
        "0x7f000001",
    ],
)
def test_no_network_of_ours_is_called(address: str) -> None:
    assert resolve(f"https://{address}/hook", loopback=False) is None


def test_a_public_address_is_called_by_its_number_and_known_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = {"good.example": ["93.184.215.14"], "mixed.example": ["93.184.215.14", "10.0.0.1"]}

    def answer(name: str, port: int, **_: object) -> list[object]:
        return [(2, 1, 6, "", (address, port)) for address in answers[name]]

    monkeypatch.setattr("socket.getaddrinfo", answer)
    target = resolve("https://good.example:8443/hook?a=b", loopback=False)
    assert target is not None
    assert target.url == "https://93.184.215.14:8443/hook?a=b"
    assert (target.host, target.name) == ("good.example:8443", "good.example")
    assert resolve("https://mixed.example/", loopback=False) is None, "every address has to be public"


def test_a_name_that_turns_inwards_is_not_called(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.people("Ada")
    desk.withdraw(1)
    monkeypatch.setattr(desk.webhooks, "_loopback", False)
    assert desk.turn() == 0
    assert receiver.calls == []
