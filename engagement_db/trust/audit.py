"""The audit of single transactions: each with its account, its trail, its dispute cases and their events.

Reads each row once, in pages by id. A page is read in one snapshot, so an audit may run while money moves.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.orm.bound import current
from engagement_db.orm.fields import Unknown, reject, shown
from engagement_db.orm.paging import validate_limit
from engagement_db.orm.transactions import locked
from engagement_db.problems import Problem, ProblemKind
from engagement_db.trust.accounts import EscrowAccount
from engagement_db.trust.case_history import CaseHistory, is_active
from engagement_db.trust.disputes import DisputeCase
from engagement_db.trust.events import DisputeEvent
from engagement_db.trust.money import EXACT
from engagement_db.trust.problems import Findings
from engagement_db.trust.replay import Replay, recorded_time
from engagement_db.trust.stored import Adoption, Row, StoredRows
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.transitions import HOLDS_FUNDS, TERMINAL_TIMESTAMPS
from engagement_db.trust.words import DisputeStatus, TransactionStatus

AUDIT_PAGE: Final = 500
AUDIT_PAGE_LIMIT: Final = 5000

_TRANSACTION_STATUSES: Final = frozenset(TransactionStatus)
_DISPUTE_STATUSES: Final = frozenset(DisputeStatus)
_ACCOUNTS = StoredRows(EscrowAccount, "id user provider currency_code metadata")
_TRANSACTIONS = StoredRows(
    EscrowTransaction,
    "id account reference type status amount currency_code fee_amount net_amount initiated_by counterparty project gig "
    "scheduled_release_at released_at refunded_at cancelled_at audit_trail created_at updated_at",
)
_CASES = StoredRows(
    DisputeCase,
    "id escrow_transaction opened_by assigned_to stage status priority reason_code summary customer_deadline_at "
    "provider_deadline_at resolution_notes opened_at resolved_at created_at updated_at",
)
_EVENTS = StoredRows(
    DisputeEvent, "id dispute_case actor actor_type action_type notes event_at metadata created_at updated_at"
)


@dataclass
class HeldAmounts:
    """What an account should hold: the sums over its transactions in statuses that hold funds.

    A transaction in a status that this version does not know may hold funds or not: the sums over those are in
    ``unknown_amount`` and ``unknown_net``, and the account may hold them or any part of them.
    """

    amount: Decimal = Decimal(0)
    net: Decimal = Decimal(0)
    unknown_amount: Decimal = Decimal(0)
    unknown_net: Decimal = Decimal(0)

    def add(self, row: Row) -> None:
        if isinstance(row["amount"], Unknown) or isinstance(row["net_amount"], Unknown):
            return
        if row["status"] in HOLDS_FUNDS:
            self.amount = EXACT.add(self.amount, row["amount"])
            self.net = EXACT.add(self.net, row["net_amount"])
        elif row["status"] not in _TRANSACTION_STATUSES:
            self.unknown_amount = EXACT.add(self.unknown_amount, row["amount"])
            self.unknown_net = EXACT.add(self.unknown_net, row["net_amount"])


@dataclass(frozen=True)
class AuditPage:
    """What the audit of one page of transactions found.

    ``transactions`` is how many were read. ``position`` is the highest id among them: pass it as ``after`` to
    resume from here. ``last_id`` is the highest id when the audit began, so ``progress`` goes from 0 to 1.
    """

    problems: tuple[Problem, ...]
    transactions: int
    position: int
    last_id: int

    @property
    def progress(self) -> float:
        return min(1.0, self.position / self.last_id) if self.last_id > 0 else 1.0


def audit_trails(after: int = 0, page_size: int = AUDIT_PAGE) -> Iterator[AuditPage]:
    """Replay every audit trail and every case's events; yield what contradicts them, page by page.

    ``after`` is the ``position`` of the page to resume after, 0 for all; ``page_size`` is 1 to 5000 transactions,
    and bounds the memory used. Transactions that are written meanwhile, with ids above ``last_id``, are left to
    the next audit.

    Changes and locks nothing. Outside a transaction each page sees one moment; inside a caller's transaction the
    audit sees what that shows. Uses primary keys, dispute_cases_escrow_transaction_id and
    dispute_events_dispute_case_id_event_at.
    """
    size = validate_limit(EscrowTransaction._meta.table_name, page_size, AUDIT_PAGE_LIMIT, "page_size")
    if isinstance(after, bool) or not isinstance(after, int) or after < 0:
        reject(EscrowTransaction.id, f"{shown(after)} is not the position of a page")
    last_id = EscrowTransaction.select(peewee.fn.MAX(EscrowTransaction.id)).scalar() or 0
    adoption = Adoption()
    position = after
    while position < last_id:
        page = _TRANSACTIONS.select().where(EscrowTransaction.id > position, EscrowTransaction.id <= last_id)
        with snapshot():
            rows = list(_TRANSACTIONS.read(page.order_by(EscrowTransaction.id).limit(size)))
            if not rows:
                return
            disputed = DisputeCase.escrow_transaction.between(rows[0]["id"], rows[-1]["id"])
            problems, replays = _find_problems(rows, disputed, adoption)
            problems += _missing_transactions(replays)
        position = rows[-1]["id"]
        yield AuditPage(tuple(problems), len(rows), position, last_id)


def audit_account(account_id: int) -> tuple[HeldAmounts, list[Problem]]:
    """Return what a locked account should hold, and the problems of its transactions, which are locked too."""
    row, position = EscrowTransaction, 0
    adoption = Adoption()
    held = HeldAmounts()
    problems: list[Problem] = []
    while True:
        page = _TRANSACTIONS.select().where(row.account == account_id, row.id > position)
        rows = list(_TRANSACTIONS.read(locked(page.order_by(row.id).limit(AUDIT_PAGE))))
        if not rows:
            return held, problems
        disputed = DisputeCase.escrow_transaction.in_([row["id"] for row in rows])
        problems += _find_problems(rows, disputed, adoption, locked)[0]
        for transaction in rows:
            held.add(transaction)
        position = rows[-1]["id"]


def _find_problems(
    rows: list[Row], disputed: Any, adoption: Adoption, lock: Callable[[Any], Any] = lambda query: query
) -> tuple[list[Problem], list[Replay]]:
    accounts = _by_id(_ACCOUNTS.read(_ACCOUNTS.select().where(EscrowAccount.id.in_({row["account"] for row in rows}))))
    cases = _grouped(_CASES.read(lock(_CASES.select().where(disputed))), "escrow_transaction")
    keys = [case["id"] for found in cases.values() for case in found]
    events_query = _EVENTS.select().where(DisputeEvent.dispute_case.in_(keys))
    events = _grouped(_EVENTS.read(lock(events_query)), "dispute_case") if keys else {}
    problems: list[Problem] = []
    replays: list[Replay] = []
    for row in rows:
        replay = Replay(row, Findings(), adoption)
        _judge(row, accounts.get(row["account"]), cases.get(row["id"], []), events, adoption, replay)
        problems += replay.findings.problems
        replays.append(replay)
    return problems, replays


def _missing_transactions(replays: list[Replay]) -> Iterator[Problem]:
    """Yield a problem for each transaction whose trail names a previous transaction that no longer exists."""
    named = [(replay, replay.first.previous) for replay in replays if replay.first and replay.first.previous]
    there = {replay.row["id"] for replay in replays}
    elsewhere = {previous for _, previous in named} - there
    if elsewhere:
        query = EscrowTransaction.select(EscrowTransaction.id).where(EscrowTransaction.id.in_(elsewhere))
        there |= {key for (key,) in current().execute(query).fetchall()}
    for replay, previous in named:
        if previous not in there:
            findings = Findings()
            expected = f"escrow transaction {previous}, initiated before it"
            findings.add(
                ProblemKind.MISSING_ROWS, EscrowTransaction, replay.row, "audit_trail", expected, "no such row"
            )
            yield from findings.problems


def _judge(
    row: Row,
    account: Row | None,
    cases: list[Row],
    events: Mapping[int, list[Row]],
    adoption: Adoption,
    replay: Replay,
) -> None:
    findings = replay.findings
    findings.add_malformed(EscrowTransaction, row)
    findings.add_unknown_labels(EscrowTransaction, row, "type status")
    _judge_settlement(row, findings)
    replay.run()
    _judge_amounts(row, findings)
    _judge_currency(row, account, replay, findings)
    _judge_account(row, account, replay, findings)
    _judge_disputes(row, cases, replay, findings)
    for case in cases:
        findings.add_malformed(DisputeCase, case)
        findings.add_unknown_labels(DisputeCase, case, "stage status priority")
        for event in events.get(case["id"], []):
            findings.add_malformed(DisputeEvent, event)
            findings.add_unknown_labels(DisputeEvent, event, "actor_type action_type")
        CaseHistory(case, events.get(case["id"], []), findings, adoption).run()


def _judge_settlement(row: Row, findings: Findings) -> None:
    """A transaction is settled once, and shows the time of it while it is in that status."""
    settled = {name: row[name] for name in TERMINAL_TIMESTAMPS.values() if row[name] is not None}
    if len(settled) > 1:
        columns = [EscrowTransaction._meta.fields[name].column_name for name in settled]
        name = next(iter(settled))
        findings.add(
            ProblemKind.SETTLEMENT, EscrowTransaction, row, name, "the only time of settlement", " and ".join(columns)
        )
    elif settled and row["status"] in _TRANSACTION_STATUSES:
        name, time = settled.popitem()
        if name != TERMINAL_TIMESTAMPS.get(row["status"]):
            findings.add(ProblemKind.SETTLEMENT, EscrowTransaction, row, name, None, time)


def _judge_amounts(row: Row, findings: Findings) -> None:
    amounts = [row[name] for name in ("amount", "fee_amount", "net_amount")]
    if not any(isinstance(amount, Unknown) for amount in amounts):
        amount, fee, net = amounts
        expected = EXACT.subtract(amount, fee)
        if net != expected:
            findings.add(ProblemKind.NET_AMOUNT, EscrowTransaction, row, "net_amount", expected, net)


def _judge_currency(row: Row, account: Row | None, replay: Replay, findings: Findings) -> None:
    """Blame the account, unless the transaction's own trail contradicts the transaction's currency."""
    if account is None or row["currency_code"] == account["currency_code"]:
        return
    recorded = replay.recorded.get("currency_code")
    if recorded == row["currency_code"] or (recorded is None and row["status"] in HOLDS_FUNDS):
        findings.add(
            ProblemKind.CURRENCY,
            EscrowAccount,
            account,
            "currency_code",
            row["currency_code"],
            account["currency_code"],
        )


def _judge_account(row: Row, account: Row | None, replay: Replay, findings: Findings) -> None:
    """Compare owner and provider of the account with those that the trail's first entry recorded."""
    first = replay.first
    if account is None or first is None or first.payload.get("account") != account["id"]:
        return
    for name in ("user", "provider"):
        if name in first.account:
            expected = _repaired_since(account, name, first.at, first.account[name])
            if account[name] != expected:
                findings.add(ProblemKind.CONTRADICTION, EscrowAccount, account, name, expected, account[name])


def _repaired_since(account: Row, name: str, at: datetime | None, value: Any) -> Any:
    """Return what the last repair of this column wrote after this time, or ``value`` if there was none."""
    metadata = account["metadata"]
    repairs = metadata.get("repairs") if isinstance(metadata, dict) else None
    for repair in repairs if isinstance(repairs, list) else ():
        if isinstance(repair, dict) and isinstance(repair.get("to"), dict) and name in repair["to"]:
            repaired_at = recorded_time(repair.get("at"))
            if at is None or repaired_at is None or repaired_at >= at:
                value = repair["to"][name]
    return value


def _judge_disputes(row: Row, cases: list[Row], replay: Replay, findings: Findings) -> None:
    active = [case for case in cases if is_active(case)]
    is_known = row["status"] in _TRANSACTION_STATUSES
    has_unknown = any(case["status"] not in _DISPUTE_STATUSES for case in cases)
    if row["status"] == TransactionStatus.DISPUTED and not active and not has_unknown:
        if cases:
            latest = cases[-1]
            findings.add(
                ProblemKind.DISPUTE,
                DisputeCase,
                latest,
                "status",
                "its money released, refunded or back",
                latest["status"],
            )
        else:
            findings.add(ProblemKind.DISPUTE, EscrowTransaction, row, "status", "an active case", row["status"])
    elif row["status"] != TransactionStatus.DISPUTED and is_known:
        for case in active:
            findings.add(
                ProblemKind.DISPUTE,
                DisputeCase,
                case,
                "status",
                f"settled or closed, as its transaction is {row['status']}",
                case["status"],
            )
    for case in active[1:]:
        findings.add(
            ProblemKind.DISPUTE,
            DisputeCase,
            case,
            "status",
            f"settled or closed, as case {active[0]['id']} is active",
            case["status"],
        )
    if is_known:
        for case in cases:
            if case["status"] == DisputeStatus.SETTLED and row["status"] not in ("released", "refunded", "disputed"):
                findings.add(
                    ProblemKind.DISPUTE,
                    DisputeCase,
                    case,
                    "status",
                    f"another, as its transaction is {row['status']}",
                    case["status"],
                )
    if replay.is_complete and replay.disputes != len(cases):
        findings.add(
            ProblemKind.MISSING_ROWS if len(cases) < replay.disputes else ProblemKind.CONTRADICTION,
            EscrowTransaction,
            row,
            "audit_trail",
            f"{replay.disputes} dispute cases",
            f"{len(cases)}",
        )


@contextlib.contextmanager
def snapshot() -> Iterator[None]:
    """Make the reads in this block see one snapshot; inside a caller's transaction, what that shows."""
    database = current()
    if database.in_transaction():
        yield
        return
    level = "REPEATABLE READ" if servers.of(database).supports_for_update else "DEFERRED"
    with database.atomic(level):
        yield


def _by_id(rows: Iterable[Row]) -> dict[int, Row]:
    return {row["id"]: row for row in rows}


def _grouped(rows: Iterable[Row], name: str) -> dict[int, list[Row]]:
    groups = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["id"]):
        groups[row[name]].append(row)
    return groups
