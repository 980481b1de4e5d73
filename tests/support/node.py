"""The Node service of `tests/interop`: its commands, and a running service that is asked for many things at once."""

import contextlib
import functools
import itertools
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

SERVICE = Path(__file__).parents[1] / "interop"
TIMEOUT_SECONDS = 120


@functools.cache
def node_command():
    """The command of the Node service; skips where it is not installed."""
    program = shutil.which("node")
    if program is None or not (SERVICE / "node_modules").exists():
        pytest.skip("the Node service is not installed: tests/run -e interop does it; or npm ci in tests/interop")
    return [program, "driver.js"]


def node(url, *command):
    """What the Node service prints for a command."""
    done = subprocess.run(
        [*node_command(), url, *command],
        cwd=SERVICE,
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def node_json(url, *command):
    return json.loads(node(url, *command))


class Refused(Exception):
    """What the service answers instead of a result; ``name`` is that of its error."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class TrustService:
    """A running trust service: requests are worked on side by side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def ask(self, verb: str, **values: Any) -> Any:
        """Return the result, or raise Refused."""
        return self.start(verb, **values).result(TIMEOUT_SECONDS)

    def start(self, verb: str, **values: Any) -> Future[Any]:
        """Send a request and return its result to come."""
        future: Future[Any] = Future()
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = future
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"number": number, "verb": verb, **values}) + "\n")
            self._process.stdin.flush()
        return future

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            future = self._waiting.pop(said["number"])
            if "error" in said:
                future.set_exception(Refused(said["error"], said["message"]))
            else:
                future.set_result(said["result"])
        for future in self._waiting.values():
            future.set_exception(RuntimeError("the service has ended"))

    def end(self) -> None:
        """Let it finish what it works on, and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(TIMEOUT_SECONDS) == 0
        self._reader.join()


@contextlib.contextmanager
def trust_service(url: str) -> Iterator[TrustService]:
    process = subprocess.Popen(
        [*node_command(), url, "serve"], cwd=SERVICE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        service = TrustService(process)
        yield service
        service.end()
    finally:
        process.kill()
        process.wait()
