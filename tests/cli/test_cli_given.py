"""What somebody gives a command: an id stays an id, and what is no text is refused in one line."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from cdp.cli.client import connected
from cdp.errors import InvalidInputError, NotFoundError
from cdp.settings import Settings

Shell = Callable[..., str]
ANN = {"type": "user_id", "value": "ann"}


@pytest.fixture
def ann(settings: Settings) -> str:
    """The id of somebody."""
    with connected(settings) as api:
        key = api.post("/sources", {"name": "shop", "kind": "server"})["write_key"]
        api.ingest(key, [{"type": "identify", "messageId": "i", "userId": "ann"}], wait=True)
        found: str = api.call("POST", "/profiles/lookup", body=ANN, purpose="rights")["id"]
    return found


@pytest.mark.parametrize("end", ["?x", "#x", "%2Fevents"])
def test_an_id_is_quoted(settings: Settings, ann: str, end: str) -> None:
    with connected(settings) as api:
        assert api.call("GET", ("profiles", ann), purpose="rights")["id"] == ann
        with pytest.raises(NotFoundError):
            api.call("GET", ("profiles", ann + end), purpose="rights")


@pytest.mark.parametrize("odd", ["", "/", "../identity/rules", "p_x/events"])
def test_what_no_quoting_keeps_one_part_is_refused(settings: Settings, odd: str) -> None:
    with connected(settings) as api:
        for call in (api.get, api.post, api.data, lambda route: next(api.items(route))):
            with pytest.raises(InvalidInputError, match="an id or a name is empty, or has a slash"):
                call(("profiles", odd))


@pytest.mark.parametrize(
    "command", [("show", "{}"), ("split", "{}"), ("review", "show", "{}"), ("review", "reject", "{}")]
)
def test_the_commands_say_so(shell: Shell, ann: str, command: tuple[str, ...]) -> None:
    told = "cdp: an id or a name is empty, or has a slash"
    assert shell("identity", *(word.format(f"{ann}/events") for word in command), expect=1) == told
    assert shell("identity", *(word.format("") for word in command), expect=1) == told


def test_dots_are_a_name_like_any_other(settings: Settings, shell: Shell) -> None:
    with connected(settings) as api:
        for dots in (".", ".."):
            api.post("/sources", {"name": dots, "kind": "server"})
            with pytest.raises(NotFoundError):
                api.call("GET", ("profiles", dots), purpose="rights")
    assert shell("source", "disable", "..") == "source .. is disabled\n"


@pytest.mark.parametrize(
    "command",
    [
        ("identity", "show", "m\udcfcller"),
        ("identity", "conflicts", "--trait", "m\udcfcller"),
        ("identity", "split", "p_x", "--reason", "m\udcfcller"),
        ("identity", "show", "p_x", "--purpose", "m\udcfcller"),
        ("source", "create", "m\udcfcller"),
    ],
)
def test_an_argument_that_is_no_text_is_refused(shell: Shell, command: tuple[str, ...]) -> None:
    assert shell(*command, expect=1) == "cdp: an argument is not UTF-8 text"


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_standard_input_that_is_no_text_is_refused(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, errors: str
) -> None:
    latin = io.TextIOWrapper(io.BytesIO(b"m\xfcller@people.example\n"), encoding="utf-8", errors=errors)
    monkeypatch.setattr("sys.stdin", latin)
    said = shell("identity", "show", "--type", "email", "--value", "-", expect=1)
    assert said == "cdp: standard input is not UTF-8 text"
