"""frames: what goes through a pipe: eight bytes of a length, and so many bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

_LENGTH = 8


def answer_all(given: IO[bytes], taken: IO[bytes], answer: Callable[[bytes], bytes]) -> None:
    """Answer each frame until there are no more: the side of the process that is asked."""
    write_frame(taken, b"")
    while (frame := read_frame(given)) is not None:
        write_frame(taken, answer(frame))


def write_frame(pipe: IO[bytes], frame: bytes) -> None:
    """Write a frame.

    :raises OSError: nobody reads any more.
    """
    pipe.write(len(frame).to_bytes(_LENGTH))
    pipe.write(frame)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> bytes | None:
    """Return the next frame; None at the end, also in the middle of one."""
    length = pipe.read(_LENGTH)
    if len(length) < _LENGTH:
        return None
    frame = pipe.read(int.from_bytes(length))
    return frame if len(frame) == int.from_bytes(length) else None
