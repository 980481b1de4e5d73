"""The books over all escrow accounts: what is due, what adds up to what, and what does not."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.orm.bound import current, now
from engagement_db.orm.fields import MONEY_PLACES
from engagement_db.orm.models import store
from engagement_db.orm.paging import validate_limit
from engagement_db.orm.rows import copy_state, ids_of
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import Project
from engagement_db.trust.accounts import EscrowAccount, locked_account
from engagement_db.trust.money import EXACT
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.transitions import HOLDS_FUNDS
from engagement_db.trust.words import TransactionStatus

QUEUE_LIMIT: Final = 1000
KEYS_LIMIT: Final = 1000
PROBLEMS_LIMIT: Final = 1000
_CENT = Decimal(1).scaleb(-MONEY_PLACES)


@dataclass(frozen=True)
class Problem:
    """A place where the books do not add up: ``column`` of row ``id`` holds ``found``, not ``expected``."""

    table: str
    id: int
    column: str
    expected: Decimal | str
    found: Decimal | str

    def __str__(self) -> str:
        return f"{self.table} {self.id}: {self.column} is {self.found}, and should be {self.expected}"


@dataclass(frozen=True)
class Reconciliation:
    """What ``reconcile`` found; the account is stamped where there is no problem."""

    account: EscrowAccount
    problems: tuple[Problem, ...]

    @property
    def adds_up(self) -> bool:
        return not self.problems


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


def find_problems(limit: int = PROBLEMS_LIMIT) -> list[Problem]:
    """Re-add all books and return where they do not add up: at most ``limit`` accounts and transactions each.

    An account's ``currentBalance`` is the sum of ``amount``, its ``pendingReleaseTotal`` the sum of
    ``netAmount`` over its transactions in funded, in_escrow and disputed. A transaction's ``netAmount`` is
    its amount less its fee, and its currency is its account's. ``limit`` is 1 to 1000.

    Changes and locks nothing, and may run while money moves: each of its two queries sees one moment, and
    reads both tables once.
    """
    most = validate_limit(EscrowAccount._meta.table_name, limit, PROBLEMS_LIMIT)
    account, row = EscrowAccount, EscrowTransaction
    held = row.select(
        row.account.alias("account_id"),
        peewee.fn.SUM(_units(row.amount)).alias("amount"),
        peewee.fn.SUM(_units(row.net_amount)).alias("net"),
    )
    held = held.where(row.status.in_(HOLDS_FUNDS)).group_by(row.account).alias("held")
    amount, net = peewee.fn.COALESCE(held.c.amount, 0), peewee.fn.COALESCE(held.c.net, 0)
    balance, pending = _units(account.current_balance), _units(account.pending_release_total)
    accounts = (
        account.select(account.id, amount, balance, net, pending)
        .join(held, peewee.JOIN.LEFT_OUTER, on=(held.c.account_id == account.id))
        .where((balance != amount) | (pending != net))
        .order_by(account.id)
        .limit(most)
    )
    rows: Any = accounts.tuples()
    problems = [problem for found in rows for problem in _account_problems(*found)]
    return problems + _transaction_problems(most)


def reconcile(account: EscrowAccount | int) -> Reconciliation:
    """Re-add the books of an account (a row or id); ``last_reconciled_at`` is now if they add up.

    Returns what was found. The account and its transactions that hold money are locked meanwhile. Raises
    NotFound; nothing was changed then. Walks escrow_transactions_account_id.
    """
    key = EscrowTransaction.account.db_value(account)

    def work() -> Reconciliation:
        found, row = locked_account(key), EscrowTransaction
        held = locked(row.select(row.amount, row.net_amount).where(row.account == key, row.status.in_(HOLDS_FUNDS)))
        amount = net = Decimal(0)
        for one_amount, one_net in held.tuples():
            amount, net = EXACT.add(amount, one_amount), EXACT.add(net, one_net)
        problems = _account_problems(found.id, amount, found.current_balance, net, found.pending_release_total)
        problems += _transaction_problems(PROBLEMS_LIMIT, found.id)
        if not problems:
            store(found, {"last_reconciled_at": now()})
        return Reconciliation(found, tuple(problems))

    done = transaction(work)
    if isinstance(account, EscrowAccount):
        copy_state(account, done.account)
        return replace(done, account=account)
    return done


def release_queue(at: datetime | None = None, limit: int = 100) -> Any:
    """Return a query of the transactions in_escrow whose ``scheduled_release_at`` has come, oldest first.

    ``at`` is an aware time, by default now; ``limit`` is 1 to 1000. The query can be narrowed with ``where``.
    Uses escrow_transactions_status_scheduled_release_at.
    """
    row = EscrowTransaction
    due = (row.status == TransactionStatus.IN_ESCROW) & (row.scheduled_release_at <= (at or now()))
    most = validate_limit(row._meta.table_name, limit, QUEUE_LIMIT)
    return row.select().where(due).order_by(row.scheduled_release_at, row.id).limit(most)


def escrow_totals() -> list[Total]:
    """Return what all transactions come to, by status and currency, exactly. Reads every transaction once."""
    return _totals(EscrowTransaction.select())


def escrow_totals_per_owner(owners: Iterable[Any]) -> list[Total]:
    """Return what the transactions of these owners' projects come to, by owner, status and currency.

    ``owners`` are at most 1000 users, rows or ids. Walks projects_owner_id_idx and
    escrow_transactions_project_id.
    """
    query = EscrowTransaction.select().join(Project).where(Project.owner.in_(ids_of(Project.owner, owners, KEYS_LIMIT)))
    return _totals(query, owner_id=Project.owner)


def escrow_totals_per_project(projects: Iterable[Any]) -> list[Total]:
    """Return what the transactions of these projects come to, by project, status and currency.

    ``projects`` are at most 1000 rows or ids. Walks escrow_transactions_project_id.
    """
    project = EscrowTransaction.project
    query = EscrowTransaction.select().where(project.in_(ids_of(project, projects, KEYS_LIMIT)))
    return _totals(query, project_id=project)


def _totals(query: Any, **group: Any) -> list[Total]:
    row = EscrowTransaction
    groups = {**group, "status": row.status, "currency_code": row.currency_code}
    sums = {field.name: peewee.fn.SUM(_units(field)) for field in (row.amount, row.fee_amount, row.net_amount)}
    query = query.select(
        *(node.alias(name) for name, node in groups.items()),
        peewee.fn.COUNT(row.id).alias("count"),
        *(node.alias(name) for name, node in sums.items()),
    )
    query = query.group_by(*groups.values()).order_by(*groups.values())
    return [Total(**{**found, **{name: _money(found[name]) for name in sums}}) for found in query.dicts()]


def _account_problems(key: int, amount: Any, balance: Any, net: Any, pending: Any) -> list[Problem]:
    table = EscrowAccount._meta.table_name
    columns = (
        ("currentBalance", _money(amount), _money(balance)),
        ("pendingReleaseTotal", _money(net), _money(pending)),
    )
    return [Problem(table, key, column, expected, found) for column, expected, found in columns if expected != found]


def _transaction_problems(most: int, account_id: int | None = None) -> list[Problem]:
    account, row = EscrowAccount, EscrowTransaction
    net = _units(row.amount) - _units(row.fee_amount)
    query: Any = (
        row.select(row.id, net, _units(row.net_amount), account.currency_code, row.currency_code)
        .join(account)
        .where((_units(row.net_amount) != net) | (row.currency_code != account.currency_code))
        .order_by(row.id)
        .limit(most)
    )
    if account_id is not None:
        query = query.where(row.account == account_id)
    problems = []
    rows: Any = query.tuples()
    for key, expected, found, currency, other_currency in rows:
        if _money(expected) != _money(found):
            problems.append(Problem(row._meta.table_name, key, "netAmount", _money(expected), _money(found)))
        if currency != other_currency:
            problems.append(Problem(row._meta.table_name, key, "currencyCode", currency, other_currency))
    return problems


def _units(amount: Any) -> Any:
    if servers.of(current()).has_exact_sum:
        return amount
    # Doubles do not add up: 0.1 + 0.2. Ten-thousandths as integers do.
    scale = peewee.Value(10**MONEY_PLACES, converter=False)
    whole = amount.cast("INTEGER")
    return whole * scale + peewee.fn.ROUND((amount - whole) * scale).cast("INTEGER")


def _money(value: Decimal | int | None) -> Decimal:
    amount = Decimal(value or 0)
    if isinstance(value, int) and not servers.of(current()).has_exact_sum:
        amount = amount.scaleb(-MONEY_PLACES, context=EXACT)
    return amount.quantize(_CENT, context=EXACT)
