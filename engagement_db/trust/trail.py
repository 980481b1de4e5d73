"""The audit trail of an escrow transaction: a list of entries, oldest first, that is never shortened.

An entry has the names that Node writes and reads (``action``, ``actorId``, ``at``, ``notes``, ``metadata``), and
beside them ``from``, ``to``, ``amount``, ``fee``, ``net`` and ``currency``. The first one has ``payload``, ``account``
and ``previous`` too. Entries that Node wrote have only the first five.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from engagement_db.trust.money import to_json
from engagement_db.trust.transitions import TRANSITIONS
from engagement_db.trust.words import TransactionStatus

if TYPE_CHECKING:
    from engagement_db.trust.accounts import EscrowAccount
    from engagement_db.trust.transactions import EscrowTransaction


def entries_of(row: "EscrowTransaction") -> list[Any]:
    """Return the entries of a transaction's audit trail; a document that is not a list counts as one entry."""
    # Not as an attribute, for which the document is written out so that a change inside it is noticed.
    trail = row.__data__.get("audit_trail")
    if not trail:
        return []
    return trail if isinstance(trail, list) else [trail]


def new_entry(
    row: "EscrowTransaction",
    action: str,
    changes: Mapping[str, Any],
    at: datetime,
    actor_id: int | None,
    notes: str | None = None,
    metadata: object = None,
) -> dict[str, Any]:
    """Return the entry for one action, which makes these changes to the row."""
    after = {**row.__data__, **changes}
    return {
        "action": action,
        "actorId": actor_id,
        "at": at.isoformat(),
        "notes": notes,
        "metadata": metadata,
        "from": row.status,
        "to": after["status"],
        "amount": to_json(after["amount"]),
        "fee": to_json(after["fee_amount"]),
        "net": to_json(after["net_amount"]),
        "currency": after["currency_code"],
    }


def initiation(
    entry: Mapping[str, Any], payload: Mapping[str, Any], account: "EscrowAccount", previous: int | None
) -> dict[str, Any]:
    """Return the first entry of a trail, which also records what other rows hold at that time.

    That is the owner and the provider of the account, and the id of the transaction initiated before this one.
    """
    return {
        **entry,
        "from": None,
        "payload": payload,
        "account": {"user": account.user_id, "provider": account.provider},
        "previous": previous,
    }


def status_before_dispute(row: "EscrowTransaction") -> TransactionStatus:
    """Return the status to which a withdrawn dispute leads back: that of the last entry which has one.

    Entries of Node have none. Node's transactions enter escrow in one step, so without a status it was in escrow.
    """
    for entry in reversed(entries_of(row)):
        if isinstance(entry, dict) and entry.get("to"):
            status = entry.get("from") if entry["to"] == TransactionStatus.DISPUTED else entry["to"]
            if status in TRANSITIONS["dispute"].sources:
                return TransactionStatus(status)
            break
    return TransactionStatus.IN_ESCROW
