"""For the tests of services: a scratch database, rows of every model, and a clock.

With pytest, the fixtures of ``engagement_db.pytest_plugin`` come with the package. Not for production.
"""

from engagement_db.testing.clock import Clock, stopped_clock
from engagement_db.testing.database import rolled_back, scratch_database
from engagement_db.testing.rows import (
    make_account,
    make_case,
    make_comment,
    make_event,
    make_gig,
    make_log_entry,
    make_post,
    make_project,
    make_reaction,
    make_share,
    make_transaction,
    make_user,
)

__all__ = [
    "Clock",
    "make_account",
    "make_case",
    "make_comment",
    "make_event",
    "make_gig",
    "make_log_entry",
    "make_post",
    "make_project",
    "make_reaction",
    "make_share",
    "make_transaction",
    "make_user",
    "rolled_back",
    "scratch_database",
    "stopped_clock",
]
