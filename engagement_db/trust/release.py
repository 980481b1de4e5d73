"""The transactions whose release is due."""

from datetime import datetime
from typing import Any, Final

from engagement_db.orm.bound import now
from engagement_db.orm.paging import validate_limit
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.words import TransactionStatus

QUEUE_LIMIT: Final = 1000


def release_queue(at: datetime | None = None, limit: int = 100) -> Any:
    """Return a query of the transactions in_escrow whose ``scheduled_release_at`` has come, oldest first.

    ``at`` is an aware time, by default now; ``limit`` is 1 to 1000. The query can be narrowed with ``where``.
    Uses escrow_transactions_status_scheduled_release_at.
    """
    row = EscrowTransaction
    due = (row.status == TransactionStatus.IN_ESCROW) & (row.scheduled_release_at <= (at or now()))
    most = validate_limit(row._meta.table_name, limit, QUEUE_LIMIT)
    return row.select().where(due).order_by(row.scheduled_release_at, row.id).limit(most)
