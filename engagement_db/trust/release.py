"""The transactions whose release is due, and releasing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from engagement_db import servers
from engagement_db.errors import Contention, EngagementError, Refused, RefusedValue
from engagement_db.orm.bound import current
from engagement_db.orm.columns import Select
from engagement_db.orm.models import assign
from engagement_db.orm.paging import validate_limit
from engagement_db.orm.rows import moment_of
from engagement_db.orm.transactions import transaction
from engagement_db.platform import Actor, User, resolve_actor_id
from engagement_db.trust.accounts import locked_account
from engagement_db.trust.moves import apply_transition
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.words import TransactionStatus

QUEUE_LIMIT: Final = 1000


@dataclass(frozen=True)
class ReleaseFailure:
    """A transaction that is due and could not be released, and why; nothing of it was changed."""

    transaction: EscrowTransaction
    error: EngagementError


@dataclass(frozen=True)
class ReleaseRun:
    """What ``release_due`` released, in the order of the queue, and what it could not release."""

    released: tuple[EscrowTransaction, ...]
    failed: tuple[ReleaseFailure, ...]


def release_queue(at: datetime | None = None, limit: int = 100) -> Select[EscrowTransaction]:
    """Return a query of the transactions in_escrow whose ``scheduled_release_at`` has come, oldest first.

    ``at`` is an aware time, by default now; ``limit`` is 1 to 1000. The query can be narrowed with ``where``.
    Uses escrow_transactions_status_scheduled_release_at.
    """
    most = validate_limit(EscrowTransaction._meta.table_name, limit, QUEUE_LIMIT)
    moment = moment_of(EscrowTransaction.scheduled_release_at, at)
    due: Select[EscrowTransaction] = _due(EscrowTransaction.select(), moment).limit(most)
    return due


def release_due(limit: int = 100, *, by: User | int | None = None, at: datetime | None = None) -> ReleaseRun:
    """Release what is due, oldest first, each transaction in a database transaction of its own.

    Any number of workers may run it side by side: each takes the next transaction that no other worker has locked, so
    that every transaction is released once. They wait for each other only where two transactions share an account.
    A transaction that another session has locked is left to it or to the next call. ``limit`` is 1 to 1000
    attempts; ``by`` is the user (a row or an id) who acts, None for the system itself; ``at`` is an aware time, by
    default now.

    Returns what was released and what could not be, with the reason; the queue continues after it. Raises RefusedValue
    for a limit out of bounds, and NotFound for an unknown user; nothing was released then. Uses
    escrow_transactions_status_scheduled_release_at and primary keys.
    """
    most = validate_limit(EscrowTransaction._meta.table_name, limit, QUEUE_LIMIT)
    actor, due_at = Actor(resolve_actor_id(by)), moment_of(EscrowTransaction.scheduled_release_at, at)
    released: list[EscrowTransaction] = []
    failed: list[ReleaseFailure] = []
    while len(released) + len(failed) < most:
        done = _release_next(due_at, actor, [failure.transaction.id for failure in failed])
        if done is None:
            break
        if isinstance(done, ReleaseFailure):
            failed.append(done)
        else:
            released.append(done)
    return ReleaseRun(tuple(released), tuple(failed))


def _release_next(at: datetime, actor: Actor, failed: Sequence[int]) -> EscrowTransaction | ReleaseFailure | None:
    taken: EscrowTransaction | None = None

    def work() -> None:
        nonlocal taken
        taken = _next_unlocked(at, failed)
        if taken is not None:
            apply_transition(taken, "release", actor)

    try:
        transaction(work)
    except (Contention, Refused, RefusedValue) as error:
        if taken is None:
            raise
        return ReleaseFailure(taken, error)
    return taken


def _next_unlocked(at: datetime, failed: Sequence[int]) -> EscrowTransaction | None:
    """Return the next due transaction that is not locked, with its account in ``account``; both are locked then."""
    query = _due(EscrowTransaction.select(), at)
    if failed:
        query = query.where(EscrowTransaction.id.not_in(failed))
    server = servers.of(current())
    if server.supports_for_update:
        query = query.for_update(f"{server.row_lock} SKIP LOCKED")
    row: EscrowTransaction | None = query.limit(1).first()
    if row is not None:
        # Not in the same query: a server that begins at the accounts would lock every due transaction.
        assign(row, {"account": locked_account(row.account_id)})
    return row


def _due(query: Any, at: datetime) -> Any:
    row = EscrowTransaction
    is_due = (row.status == TransactionStatus.IN_ESCROW) & (row.scheduled_release_at <= at)
    return query.where(is_due).order_by(row.scheduled_release_at, row.id)
