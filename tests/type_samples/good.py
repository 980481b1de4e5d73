"""A service as checkers should see it: nothing here is an error, and every value has its type."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, assert_type

import engagement_db as edb

user = edb.User.create(first_name="Ada", last_name="Byron", email="ada@example.org")
assert_type(user, edb.User)
assert_type(user.id, int)

post = edb.FeedPost.create(user=user, content="Shipped!", visibility=edb.Visibility.PUBLIC)
assert_type(post, edb.FeedPost)
assert_type(post.content, str)
assert_type(post.visibility, edb.Visibility)
assert_type(post.created_at, datetime)
assert_type(post.user, edb.User)
assert_type(post.user_id, int)
assert_type(post.metadata, Any)
post.content = "Edited"
post.user = 7
post.user = user
edb.FeedPost(user=7, content="x", metadata={"a": 1})

comment = edb.FeedComment(post=post, user=user.id, body="Nice")
assert_type(comment.parent, edb.FeedComment | None)
assert_type(comment.parent_id, int | None)
assert_type(comment.deleted_at, datetime | None)

payment = edb.EscrowTransaction.get_by_id(1)
transactions = edb.EscrowTransaction.select().where(edb.EscrowTransaction.amount > 5)
for transaction in transactions.order_by(-edb.EscrowTransaction.created_at).limit(3):
    assert_type(transaction, edb.EscrowTransaction)
    assert_type(transaction.amount, Decimal)
    assert_type(transaction.status, edb.TransactionStatus)
    assert_type(transaction.scheduled_release_at, datetime | None)
    assert_type(transaction.counterparty, edb.User | None)
    assert_type(transaction.account.currency_code, str)
    transaction.fund(by=user)
    transaction.release()

first = transactions.first()
assert_type(first, edb.EscrowTransaction | None)
for reaction in post.reactions:
    assert_type(reaction.reaction_type, edb.ReactionType)
for case in payment.dispute_cases:
    case.withdraw()
for account in user.escrow_accounts.where(edb.EscrowAccount.provider == "stripe"):
    assert_type(account.current_balance, Decimal)

try:
    edb.FeedPost.get_by_id(7)
except edb.NotFound as error:
    assert_type(error.id, int | None)
    assert_type(error.code, str)

edb.EscrowAccount(user=user, provider="stripe", current_balance=Decimal(1), last_reconciled_at=datetime.now(UTC))

for due in edb.release_queue().where(edb.EscrowTransaction.amount > 5):
    assert_type(due, edb.EscrowTransaction)
for urgent in edb.DisputeCase.queue():
    assert_type(urgent, edb.DisputeCase)
for listed in edb.list_transactions(owner=user, status=edb.TransactionStatus.FUNDED):
    assert_type(listed, edb.EscrowTransaction)
for entry in edb.FeedActivityLog.history(post):
    assert_type(entry, edb.FeedActivityLog)
newest = edb.FeedPost.timeline(viewer=user.id).limit(3)
assert_type(newest, edb.TimelinePage)
assert_type(newest.first(), edb.FeedPost | None)
assert_type(newest.next_cursor, str | None)
for listed_post in newest:
    assert_type(listed_post, edb.FeedPost)
found, is_new = edb.User.get_or_create(first_name="Ada", last_name="", email="", defaults={"id": 7})
assert_type(found, edb.User)
assert_type(is_new, bool)
assert_type(edb.FeedPost.get(edb.FeedPost.user == user), edb.FeedPost)
for filtered in edb.FeedPost.filter(user=user):
    assert_type(filtered, edb.FeedPost)
payment.fund(by=7, metadata={"ticket": 7})
edb.connect("sqlite:///:memory:", timeout=5)

# Queries in other shapes, of the models and of pages alike.
for row in edb.EscrowTransaction.select().where(edb.EscrowTransaction.amount > 5).dicts():
    assert_type(row, dict[str, Any])
for reference, amount in edb.EscrowTransaction.select(
    edb.EscrowTransaction.reference, edb.EscrowTransaction.amount
).tuples():
    print(reference, amount)
for listed_row in edb.list_transactions(owner=user).dicts():
    assert_type(listed_row, dict[str, Any])
assert_type(list(newest.tuples()), list[tuple[Any, ...]])
assert_type(transactions.dicts().first(), dict[str, Any] | None)
assert_type(transactions.dicts().where(edb.EscrowTransaction.amount > 5).get(), dict[str, Any])
assert_type(transactions[0], edb.EscrowTransaction)
assert_type(transactions[:3], list[edb.EscrowTransaction])
assert_type(newest[0], edb.FeedPost)
for read in transactions.iterator():
    assert_type(read, edb.EscrowTransaction)
assert_type(transactions.prefetch(edb.DisputeCase.select()), list[edb.EscrowTransaction])
joined = edb.EscrowTransaction.select(edb.EscrowTransaction, edb.EscrowAccount).join(edb.EscrowAccount)
for with_account in joined.order_by(edb.EscrowAccount.id):
    assert_type(with_account.account.provider, str)
edb.FeedPost.delete().where(edb.FeedPost.user == user).execute()
