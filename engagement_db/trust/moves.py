"""One legal transition of a locked transaction: its status, the account's balance and the audit entry together."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from engagement_db.errors import Contention, InvalidTransition, Refused
from engagement_db.orm.bound import now
from engagement_db.orm.models import assign, store, verb_update
from engagement_db.orm.transactions import locked
from engagement_db.platform import resolve_actor_id
from engagement_db.trust.money import EXACT
from engagement_db.trust.transitions import ACTIVE_DISPUTE, HOLDS_FUNDS, TERMINAL_TIMESTAMPS, TRANSITIONS
from engagement_db.trust.words import TransactionStatus

if TYPE_CHECKING:
    from engagement_db.trust.transactions import EscrowTransaction


@dataclass(frozen=True)
class TransactionChange:
    """What a verb did to a transaction; ``changed`` is False where it was done before.

    ``transaction`` is as it stands now, ``transaction.account`` too, both without another query.
    """

    transaction: "EscrowTransaction"
    changed: bool
    before: TransactionStatus
    after: TransactionStatus


def active_case(transaction: "EscrowTransaction") -> Any:
    """Return a transaction's active dispute case, locked, or None.

    Walks dispute_cases_escrow_transaction_id.
    """
    cases = transaction.dispute_cases
    return locked(cases.where(cases.model.status.in_(ACTIVE_DISPUTE)).order_by(cases.model.id)).first()


def refuse_while_disputed(transaction: "EscrowTransaction", verb: str) -> None:
    """Raise InvalidTransition if an active dispute case decides over the transaction."""
    case = active_case(transaction)
    if case is not None:
        raise InvalidTransition(
            f"escrow {transaction.reference!r} is disputed in case {case.id}; {verb} is up to that case. "
            f"Resolve or withdraw the case instead."
        )


def move(row: "EscrowTransaction", verb: str, by: Any) -> TransactionChange:
    """Make a legal move of a transaction that ``locked_transaction`` returned; row and account follow.

    To be called in a transaction of the database. Raises what ``EscrowTransaction.fund`` does.
    """
    account, before, rule = row.account, row.status, TRANSITIONS[verb]
    if before == rule.target:
        return TransactionChange(row, False, before, before)
    if before not in rule.sources:
        raise InvalidTransition(_advice(row, verb))
    after = rule.target or _status_before_dispute(row)
    at = now()
    came = (after in HOLDS_FUNDS) - (before in HOLDS_FUNDS)
    if came > 0:
        account.require_funding(row.currency_code)
    changes: dict[str, Any] = {
        "status": after,
        "audit_trail": [*trail_of(row), audit_entry(row, verb, before, after, at, resolve_actor_id(by))],
        "updated_at": at,
    }
    if after in TERMINAL_TIMESTAMPS:
        changes[TERMINAL_TIMESTAMPS[after]] = at
    if came:
        _post(row, came, at)
    transactions = type(row)
    guarded = verb_update(transactions, changes).where(transactions.id == row.id, transactions.status == before)
    if guarded.execute() != 1:
        raise Contention(
            f"escrow {row.reference!r} is no longer {before}: it was changed in spite of the lock. "
            f"Nothing was changed; try again."
        )
    assign(row, changes)
    return TransactionChange(row, True, before, after)


def _post(row: "EscrowTransaction", came: int, at: datetime) -> None:
    account = row.account
    balance = EXACT.fma(row.amount, came, account.current_balance)
    pending = EXACT.fma(row.net_amount, came, account.pending_release_total)
    if balance < 0 or pending < 0:
        raise Refused(
            f"escrow account {account.id} holds {account.current_balance} {account.currency_code}, "
            f"of which {account.pending_release_total} are pending; escrow {row.reference!r} takes out more. "
            f"The books do not add up: look at find_problems()."
        )
    changes = {"current_balance": balance, "pending_release_total": pending, "updated_at": at}
    store(account, changes)


def _advice(row: "EscrowTransaction", verb: str) -> str:
    starts = " or ".join(TRANSITIONS[verb].sources)
    ways = [name for name, rule in TRANSITIONS.items() if row.status in rule.sources]
    advice = f"From there it can: {', '.join(ways)}." if ways else "It is settled: initiate a new one instead."
    return f"escrow {row.reference!r} is {row.status}; {verb} starts from {starts}. {advice}"


def _status_before_dispute(row: "EscrowTransaction") -> TransactionStatus:
    for entry in reversed(trail_of(row)):
        if isinstance(entry, dict) and entry.get("to") == TransactionStatus.DISPUTED:
            status = entry.get("from")
            if status in TRANSITIONS["dispute"].sources:
                return TransactionStatus(status)
    raise Refused(
        f"the audit trail of escrow {row.reference!r} does not say where it was before the dispute; "
        f"release or refund it instead."
    )


def trail_of(row: "EscrowTransaction") -> list[Any]:
    trail = row.audit_trail
    if not trail:
        return []
    return trail if isinstance(trail, list) else [trail]


def audit_entry(
    row: "EscrowTransaction",
    verb: str,
    before: TransactionStatus | None,
    after: TransactionStatus,
    at: datetime,
    by: int | None,
) -> dict[str, Any]:
    return {
        "at": at.isoformat(),
        "by": by,
        "move": verb,
        "from": before,
        "to": after,
        "amount": str(row.amount),
        "fee": str(row.fee_amount),
        "net": str(row.net_amount),
        "currency": row.currency_code,
    }
