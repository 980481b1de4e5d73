"""One legal transition of a locked transaction: its status, the account's balance and the audit entry together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from engagement_db.errors import Contention, InvalidTransition, Refused
from engagement_db.orm.bound import now
from engagement_db.orm.fields import TEXT_LIMIT_BYTES, exact, reject
from engagement_db.orm.models import BaseModel, assign, update_of
from engagement_db.orm.rows import error_data
from engagement_db.orm.statements import Parameter, Statement
from engagement_db.orm.transactions import locked
from engagement_db.platform import Actor
from engagement_db.trust.accounts import EscrowAccount
from engagement_db.trust.announcements import Move, announce
from engagement_db.trust.money import EXACT
from engagement_db.trust.trail import entries_of, new_entry, status_before_dispute
from engagement_db.trust.transitions import ACTIVE_DISPUTE, HOLDS_FUNDS, TERMINAL_TIMESTAMPS, TRANSITIONS
from engagement_db.trust.words import AccountStatus, TransactionStatus

if TYPE_CHECKING:
    from engagement_db.trust.transactions import EscrowTransaction


@dataclass(frozen=True)
class TransactionChange:
    """What a verb did to a transaction; ``changed`` is False if the transaction had that status already.

    ``transaction`` is as it is now stored. So is ``transaction.account``, without another query, where money moved.
    """

    transaction: "EscrowTransaction"
    changed: bool
    before: TransactionStatus
    after: TransactionStatus


def active_case(transaction: "EscrowTransaction") -> Any:
    """Return a transaction's active dispute case, locked, or None.

    Uses dispute_cases_escrow_transaction_id.
    """
    found = _active_case_of(type(transaction).dispute_cases.rel_model).first(id=transaction.id)
    return found[0] if found else None


@cache
def _active_case_of(cases: Any) -> Statement:
    # The class of the cases is a parameter, because its module imports this one.
    return Statement(
        lambda: locked(
            cases.select()
            .where(cases.escrow_transaction == Parameter("id"), cases.status.in_(ACTIVE_DISPUTE))
            .order_by(cases.id)
            .limit(1)
        ),
        cases,
    )


def refuse_while_disputed(transaction: "EscrowTransaction", verb: str) -> None:
    """Raise InvalidTransition if the transaction has an active dispute case, which decides."""
    case = active_case(transaction)
    if case is not None:
        raise InvalidTransition(
            f"escrow {transaction.reference!r} is disputed in case {case.id}; {verb} is up to that case. "
            f"Resolve or withdraw the case instead.",
            **error_data(transaction, allowed=TRANSITIONS[verb].sources),
        )


def require_unsettled(row: "EscrowTransaction") -> None:
    """Raise Refused if the transaction was ever released, refunded or cancelled, whatever its status says now."""
    for status, name in TERMINAL_TIMESTAMPS.items():
        settled_at = getattr(row, name)
        if row.status == status or settled_at is not None:
            raise Refused(
                f"escrow {row.reference!r} was already {status} (status {row.status}, {name} {settled_at}); its money "
                f"is never settled twice. Nothing was changed. find_problems() reports where the rows disagree.",
                **error_data(row),
            )


def apply_transition(
    row: "EscrowTransaction", verb: str, actor: Actor, notes: str | None = None, metadata: object = None
) -> TransactionChange:
    """Apply a transition to a transaction that ``lock_transaction`` returned, and to its account if money moves.

    Runs in the caller's transaction of the database. Raises what ``EscrowTransaction.fund`` does.
    """
    before, transition = row.status, TRANSITIONS[verb]
    if before == transition.target:
        return TransactionChange(row, False, before, before)
    if before not in transition.sources:
        raise InvalidTransition(_advice(row, verb), **error_data(row, allowed=transition.sources))
    require_unsettled(row)
    _require_amounts(row, "amount", "fee_amount", "net_amount")
    after = transition.target or status_before_dispute(row)
    at = now()
    direction = (after in HOLDS_FUNDS) - (before in HOLDS_FUNDS)
    if direction > 0:
        row.account.require_funding(row.currency_code)
    changes: dict[str, Any] = {"status": after}
    if after in TERMINAL_TIMESTAMPS:
        changes[TERMINAL_TIMESTAMPS[after]] = at
    actor_id = actor.required_id()
    if direction:
        _post(row, direction, at)
    store_with_entry(row, verb, changes, at, actor_id, notes, metadata)
    amounts = (row.amount, row.net_amount, row.currency_code)
    announce(row, Move(row.id, row.reference, row.account_id, verb, before, after, *amounts, actor_id, at))
    return TransactionChange(row, True, before, after)


def store_with_entry(
    row: "EscrowTransaction",
    action: str,
    changes: Mapping[str, Any],
    at: datetime,
    actor_id: int | None,
    notes: str | None,
    metadata: object,
) -> None:
    """Write these changes to a locked transaction, with an entry in its audit trail."""
    if notes is not None and (not isinstance(notes, str) or len(notes.encode(errors="replace")) > TEXT_LIMIT_BYTES):
        reject(type(row).audit_trail, f"notes have to be text of at most {TEXT_LIMIT_BYTES:,} bytes")
    entry = new_entry(row, action, changes, at, actor_id, notes, metadata)
    changes = {**changes, "audit_trail": [*entries_of(row), entry], "updated_at": at}
    before = row.status
    if update_of(type(row), tuple(changes), guard="status").count(id=row.id, before=before, **changes) != 1:
        raise Contention(
            f"escrow {row.reference!r} changed from {before} while locked. Nothing was changed; try again.",
            **error_data(row),
        )
    assign(row, changes)


def _post(row: "EscrowTransaction", direction: int, at: datetime) -> None:
    """Add the transaction's amounts to its account's balances, or with direction -1 subtract them."""
    account = row.account
    _require_amounts(account, "current_balance", "pending_release_total")
    balance = EXACT.fma(row.amount, direction, account.current_balance)
    pending = EXACT.fma(row.net_amount, direction, account.pending_release_total)
    if balance < 0 or pending < 0:
        raise Refused(
            f"escrow account {account.id} holds {account.current_balance} {account.currency_code}, "
            f"of which {account.pending_release_total} are pending; escrow {row.reference!r} takes out more. "
            f"Nothing was changed. The books do not balance: call find_problems().",
            **error_data(account),
        )
    activates = direction > 0 and account.status == AccountStatus.PENDING
    changes = {
        "status": AccountStatus.ACTIVE if activates else account.status,
        "current_balance": exact(EscrowAccount.current_balance, balance),
        "pending_release_total": exact(EscrowAccount.pending_release_total, pending),
        "updated_at": at,
    }
    update_of(EscrowAccount, tuple(changes)).execute(id=account.id, **changes)
    assign(account, changes)


def _require_amounts(row: BaseModel, *names: str) -> None:
    for name in names:
        value = row.__data__[name]
        if not isinstance(value, Decimal):
            raise Refused(
                f"{row._meta.table_name} {row.__data__['id']} cannot move money: its {name} is {value}, not an "
                f"amount. Nothing was changed. Find out who wrote it, then correct it with engagement_db.repair.",
                **error_data(row),
            )


def _advice(row: "EscrowTransaction", verb: str) -> str:
    starts = " or ".join(TRANSITIONS[verb].sources)
    ways = [name for name, transition in TRANSITIONS.items() if row.status in transition.sources]
    advice = f"From there it can: {', '.join(ways)}." if ways else "It is settled: initiate a new one instead."
    return f"escrow {row.reference!r} is {row.status}; {verb} starts from {starts}. {advice}"
