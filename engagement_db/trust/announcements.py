"""Moves of money, announced after their commit: to the functions of ``on_move`` and to the log."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from engagement_db.orm.bound import current, scope
from engagement_db.trust.trail import entries_of
from engagement_db.trust.words import TransactionStatus

if TYPE_CHECKING:
    from engagement_db.trust.transactions import EscrowTransaction

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Move:
    """One committed change of a transaction's status. ``actor_id`` is None for the system itself."""

    transaction_id: int
    reference: str
    account_id: int
    verb: str
    before: TransactionStatus
    after: TransactionStatus
    amount: Decimal
    net_amount: Decimal
    currency_code: str
    actor_id: int | None
    at: datetime


Listener = Callable[[Move], object]
_listeners: Final[list[Listener]] = []


def on_move(listener: Listener) -> Listener:
    """Call ``listener`` with each move once it is committed, in the thread or task that committed it.

    Also a decorator; returns ``listener``, which ``remove_move_listener`` takes. An error that it raises is logged and
    does not reach the caller, whose money has moved.

    A move is announced at most once, and not at all if the process ends first or if the commit was not answered: what
    may not be missed is written in the transaction itself.
    """
    _listeners.append(listener)
    return listener


def remove_move_listener(listener: Listener) -> None:
    """Stop calling a listener of ``on_move``; raises ValueError for one that is not called."""
    _listeners.remove(listener)


def announce(row: "EscrowTransaction", move: Move) -> None:
    """Announce a move that is written to the row, once the open transaction is committed."""
    if not _listeners and not logger.isEnabledFor(logging.INFO):
        return
    database, model = current(), type(row)

    def tell() -> None:
        try:
            with scope(database):
                stored = model.select(model.audit_trail).where(model.id == move.transaction_id).first()
        except Exception:
            logger.exception("a move of escrow %r was committed and cannot be announced", move.reference)
            return
        # The caller may have rolled back to a savepoint, which peewee does not report.
        if stored is None or not any(_is_entry_of(move, entry) for entry in entries_of(stored)):
            return
        logger.info("escrow %r: %s, %s to %s", move.reference, move.verb, move.before, move.after)
        for listener in list(_listeners):
            try:
                listener(move)
            except Exception:
                logger.exception("a listener of on_move failed for escrow %r", move.reference)

    database.after_commit(tell)


def _is_entry_of(move: Move, entry: Any) -> bool:
    return isinstance(entry, dict) and (entry.get("action"), entry.get("at")) == (move.verb, move.at.isoformat())
