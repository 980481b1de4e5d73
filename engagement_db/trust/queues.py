"""The queues of a disputes desk: which active cases, in which order. Read only."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import peewee

from engagement_db.orm.paging import validate_limit
from engagement_db.orm.rows import moment_of, optional_id_of
from engagement_db.platform import User
from engagement_db.trust.transitions import ACTIVE_DISPUTE, PRIORITIES

if TYPE_CHECKING:
    from engagement_db.orm.columns import Select
    from engagement_db.trust.disputes import DisputeCase

QUEUE_LIMIT: Final = 1000
HOURS_LIMIT: Final = 24 * 366


class Queues:
    """The queries of ``DisputeCase``, which inherits them."""

    id: Any
    _meta: Any
    select: Any
    status: Any
    priority: Any
    assigned_to: Any
    customer_deadline_at: Any
    provider_deadline_at: Any

    @classmethod
    def queue(cls, limit: int = 100) -> "Select[DisputeCase]":
        """Return a query of the active cases, urgent ones first, then by nearest deadline, none last.

        At most ``limit`` rows, 1 to 1000. Like the queries below it can be narrowed with ``where``.
        Uses dispute_cases_status.
        """
        urgency = peewee.Case(cls.priority, [(priority.value, rank) for rank, priority in enumerate(PRIORITIES)])
        return cls._active(limit).order_by(urgency, *cls._by_deadline())

    @classmethod
    def overdue(cls, at: datetime | None = None, limit: int = 100) -> "Select[DisputeCase]":
        """Return a query of the active cases with a deadline before ``at`` (default: now), oldest first.

        At most ``limit`` rows, 1 to 1000. Uses dispute_cases_status.
        """
        at = moment_of(cls.customer_deadline_at, at)
        late = (cls.customer_deadline_at < at) | (cls.provider_deadline_at < at)
        return cls._active(limit).where(late).order_by(*cls._by_deadline())

    @classmethod
    def due_within(cls, hours: int, at: datetime | None = None, limit: int = 100) -> "Select[DisputeCase]":
        """Return a query of the active cases with a deadline within ``hours`` of ``at``, nearest first.

        ``at`` is an aware time, by default now; ``hours`` is 1 to 8784, a year. A case that is overdue by
        one deadline and due by the other is in both queues. At most ``limit`` rows, 1 to 1000. Uses
        dispute_cases_status.
        """
        start = moment_of(cls.customer_deadline_at, at)
        end = start + timedelta(hours=validate_limit(cls._meta.table_name, hours, HOURS_LIMIT, "hours"))
        due = cls.customer_deadline_at.between(start, end) | cls.provider_deadline_at.between(start, end)
        return cls._active(limit).where(due).order_by(*cls._by_deadline())

    @classmethod
    def queue_for(cls, user: User | int | None, limit: int = 100) -> "Select[DisputeCase]":
        """Return a query of the active cases assigned to ``user`` (a row or id), in the order of ``queue``.

        At most ``limit`` rows, 1 to 1000. Uses dispute_cases_assigned_to_id.
        """
        return cls.queue(limit).where(cls.assigned_to == optional_id_of(cls.assigned_to, user))

    @classmethod
    def _active(cls, limit: int) -> "Select[DisputeCase]":
        most = validate_limit(cls._meta.table_name, limit, QUEUE_LIMIT)
        active: Select[DisputeCase] = cls.select().where(cls.status.in_(ACTIVE_DISPUTE)).limit(most)
        return active

    @classmethod
    def _by_deadline(cls) -> tuple[Any, ...]:
        customer, provider = cls.customer_deadline_at, cls.provider_deadline_at
        nearest = peewee.Case(
            None,
            [
                (customer.is_null(), provider),
                (provider.is_null(), customer),
                (customer <= provider, customer),
            ],
            provider,
        )
        return nearest.is_null(), nearest, cls.id
