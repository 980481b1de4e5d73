"""Totals over escrow transactions: by status and currency, and by owner or project."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.orm.bound import current
from engagement_db.orm.fields import MONEY_PLACES
from engagement_db.orm.rows import ids_of
from engagement_db.platform import Project, User
from engagement_db.trust.money import EXACT
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.words import TransactionStatus

KEYS_LIMIT: Final = 1000
_CENT = Decimal(1).scaleb(-MONEY_PLACES)


@dataclass(frozen=True)
class Total:
    """Transactions of one status and currency, added up; of one owner or project if those were asked for."""

    status: TransactionStatus
    currency_code: str
    count: int
    amount: Decimal
    fee_amount: Decimal
    net_amount: Decimal
    owner_id: int | None = None
    project_id: int | None = None


def escrow_totals() -> list[Total]:
    """Return the exact totals of all transactions, by status and currency. Reads every transaction once."""
    return _totals(EscrowTransaction.select())


def escrow_totals_per_owner(owners: Iterable[User | int]) -> list[Total]:
    """Return the totals of the transactions of these owners' projects, by owner, status and currency.

    ``owners`` are at most 1000 users, rows or ids. Uses projects_owner_id_idx and
    escrow_transactions_project_id.
    """
    query = EscrowTransaction.select().join(Project).where(Project.owner.in_(ids_of(Project.owner, owners, KEYS_LIMIT)))
    return _totals(query, owner_id=Project.owner)


def escrow_totals_per_project(projects: Iterable[Project | int]) -> list[Total]:
    """Return the totals of the transactions of these projects, by project, status and currency.

    ``projects`` are at most 1000 rows or ids. Uses escrow_transactions_project_id.
    """
    project = EscrowTransaction.project
    query = EscrowTransaction.select().where(project.in_(ids_of(project, projects, KEYS_LIMIT)))
    return _totals(query, project_id=project)


def _totals(query: Any, **group: Any) -> list[Total]:
    row = EscrowTransaction
    groups = {**group, "status": row.status, "currency_code": row.currency_code}
    sums = {field.name: peewee.fn.SUM(units(field)) for field in (row.amount, row.fee_amount, row.net_amount)}
    query = query.select(
        *(node.alias(name) for name, node in groups.items()),
        peewee.fn.COUNT(row.id).alias("count"),
        *(node.alias(name) for name, node in sums.items()),
    )
    query = query.group_by(*groups.values()).order_by(*groups.values())
    return [Total(**{**found, **{name: money(found[name]) for name in sums}}) for found in query.dicts()]


def units(amount: Any) -> Any:
    """Return an expression for a money column whose sum is exact."""
    if servers.of(current()).has_exact_sum:
        return amount
    # A sum of doubles is not exact (0.1 + 0.2); one of ten-thousandths as integers is.
    scale = peewee.Value(10**MONEY_PLACES, converter=False)
    whole = amount.cast("INTEGER")
    return whole * scale + peewee.fn.ROUND((amount - whole) * scale).cast("INTEGER")


def money(value: Decimal | int | None) -> Decimal:
    """Return the amount of a sum in ``units``; 0 for NULL."""
    amount = Decimal(value or 0)
    if isinstance(value, int) and not servers.of(current()).has_exact_sum:
        amount = amount.scaleb(-MONEY_PLACES, context=EXACT)
    return amount.quantize(_CENT, context=EXACT)
