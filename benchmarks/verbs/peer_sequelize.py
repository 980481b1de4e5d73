"""Sequelize, in a process of Node: ``sequelize.js``."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.verbs import work

_SCRIPT = Path(__file__).with_name("sequelize.js")
_MOVES = (work.FUND, work.HOLD, work.RELEASE, work.DISPUTE, work.REFUND)


class Peer(work.Peer):
    name = "sequelize"

    def __init__(self, url: str, modules: Path) -> None:
        """Start Node with the packages in the folder ``modules``."""
        self._node = subprocess.Popen(
            ["node", str(_SCRIPT), url, json.dumps(_shared_work())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NODE_PATH": str(modules)},
        )

    def run(self, operation: str, calls: Sequence[Sequence[Any]]) -> work.Spent:
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(json.dumps({"operation": operation, "calls": calls}) + "\n")
        self._node.stdin.flush()
        line = self._node.stdout.readline()
        answer = json.loads(line or '{"error": "Node ended"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return work.Spent(**answer)

    def close(self) -> None:
        self._node.communicate(timeout=30)


def _shared_work() -> dict[str, Any]:
    """Return what every peer writes; Node fills in account and time."""
    at = datetime.now(UTC)
    return {
        "moves": {move.action: {"move": asdict(move), "entry": work.entry(move, at)} for move in _MOVES},
        "firstEntry": work.first_entry(0, 0, None, at),
        "opening": work.OPENING,
        "ending": work.ENDING,
        "active": work.ACTIVE,
        "payer": work.PAYER,
        "customer": work.CUSTOMER,
        "reason": work.REASON,
        "summary": work.SUMMARY,
        "note": work.NOTE,
        "resolution": work.RESOLUTION,
        "content": work.CONTENT,
        "metadata": work.METADATA,
        "amount": str(work.AMOUNT),
        "fee": str(work.FEE),
        "net": str(work.NET),
        "page": work.PAGE,
        "queue": work.QUEUE,
        "threadLimit": work.THREAD_LIMIT,
    }
