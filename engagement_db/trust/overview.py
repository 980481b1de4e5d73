"""An overview for a trust desk: the money by status, the cases by age, and the releases ahead."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import peewee

from engagement_db.orm.paging import instant_bound, validate_limit
from engagement_db.orm.rows import moment_of
from engagement_db.trust.disputes import DisputeCase
from engagement_db.trust.money import EXACT
from engagement_db.trust.totals import Total, escrow_totals, money, units
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.transitions import ACTIVE_DISPUTE, HOLDS_FUNDS
from engagement_db.trust.words import DisputeStage, TransactionStatus

DAYS_LIMIT: Final = 31
# The upper bounds of the ages of cases, in days; older ones are in a last bucket without a bound.
AGE_DAYS: Final = (1, 3, 7, 14, 30)


@dataclass(frozen=True)
class CaseCount:
    """How many active cases are in a stage and were opened less than ``days`` days ago; None: longer ago than all."""

    stage: DisputeStage
    days: int | None
    count: int


@dataclass(frozen=True)
class DueTotal:
    """Transactions in escrow to be released by day ``days`` from now, after the day before it; 0: due already."""

    days: int
    currency_code: str
    count: int
    amount: Decimal
    net_amount: Decimal


@dataclass(frozen=True)
class TrustOverview:
    """The state of all escrow transactions and active dispute cases at one time."""

    at: datetime
    totals: list[Total]
    cases: list[CaseCount]
    due: list[DueTotal]

    @property
    def pending_release(self) -> dict[str, Decimal]:
        """The net amounts that are held, by currency."""
        sums: dict[str, Decimal] = {}
        for total in self.totals:
            if total.status in HOLDS_FUNDS:
                sums[total.currency_code] = EXACT.add(sums.get(total.currency_code, Decimal(0)), total.net_amount)
        return sums


def trust_overview(due_within_days: int = 14, *, at: datetime | None = None) -> TrustOverview:
    """Return totals by status and currency, active cases by stage and age, and the releases ahead, in three queries.

    The releases ahead are those due already and on each of the next ``due_within_days`` days, 1 to 31, by currency.
    ``at`` is an aware time, by default now. A status or stage that this version does not know is counted under its
    own name. The totals read every transaction once; the others use dispute_cases_status and
    escrow_transactions_status_scheduled_release_at. Raises RefusedValue for a number of days out of bounds.
    """
    days = validate_limit(EscrowTransaction._meta.table_name, due_within_days, DAYS_LIMIT, "due_within_days")
    start = moment_of(EscrowTransaction.scheduled_release_at, at)
    return TrustOverview(start, escrow_totals(), _cases(start), _due(start, days))


def _cases(at: datetime) -> list[CaseCount]:
    case = DisputeCase
    ages = [(case.opened_at > instant_bound(case.opened_at, at - timedelta(days=days)), days) for days in AGE_DAYS]
    bucket = peewee.Case(None, ages, None)
    query: Any = case.select(case.stage, bucket.alias("days"), peewee.fn.COUNT(case.id).alias("count"))
    query = query.where(case.status.in_(ACTIVE_DISPUTE)).group_by(case.stage, peewee.SQL("days"))
    found = [CaseCount(row["stage"], row["days"], row["count"]) for row in query.dicts()]
    return sorted(found, key=lambda row: (row.stage, row.days is None, row.days))


def _due(at: datetime, days: int) -> list[DueTotal]:
    row, scheduled = EscrowTransaction, EscrowTransaction.scheduled_release_at
    bounds = [at + timedelta(days=number) for number in range(days + 1)]
    bucket = peewee.Case(None, [(scheduled <= bound, number) for number, bound in enumerate(bounds[:-1])], days)
    query: Any = row.select(
        bucket.alias("days"),
        row.currency_code,
        peewee.fn.COUNT(row.id).alias("count"),
        peewee.fn.SUM(units(row.amount)).alias("total"),
        peewee.fn.SUM(units(row.net_amount)).alias("net"),
    )
    query = query.where(row.status == TransactionStatus.IN_ESCROW, scheduled <= bounds[-1])
    query = query.group_by(peewee.SQL("days"), row.currency_code)
    found = [
        DueTotal(values["days"], values["currency_code"], values["count"], money(values["total"]), money(values["net"]))
        for values in query.dicts()
    ]
    return sorted(found, key=lambda total: (total.days, total.currency_code))
