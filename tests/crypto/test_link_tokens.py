"""Link tokens: they open as what they were made, where they were made, or not at all."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from cdp.crypto import LinkTokens

ROOT = bytes(range(32))
TOKENS = LinkTokens(ROOT, "test")


@given(st.binary(max_size=600), st.sampled_from(["manage", "withdraw", "confirm"]))
def test_a_token_opens_to_what_it_holds_and_as_its_kind_only(content: bytes, kind: str) -> None:
    token = TOKENS.seal(kind, content)
    assert TOKENS.open(kind, token) == content
    others = {"manage", "withdraw", "confirm", ""} - {kind}
    assert {TOKENS.open(other, token) for other in others} == {None}


def test_another_workspace_or_root_opens_nothing() -> None:
    token = TOKENS.seal("manage", b"x")
    assert LinkTokens(ROOT, "other").open("manage", token) is None
    assert LinkTokens(bytes(32), "test").open("manage", token) is None


def test_every_changed_character_and_every_cut_is_refused() -> None:
    token = TOKENS.seal("manage", b"content")
    for place, character in enumerate(token):
        other = "A" if character != "A" else "B"
        assert TOKENS.open("manage", token[:place] + other + token[place + 1 :]) is None
        assert TOKENS.open("manage", token[:place]) is None
    assert TOKENS.open("manage", token + "A") is None


@given(st.text(max_size=300))
def test_no_text_makes_it_fail(text: str) -> None:
    assert TOKENS.open("manage", text) is None


def test_odd_spellings_and_giants_are_refused() -> None:
    token = TOKENS.seal("manage", b"content")
    spellings = [token + "=", token + "==", f" {token}", f"{token}\n", token.replace("-", "+"), "A" * 100_000]
    assert [TOKENS.open("manage", text) for text in spellings if text != token] == [None] * len(
        [text for text in spellings if text != token]
    )


def test_two_tokens_of_one_content_differ_and_lengths_say_little() -> None:
    tokens = {TOKENS.seal("manage", b"content") for _ in range(20)}
    assert len(tokens) == 20
    assert len({len(TOKENS.seal("manage", bytes(size))) for size in range(63)}) == 1


def test_an_unknown_version_is_refused() -> None:
    raw = base64.urlsafe_b64decode(TOKENS.seal("manage", b"content") + "==")
    altered = base64.urlsafe_b64encode(b"\x02" + raw[1:]).decode().rstrip("=")
    assert TOKENS.open("manage", altered) is None
