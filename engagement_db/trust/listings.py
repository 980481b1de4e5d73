"""Pages of accounts, transactions, cases and events with filters, each on an index.

Rows are in the order of their ids, newest first, which is the order of an index on the filtered column. A filter
without an index of its own is taken beside one that has an index, and refused alone: it would read the whole table. So
is a final status of transactions, because their number only grows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import peewee

from engagement_db.errors import Refused
from engagement_db.orm.cursors import decode_cursor
from engagement_db.orm.paging import Page, Row, instant_bound
from engagement_db.orm.rows import begins_with, id_of, required_text, stored_value
from engagement_db.platform import Gig, Project, User
from engagement_db.trust.accounts import EscrowAccount
from engagement_db.trust.disputes import DisputeCase
from engagement_db.trust.events import DisputeEvent
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.transitions import TERMINAL_TIMESTAMPS
from engagement_db.trust.words import (
    AccountStatus,
    DisputePriority,
    DisputeStage,
    DisputeStatus,
    TransactionStatus,
    TransactionType,
)

_PRIMARY_KEY: Final = "PRIMARY"


class Listing(Page[Row]):
    """A page in the order of ids, newest first. Otherwise like any ``Page``."""

    _order_by: Any

    def __init__(
        self,
        model: type[Row],
        query_name: str,
        index: str,
        limit: int,
        after: str | None = None,
        before: str | None = None,
    ) -> None:
        super().__init__(model, query_name, index, limit, after, before)
        fields: Any = model._meta.fields
        key = fields["id"]
        self._order_by = (key.asc(),) if self._backwards else (key.desc(),)
        cursor = before if self._backwards else after
        if cursor is not None:
            _, row_id = decode_cursor(fields["created_at"], query_name, cursor)
            self._where = key > row_id if self._backwards else key < row_id

    def _sorted_by_expression(self) -> Self:
        """Return the page in the same order, which no index has, so that what is found is sorted."""
        page: Self = self.clone()
        key = self.model._meta.fields["id"] + 0
        page._order_by = (key.asc(),) if self._backwards else (key.desc(),)
        return page


@dataclass(frozen=True)
class _Filter:
    """A condition that was asked for by ``name``, and the index that serves it alone, or None."""

    name: str
    condition: Any
    index: str | None = None


def list_accounts(
    *,
    user: User | int | None = None,
    provider: str | None = None,
    status: AccountStatus | None = None,
    currency_code: str | None = None,
    limit: int = 50,
    after: str | None = None,
    before: str | None = None,
) -> Listing[EscrowAccount]:
    """Return a page of accounts, newest first, that match every given filter.

    Uses escrow_accounts_user_id_provider_currency_code for ``user``, else escrow_accounts_provider or
    escrow_accounts_status, without a filter the primary key. ``currency_code`` alone has no index. ``limit`` is 1 to
    200; ``after`` and ``before`` are cursors of such a page.

    Raises Refused for filters without an index, and RefusedValue for a value that does not fit.
    """
    account = EscrowAccount
    filters = [
        _reference(account.user, "user", user, "escrow_accounts_user_id_provider_currency_code"),
        _equal(account.provider, "provider", provider, "escrow_accounts_provider"),
        _equal(account.status, "status", status, "escrow_accounts_status"),
        _equal(account.currency_code, "currency_code", currency_code),
    ]
    return _listing(account, "accounts", filters, ("user", "provider", "status"), limit, after, before)


def list_transactions(
    *,
    account: EscrowAccount | int | None = None,
    owner: User | int | None = None,
    initiated_by: User | int | None = None,
    counterparty: User | int | None = None,
    project: Project | int | None = None,
    gig: Gig | int | None = None,
    status: TransactionStatus | None = None,
    type: TransactionType | None = None,
    provider: str | None = None,
    created_from: datetime | None = None,
    created_before: datetime | None = None,
    limit: int = 50,
    after: str | None = None,
    before: str | None = None,
) -> Listing[EscrowTransaction]:
    """Return a page of transactions, newest first, that match every given filter.

    ``owner`` is the user whose account holds the money. ``created_from`` and ``created_before`` are aware times, the
    second one excluded. Uses, for the first filter given of these, escrow_transactions_account_id (``account`` and
    ``owner``, with escrow_accounts_user_id_provider_currency_code), escrow_transactions_project_id,
    escrow_transactions_gig_id, escrow_transactions_initiated_by_id, escrow_transactions_counterparty_id or
    escrow_transactions_status_scheduled_release_at, without a filter the primary key. ``type``, ``provider``, times
    and the statuses released, refunded and cancelled alone have no index. ``limit`` is 1 to 200; ``after`` and
    ``before`` are cursors of such a page.

    Raises Refused for filters without an index, and RefusedValue for a value that does not fit.
    """
    row = EscrowTransaction
    is_final = status in TERMINAL_TIMESTAMPS
    filters = [
        _reference(row.account, "account", account, "escrow_transactions_account_id"),
        _owned(owner),
        _reference(row.project, "project", project, "escrow_transactions_project_id"),
        _reference(row.gig, "gig", gig, "escrow_transactions_gig_id"),
        _reference(row.initiated_by, "initiated_by", initiated_by, "escrow_transactions_initiated_by_id"),
        _reference(row.counterparty, "counterparty", counterparty, "escrow_transactions_counterparty_id"),
        _equal(row.status, "status", status, None if is_final else "escrow_transactions_status_scheduled_release_at"),
        _equal(row.type, "type", type),
        _of_provider(provider),
        _since(row.created_at, "created_from", created_from),
        _until(row.created_at, "created_before", created_before),
    ]
    indexed = ("account", "owner", "project", "gig", "initiated_by", "counterparty", "status")
    return _listing(row, "transactions", filters, indexed, limit, after, before)


def list_cases(
    *,
    escrow_transaction: EscrowTransaction | int | None = None,
    party: User | int | None = None,
    assigned_to: User | int | None = None,
    status: DisputeStatus | None = None,
    stage: DisputeStage | None = None,
    priority: DisputePriority | None = None,
    reason_code: str | None = None,
    reference_prefix: str | None = None,
    text: str | None = None,
    limit: int = 50,
    after: str | None = None,
    before: str | None = None,
) -> Listing[DisputeCase]:
    """Return a page of cases, active, settled and closed ones, newest first, that match every given filter.

    ``party`` is a user who opened the case, or is the initiator, the counterparty or the owner of the account of its
    transaction: each page finds and sorts all of the user's cases. ``reference_prefix`` is how the transaction's
    reference begins, ``text`` a part of the summary. Uses, for the first filter given of these,
    dispute_cases_escrow_transaction_id, the indexes of a party (dispute_cases_opened_by_id,
    escrow_transactions_initiated_by_id, escrow_transactions_counterparty_id and escrow_transactions_account_id),
    dispute_cases_assigned_to_id, dispute_cases_status, dispute_cases_stage or dispute_cases_priority, without a filter
    the primary key. ``reference_prefix`` alone uses
    escrow_transactions_reference and dispute_cases_escrow_transaction_id, and sorts what it finds; on PostgreSQL that
    index serves a prefix only where the database has the collation C, and all references are read otherwise.
    ``reason_code`` and ``text`` alone have no index. ``limit`` is 1 to 200; ``after`` and ``before`` are cursors of
    such a page.

    Raises Refused for filters without an index, and RefusedValue for a value that does not fit.
    """
    case = DisputeCase
    filters = [
        _reference(
            case.escrow_transaction, "escrow_transaction", escrow_transaction, "dispute_cases_escrow_transaction_id"
        ),
        _Filter("party", None, "dispute_cases_opened_by_id") if party is not None else None,
        _reference(case.assigned_to, "assigned_to", assigned_to, "dispute_cases_assigned_to_id"),
        _equal(case.status, "status", status, "dispute_cases_status"),
        _equal(case.stage, "stage", stage, "dispute_cases_stage"),
        _equal(case.priority, "priority", priority, "dispute_cases_priority"),
        _equal(case.reason_code, "reason_code", reason_code),
        _containing(case.summary, "text", text),
    ]
    if reference_prefix is not None:
        filters.append(_of_references(reference_prefix, is_alone=not any(item and item.index for item in filters)))
    indexed = ("escrow_transaction", "party", "assigned_to", "status", "stage", "priority", "reference_prefix")
    page: Any = _listing(case, "cases", filters, indexed, limit, after, before)
    if party is not None:
        parties = _cases_of(id_of(case.opened_by, party)).alias("parties")
        # In the order of an expression: for that of ids PostgreSQL would read all cases newer than the party's.
        page = page.join(parties, on=(parties.c.id == case.id))._sorted_by_expression()
    cases: Listing[DisputeCase] = page
    return cases


def case_timeline(
    case: DisputeCase | int, *, limit: int = 50, after: str | None = None, before: str | None = None
) -> Listing[DisputeEvent]:
    """Return a page of everything that happened in a case (a row or an id), newest first.

    ``limit`` is 1 to 200; ``after`` and ``before`` are cursors of such a page. Uses
    dispute_events_dispute_case_id_event_at.
    """
    event = DisputeEvent
    filters = [_reference(event.dispute_case, "case", case, "dispute_events_dispute_case_id_event_at")]
    return _listing(event, "case_timeline", filters, ("case",), limit, after, before)


def _listing(
    model: type[Row],
    query_name: str,
    filters: Iterable[_Filter | None],
    indexed: tuple[str, ...],
    limit: int,
    after: str | None,
    before: str | None,
) -> Listing[Row]:
    given = [item for item in filters if item is not None]
    index = next((item.index for item in given if item.index), None)
    if given and index is None:
        raise Refused(
            f"no index of {model._meta.table_name} serves {' and '.join(item.name for item in given)} alone; "
            f"add a filter that has one: {', '.join(indexed)}. Nothing was read.",
            table=model._meta.table_name,
            allowed=indexed,
        )
    page: Any = Listing(model, query_name, index or _PRIMARY_KEY, limit, after, before)
    conditions = [item.condition for item in given if item.condition is not None]
    narrowed: Listing[Row] = page.where(*conditions) if conditions else page
    return narrowed


def _equal(field: Any, name: str, value: object, index: str | None = None) -> _Filter | None:
    return None if value is None else _Filter(name, field == stored_value(field, value), index)


def _reference(field: Any, name: str, row: object, index: str | None = None) -> _Filter | None:
    return None if row is None else _Filter(name, field == id_of(field, row), index)


def _owned(owner: User | int | None) -> _Filter | None:
    if owner is None:
        return None
    condition = EscrowTransaction.account.in_(_accounts_of(id_of(EscrowAccount.user, owner)))
    return _Filter("owner", condition, "escrow_transactions_account_id")


def _of_provider(provider: str | None) -> _Filter | None:
    if provider is None:
        return None
    accounts = EscrowAccount.alias("provided")
    found = accounts.select(accounts.id).where(
        accounts.id == EscrowTransaction.account, accounts.provider == required_text(EscrowAccount.provider, provider)
    )
    return _Filter("provider", peewee.fn.EXISTS(found))


def _of_references(prefix: str, *, is_alone: bool) -> _Filter:
    """Return the filter by the beginning of the reference; alone it begins with the index of references."""
    row = EscrowTransaction
    found = row.select(row.id).where(begins_with(row.reference, required_text(row.reference, prefix)))
    if is_alone:
        index = "dispute_cases_escrow_transaction_id"
        return _Filter("reference_prefix", DisputeCase.escrow_transaction.in_(found), index)
    of_case = found.where(row.id == DisputeCase.escrow_transaction)
    return _Filter("reference_prefix", peewee.fn.EXISTS(of_case))


def _containing(field: Any, name: str, text: str | None) -> _Filter | None:
    return None if text is None else _Filter(name, field.contains(required_text(field, text)))


def _since(field: Any, name: str, time: datetime | None) -> _Filter | None:
    return None if time is None else _Filter(name, field >= instant_bound(field, stored_value(field, time)))


def _until(field: Any, name: str, time: datetime | None) -> _Filter | None:
    return None if time is None else _Filter(name, field < instant_bound(field, stored_value(field, time)))


def _accounts_of(user_id: int) -> Any:
    accounts = EscrowAccount.alias("owned")
    return accounts.select(accounts.id).where(accounts.user == user_id)


def _cases_of(user_id: int) -> Any:
    """Return a query of the ids of a user's cases: a UNION, since no index serves an OR over two tables."""
    case, row = DisputeCase.alias("party_case"), EscrowTransaction.alias("party_transaction")
    joined = case.select(case.id).join(row, on=(row.id == case.escrow_transaction))
    return (
        case.select(case.id).where(case.opened_by == user_id)
        | joined.where(row.initiated_by == user_id)
        | joined.where(row.counterparty == user_id)
        | joined.where(row.account.in_(_accounts_of(user_id)))
    )
