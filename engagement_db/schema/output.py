"""Standard output that never stops a migration."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


def discard_rest(stream: Any) -> None:
    """Discard what ``stream`` still buffers: it would fail again when the interpreter ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class _Unfailing:
    """A text stream that discards what it cannot write."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            discard_rest(self._stream)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            discard_rest(self._stream)


@contextmanager
def unfailing_output() -> Iterator[None]:
    """Discard, inside the block, standard output that cannot be written: a full disk, a closed pipe."""
    stream = sys.stdout
    if stream is None:
        yield
        return
    sys.stdout = _Unfailing(stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = stream
