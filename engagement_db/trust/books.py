"""The books over all escrow accounts: whether they balance, and what was changed outside the verbs."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import peewee

from engagement_db.orm.bound import current, now
from engagement_db.orm.models import store
from engagement_db.orm.paging import validate_limit
from engagement_db.orm.rows import copy_state, id_of
from engagement_db.orm.transactions import locked, transaction
from engagement_db.problems import PROBLEMS_LIMIT, Problem, ProblemCollector, ProblemKind
from engagement_db.trust.accounts import EscrowAccount, locked_account
from engagement_db.trust.audit import HeldAmounts, audit_account, audit_trails, snapshot
from engagement_db.trust.disputes import DisputeCase
from engagement_db.trust.events import DisputeEvent
from engagement_db.trust.money import EXACT
from engagement_db.trust.totals import money, units
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.transitions import HOLDS_FUNDS
from engagement_db.trust.words import AccountStatus, TransactionStatus

# An account is closed when it is empty, and the first money activates a pending one.
_HOLDING_NOTHING: Final = (AccountStatus.PENDING, AccountStatus.CLOSED)
_ACCOUNTS: Final = EscrowAccount._meta.table_name
_TRANSACTIONS: Final = EscrowTransaction._meta.table_name
# Every foreign key by which a row could have lost its parent while a server did not enforce it.
_PARENTS: Final = (
    (_TRANSACTIONS, "accountId", _ACCOUNTS),
    (DisputeCase._meta.table_name, "escrowTransactionId", _TRANSACTIONS),
    (DisputeEvent._meta.table_name, "disputeCaseId", DisputeCase._meta.table_name),
)


@dataclass(frozen=True)
class Reconciliation:
    """What ``reconcile`` found; the account is stamped where there is no problem."""

    account: EscrowAccount
    problems: tuple[Problem, ...]

    @property
    def adds_up(self) -> bool:
        return not self.problems


def find_book_problems(limit: int) -> Iterator[Problem]:
    """Yield what is wrong with the books: balances first, then transactions and cases in the order of ids, orphans.

    At most ``limit`` balances and orphans of each table; all other problems.
    """
    yield from _account_problems(limit)
    for page in audit_trails():
        yield from page.problems
    yield from _orphans(limit)


def find_balance_problems(limit: int = PROBLEMS_LIMIT) -> list[Problem]:
    """Add up all books and return the balances and net amounts that are wrong; no audit trail is read.

    At most ``limit`` accounts and ``limit`` transactions, 1 to 1000. Changes and locks nothing; accounts and the
    transactions that hold money are read at one moment. Three queries, whatever the number of rows. Uses
    escrow_transactions_status_scheduled_release_at.
    """
    most = validate_limit(_ACCOUNTS, limit, PROBLEMS_LIMIT)
    return [*_account_problems(most), *_net_problems(most)]


def reconcile(account: EscrowAccount | int) -> Reconciliation:
    """Check the books of one account (a row or id) as ``find_problems`` does; stamp it if nothing is wrong.

    ``last_reconciled_at`` is now if there is no problem. The account, its transactions and their cases are locked
    meanwhile. At most 1000 problems of each kind. Raises NotFound; nothing was changed then. Uses
    escrow_transactions_account_id, dispute_cases_escrow_transaction_id and
    dispute_events_dispute_case_id_event_at.
    """
    key = id_of(EscrowTransaction.account, account)

    def work() -> Reconciliation:
        # The verbs lock a transaction before its account.
        mine = EscrowTransaction.select(EscrowTransaction.id).where(EscrowTransaction.account == key)
        deque(locked(mine.order_by(EscrowTransaction.id)).tuples().iterator(), maxlen=0)
        row = locked_account(key)
        held, audit = audit_account(row.id)
        found = ProblemCollector(PROBLEMS_LIMIT)
        found.add(_balance_problems(row.id, row.status, row.current_balance, row.pending_release_total, held))
        found.add(audit)
        problems = tuple(found.problems())
        if not problems:
            store(row, {"last_reconciled_at": now()})
        return Reconciliation(row, problems)

    done = transaction(work)
    if isinstance(account, EscrowAccount):
        copy_state(account, done.account)
        return replace(done, account=account)
    return done


def _account_problems(most: int) -> list[Problem]:
    with snapshot():
        found = current().execute(_wrong_accounts(most, _unknown_statuses())).fetchall()
    problems: list[Problem] = []
    for key, status, balance, pending, *totals in sorted(found):
        problems += _balance_problems(key, status, money(balance), money(pending), HeldAmounts(*map(money, totals)))
    return problems


def _unknown_statuses() -> list[str]:
    """Return the statuses of transactions that this version does not know.

    Uses escrow_transactions_status_scheduled_release_at, which has them all.
    """
    statuses = current().execute(EscrowTransaction.select(EscrowTransaction.status).distinct()).fetchall()
    return sorted({status for (status,) in statuses} - set(TransactionStatus))


def _wrong_accounts(most: int, unknown: Sequence[str]) -> Any:
    account, row = EscrowAccount, EscrowTransaction
    is_held = row.status.in_(HOLDS_FUNDS)
    # By name, because for all but the others SQLite would read the whole table.
    wanted = [peewee.Value(status, converter=False) for status in (*HOLDS_FUNDS, *unknown)]
    sums = row.select(
        row.account.alias("account_id"),
        *(
            peewee.fn.SUM(peewee.Case(None, [(condition, units(field))], 0)).alias(name)
            for name, condition, field in (
                ("amount", is_held, row.amount),
                ("net", is_held, row.net_amount),
                ("unknown_amount", ~is_held, row.amount),
                ("unknown_net", ~is_held, row.net_amount),
            )
        ),
    )
    held = sums.where(row.status.in_(wanted)).group_by(row.account).alias("held")
    amount, net, unknown_amount, unknown_net = (
        peewee.fn.COALESCE(getattr(held.c, name), 0) for name in ("amount", "net", "unknown_amount", "unknown_net")
    )
    balance, pending = units(account.current_balance), units(account.pending_release_total)
    is_wrong = ~balance.between(amount, amount + unknown_amount) | ~pending.between(net, net + unknown_net)
    is_wrong |= account.status.in_(_HOLDING_NOTHING) & (amount != 0)
    columns = (account.id, account.status, balance, pending, amount, net, unknown_amount, unknown_net)
    query = account.select(*columns).join(held, peewee.JOIN.LEFT_OUTER, on=(held.c.account_id == account.id))
    # Without an order, which would lead MySQL to look up each account by its key.
    return query.where(is_wrong).limit(most)


def _balance_problems(key: int, status: str, balance: Any, pending: Any, held: HeldAmounts) -> Iterator[Problem]:
    columns = (
        ("currentBalance", balance, held.amount, held.unknown_amount),
        ("pendingReleaseTotal", pending, held.net, held.unknown_net),
    )
    for column, found, known, unknown in columns:
        most = EXACT.add(known, unknown)
        if not known <= found <= most:
            expected = f"{known} to {most}" if unknown else known
            yield Problem(ProblemKind.BALANCE, _ACCOUNTS, key, column, expected, found)
    if status in _HOLDING_NOTHING and held.amount != 0:
        expected = f"another, as it holds {held.amount}"
        yield Problem(ProblemKind.ACCOUNT_STATUS, _ACCOUNTS, key, "status", expected, status)


def _net_problems(most: int) -> Iterator[Problem]:
    row = EscrowTransaction
    net = units(row.amount) - units(row.fee_amount)
    query = row.select(row.id, net, units(row.net_amount)).where(units(row.net_amount) != net).limit(most)
    for key, expected, found in sorted(current().execute(query).fetchall()):
        yield Problem(ProblemKind.NET_AMOUNT, _TRANSACTIONS, key, "netAmount", money(expected), money(found))


def _orphans(most: int) -> Iterator[Problem]:
    for child_name, column, parent_name in _PARENTS:
        child, parent = peewee.Table(child_name), peewee.Table(parent_name)
        key = getattr(child.c, column)
        rows = child.join(parent, peewee.JOIN.LEFT_OUTER, on=(parent.c.id == key)).select(child.c.id, key)
        for row_id, found in sorted(
            current().execute(rows.where(parent.c.id.is_null(), key.is_null(False)).limit(most))
        ):
            yield Problem(ProblemKind.ORPHAN, child_name, row_id, column, f"a row of {parent_name}", str(found))
