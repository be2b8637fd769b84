"""The envelope: what is refused as a whole, and what is cut into messages."""

from __future__ import annotations

import gzip
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.errors import MalformedBodyError, TooLargeError
from cdp.ingest import Body, read_body


def read(raw: bytes, *, encoding: str = "", single: bool = False) -> Body:
    return read_body(
        raw, encoding=encoding, single=single, max_bytes=10_000, max_event_bytes=2_000, max_events=3
    )


def test_a_batch_is_cut_into_each_messages_own_bytes() -> None:
    body = read(b'{"batch":[{"a": 1},{"b":"x"}],"sentAt":"2026-01-01T00:00:00Z","writeKey":"k"}')
    assert body.messages == (b'{"a": 1}', b'{"b":"x"}')
    assert body.write_key == "k"


@pytest.mark.parametrize("context", [None, {}, {"consent": {"categoryPreferences": {"Email": False}}}, "x"])
def test_the_context_of_a_batch_goes_with_it(context: object) -> None:
    assert read(msgspec.json.encode({"batch": [{}], "context": context})).context == context
    assert read(b'{"batch":[{}]}').context is None


def test_gzip_is_inflated_and_its_content_type_does_not_matter() -> None:
    raw = b'{"batch":[{}]}'
    assert read(gzip.compress(raw), encoding="gzip").messages == (b"{}",)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[", b"[]", b"null", b'"x"', b'{"batch":{}}', b'{"batch":1}', b"{}", b'{"batch":[{}', b"\xff\xfe"],
)
def test_an_unreadable_body_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        read(raw)


@pytest.mark.parametrize(
    "context",
    [
        *(
            b'"\xff"',
            b'{"a":1e400}',
            b'"\\ud800"',
            b"9" * 5_000,
            b"[" * 1_500 + b"]" * 1_500,
            b'{"\xc0\x80":1}',
        ),
        *(b'{"a":18446744073709551616}', b'{"a":[-9223372036854775809]}'),  # beyond 64 bits: cannot be sealed
    ],
)
def test_a_context_that_cannot_be_kept_makes_the_body_malformed(context: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        read(b'{"batch":[{}],"context":%s}' % context)


@given(
    st.lists(
        st.sampled_from([r"\ud83d", r"\ude00", r"\ud83d\ude00", r"\\ud83d", r"\\", r"\uFDD0", r"\n", "x"]),
        max_size=8,
    )
)
def test_half_an_emoji_in_a_message_costs_none_of_its_neighbours(parts: list[str]) -> None:
    odd = b'{"name":"%s"}' % "".join(parts).encode()
    body = read(b'{"batch":[{"a":1},%s,{"b":2}],"writeKey":"k"}' % odd)
    assert body.messages == (b'{"a":1}', odd, b'{"b":2}')
    assert body.write_key == "k"
    assert read(odd, single=True).messages == (odd,)


def test_deep_nesting_is_malformed_and_not_a_crash() -> None:
    deep = b'{"batch":[' + b"[" * 4_000 + b"]" * 4_000 + b"]}"
    try:
        messages = read(deep).messages
    except MalformedBodyError:
        return
    assert len(messages) == 1


@pytest.mark.parametrize("cut", [1, 10, 15])
def test_truncated_gzip_is_malformed(cut: int) -> None:
    with pytest.raises(MalformedBodyError):
        read(gzip.compress(b'{"batch":[{}]}')[:-cut], encoding="gzip")


def test_plain_bytes_that_say_gzip_are_malformed() -> None:
    with pytest.raises(MalformedBodyError):
        read(b'{"batch":[]}', encoding="gzip")


def test_a_gzip_bomb_is_cut_off() -> None:
    engine = zlib.compressobj(9, wbits=31)
    bomb = engine.compress(b"0" * 50_000_000) + engine.flush()
    with pytest.raises(TooLargeError):
        read(bomb, encoding="gzip")


def test_limits_of_body_batch_and_single_event() -> None:
    with pytest.raises(TooLargeError):
        read(b'{"batch":["' + b"x" * 10_000 + b'"]}')
    with pytest.raises(TooLargeError):
        read(b'{"batch":[{},{},{},{}]}')
    with pytest.raises(TooLargeError):
        read(msgspec.json.encode({"event": "x" * 3_000}), single=True)
