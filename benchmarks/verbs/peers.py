"""The peers by name, and the check that they do the same work."""

import contextlib
import importlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.verbs import databases, rows, work

OURS, DRIVER = "engagement_db", "driver"
PYTHON = (OURS, DRIVER, "peewee", "sqlalchemy", "django")
SEQUELIZE = "sequelize"
ALL = (*PYTHON, SEQUELIZE)
_BODY = "written to be compared"


def open_peer(name: str, url: str, modules: Path | None) -> work.Peer:
    """Return the peer of that name, connected. ``modules`` has Sequelize. Raises Missing."""
    if name == SEQUELIZE:
        if modules is None or shutil.which("node") is None:
            raise work.Missing("it needs node, and --sequelize FOLDER with its packages")
        from benchmarks.verbs import peer_sequelize

        return peer_sequelize.Peer(url, modules)
    try:
        module = importlib.import_module(f"benchmarks.verbs.peer_{name}")
    except ModuleNotFoundError as error:
        raise work.Missing(f"{error.name} is not installed") from error
    peer: work.Peer = module.Peer(url)
    return peer


@contextlib.contextmanager
def opened(name: str, url: str, modules: Path | None) -> Iterator[work.Peer]:
    peer = open_peer(name, url, modules)
    try:
        yield peer
    finally:
        peer.close()


def require_same_work(found: Mapping[str, work.Peer], url: str) -> None:
    """Raise RuntimeError unless every peer leaves the rows that ours leaves."""
    wanted = written_by(found[OURS], url)
    others = [peer for name, peer in found.items() if name != OURS]
    for peer in others:
        for ours, theirs in zip(wanted, written_by(peer, url), strict=True):
            if ours != theirs:
                raise RuntimeError(f"{peer.name} writes other rows than {OURS} does:\n{theirs}\n{ours}")


def written_by(peer: work.Peer, url: str) -> list[list[Any]]:
    """Have the peer do each write once; return what that added to the logs and trails, without ids and times."""
    last_log = databases.execute(url, "SELECT MAX(id) FROM feed_activity_logs")[0][0] or 0
    last_event = databases.execute(url, "SELECT MAX(id) FROM dispute_events")[0][0] or 0
    post, user, parent = 1, rows.USERS, 1
    for reaction_type in ("like", "love"):
        peer.run("react", [[post, user, reaction_type]])
    peer.run("unreact", [[post, user]])
    peer.run("reply", [[rows.THREAD_POST, user, _BODY, parent]])
    reference = f"check {peer.name}"
    peer.run("cycle", [[1, f"{reference} released"]])
    peer.run("pay", [[1, f"{reference} refunded"]])
    peer.run("dispute", [[]])
    logs = databases.execute(
        url,
        f'SELECT "postId", "actorId", action, metadata FROM feed_activity_logs WHERE id > {last_log} ORDER BY id',
    )
    events = databases.execute(
        url,
        'SELECT "actorId", "actorType", "actionType", notes, metadata FROM dispute_events '
        f"WHERE id > {last_event} ORDER BY id",
    )
    payments = databases.execute(
        url,
        'SELECT status, amount, "netAmount", "releasedAt" IS NULL, "refundedAt" IS NULL, "auditTrail" '
        f"FROM escrow_transactions WHERE reference LIKE '{reference} %' ORDER BY reference",
    )
    balances = databases.execute(url, 'SELECT status, "currentBalance" FROM escrow_accounts WHERE id = 1')
    cases = databases.execute(
        url,
        'SELECT status, stage, priority, "reasonCode", summary, "resolutionNotes", "resolvedAt" IS NULL '
        "FROM dispute_cases ORDER BY id DESC LIMIT 1",
    )
    databases.execute(url, f"DELETE FROM feed_comments WHERE body = '{_BODY}'")
    return [list(map(_comparable, row)) for row in (*logs, *events, *payments, *balances, *cases)]


def _comparable(value: Any) -> Any:
    """Return a value of a row; of documents without times and ids, which differ."""
    with contextlib.suppress(TypeError, ValueError):
        value = json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value
    if isinstance(value, list):
        return [_comparable(each) for each in value]
    if isinstance(value, dict):
        return {name: each for name, each in sorted(value.items()) if name not in ("at", "previous")}
    return value
