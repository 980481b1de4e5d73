"""All rows of the library checked: the books, the comments, and values in the form of another client."""

from typing import Any, Final

from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.comments import FeedComment
from engagement_db.feed.posts import FeedPost
from engagement_db.feed.problems import find_feed_problems
from engagement_db.feed.reactions import FeedReaction
from engagement_db.feed.shares import FeedShare
from engagement_db.orm.odd_values import find_odd_values
from engagement_db.orm.paging import validate_limit
from engagement_db.problems import PROBLEMS_LIMIT, Problem, ProblemCollector
from engagement_db.trust.accounts import EscrowAccount
from engagement_db.trust.books import find_book_problems
from engagement_db.trust.disputes import DisputeCase
from engagement_db.trust.events import DisputeEvent
from engagement_db.trust.transactions import EscrowTransaction

_FEED: Final = (FeedPost, FeedReaction, FeedComment, FeedShare, FeedActivityLog)
_TRUST: Final = (EscrowAccount, EscrowTransaction, DisputeCase, DisputeEvent)


def find_problems(limit: int = PROBLEMS_LIMIT) -> list[Problem]:
    """Check all rows of the library and return what is wrong: books first, then comments, then single values.

    An account's ``currentBalance`` is the sum of ``amount``, its ``pendingReleaseTotal`` the sum of ``netAmount``
    over its transactions in funded, in_escrow and disputed. Every transaction is compared with its audit trail,
    every dispute case with its events, and both with each other. Rows without their parent are reported, comments in
    cycles and under a comment of another post, and values that are no times, amounts or documents. A label that this
    version does not know is reported once, with the number of rows. At most ``limit`` problems of each kind, 1 to 1000.
    The feed is left out where its tables are missing.

    Changes and locks nothing, and may run while money moves. Reads every account and every row of the feed once,
    every comment three times and every transaction twice, in bounded memory. Parts of it are
    ``find_balance_problems``, the quick one, ``audit_trails``, the thorough one, which shows progress and can be
    resumed, and ``find_feed_problems``. The command ``engagement-db check --rows`` prints what it returns.
    """
    found = ProblemCollector(validate_limit(EscrowAccount._meta.table_name, limit, PROBLEMS_LIMIT))
    found.add(find_book_problems(found.limit))
    has_feed = FeedComment.table_exists()
    if has_feed:
        found.add(find_feed_problems(found.limit))
    # The audit has read those of the others.
    for model in (*(_FEED if has_feed else ()), EscrowAccount):
        found.add(find_odd_values(model, found.limit))
    return found.problems()


def find_all_odd_values(limit: int = PROBLEMS_LIMIT) -> list[Problem]:
    """Return the values that another client wrote in a form of its own, in every table of the library.

    At most ``limit`` problems of each kind. Reads every row once, in one query for each table.
    """
    found = ProblemCollector(limit)
    models: tuple[Any, ...] = (*_FEED, *_TRUST)
    for model in models:
        found.add(find_odd_values(model, limit))
    return found.problems()
