"""A row of every model, with defaults for what a test does not care about.

They are made by the verbs, so that logs, audit trails and balances fit: ``find_problems()`` finds nothing. A parent
that is not given is made too. They need models that are bound to a database.
"""

import itertools
from datetime import datetime
from decimal import Decimal
from typing import Final

from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.comments import FeedComment
from engagement_db.feed.posts import FeedPost
from engagement_db.feed.reactions import FeedReaction
from engagement_db.feed.shares import FeedShare
from engagement_db.feed.words import ReactionType, Visibility
from engagement_db.orm.rows import stored_value
from engagement_db.platform import Gig, Project, User
from engagement_db.trust.accounts import EscrowAccount
from engagement_db.trust.disputes import DisputeCase
from engagement_db.trust.events import DisputeEvent
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.words import TransactionStatus

_numbers = itertools.count(1)

# The verbs that lead to a status.
_VERBS: Final = {
    TransactionStatus.INITIATED: (),
    TransactionStatus.CANCELLED: ("cancel",),
    TransactionStatus.FUNDED: ("fund",),
    TransactionStatus.IN_ESCROW: ("fund", "hold"),
    TransactionStatus.RELEASED: ("fund", "hold", "release"),
    TransactionStatus.REFUNDED: ("fund", "hold", "refund"),
    TransactionStatus.DISPUTED: ("fund", "hold"),
}


def make_user(first_name: str = "Ada", last_name: str = "Example", email: str | None = None) -> User:
    """Make a user, by default with an address of their own."""
    return User.create(
        first_name=first_name,
        last_name=last_name,
        email=f"user{next(_numbers)}@example.org" if email is None else email,
    )


def make_project(owner: User | int | None = None, title: str = "A project") -> Project:
    """Make a project, by default without an owner."""
    return Project.create(title=title, owner=owner)


def make_gig(title: str = "A gig") -> Gig:
    """Make a gig."""
    return Gig.create(title=title)


def make_post(
    user: User | int | None = None,
    content: str = "Hello",
    *,
    visibility: Visibility = Visibility.PUBLIC,
    metadata: object = None,
) -> FeedPost:
    """Publish a post."""
    author = make_user() if user is None else user
    return FeedPost.publish(author, content, visibility=visibility, metadata=metadata)


def make_reaction(
    post: FeedPost | int | None = None,
    user: User | int | None = None,
    reaction_type: ReactionType = ReactionType.LIKE,
) -> FeedReaction:
    """React to a post."""
    target, reader = make_post() if post is None else post, make_user() if user is None else user
    FeedReaction.react(target, reader, reaction_type)
    return FeedReaction.get(FeedReaction.post == target, FeedReaction.user == reader)


def make_comment(
    post: FeedPost | int | None = None,
    user: User | int | None = None,
    body: str = "Nice",
    *,
    parent: FeedComment | int | None = None,
) -> FeedComment:
    """Comment on a post, or with ``parent`` reply to a comment on it."""
    target, reader = make_post() if post is None else post, make_user() if user is None else user
    return FeedComment.reply(target, reader, body, parent=parent)


def make_share(
    post: FeedPost | int | None = None,
    user: User | int | None = None,
    channel: str = "email",
    message: str | None = None,
) -> FeedShare:
    """Share a post."""
    target, reader = make_post() if post is None else post, make_user() if user is None else user
    return FeedShare.share(target, reader, channel, message)


def make_log_entry(
    action: str = "noted", *, actor: User | int | None = None, post: FeedPost | int | None = None
) -> FeedActivityLog:
    """Add an entry to the activity log."""
    return FeedActivityLog.record(action, actor=actor, post=post)


def make_account(user: User | int | None = None, provider: str = "stripe", currency_code: str = "USD") -> EscrowAccount:
    """Open an escrow account."""
    return EscrowAccount.open(make_user() if user is None else user, provider, currency_code)


def make_transaction(
    account: EscrowAccount | int | None = None,
    *,
    status: TransactionStatus = TransactionStatus.INITIATED,
    amount: Decimal | int = 100,
    fee_amount: Decimal | int = 0,
    reference: str | None = None,
    initiated_by: User | int | None = None,
    counterparty: User | int | None = None,
    scheduled_release_at: datetime | None = None,
) -> EscrowTransaction:
    """Initiate an escrow transaction, by default one in an account of its own, and lead it to ``status``.

    The owner of the account initiates it, unless ``initiated_by`` is given. One that is disputed has an active case.
    """
    verbs = _VERBS[stored_value(EscrowTransaction.status, status)]
    home = make_account() if account is None else account
    if not isinstance(home, EscrowAccount):
        home = EscrowAccount.get_by_id(home)
    made = EscrowTransaction.initiate(
        home,
        reference=f"E-{next(_numbers)}" if reference is None else reference,
        amount=Decimal(amount),
        fee_amount=Decimal(fee_amount),
        initiated_by=home.user_id if initiated_by is None else initiated_by,
        counterparty=counterparty,
        scheduled_release_at=scheduled_release_at,
    )
    for verb in verbs:
        getattr(made, verb)()
    return make_case(made).escrow_transaction if status == TransactionStatus.DISPUTED else made


def make_case(
    transaction: EscrowTransaction | None = None,
    opened_by: User | int | None = None,
    *,
    reason_code: str = "late",
    summary: str = "Nothing arrived.",
) -> DisputeCase:
    """Dispute an escrow transaction, by default one that is held."""
    disputed = make_transaction(status=TransactionStatus.IN_ESCROW) if transaction is None else transaction
    opener = disputed.initiated_by_id if opened_by is None else opened_by
    return DisputeCase.open(disputed, opener, reason_code, summary)


def make_event(case: DisputeCase | None = None, notes: str = "A comment.") -> DisputeEvent:
    """Record a comment in a case."""
    return (make_case() if case is None else case).record(notes=notes)
