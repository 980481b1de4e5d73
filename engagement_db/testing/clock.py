"""A clock for tests, which stops the library's time and advances it on request."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo

from engagement_db.orm import bound


class Clock:
    """The current time of the library, which is stopped."""

    def __init__(self, at: datetime) -> None:
        self.set(at)

    def set(self, at: datetime) -> None:
        """Make it ``at``, an aware time. Raises ValueError for a naive one."""
        if at.tzinfo is None:
            raise ValueError(f"{at} is a naive time; pass an aware one, as datetime.now(UTC) is.")
        self._now = at.astimezone(UTC)

    def advance(self, by: timedelta) -> datetime:
        """Move the clock on and return the new time."""
        self._now += by
        return self._now

    def now(self) -> datetime:
        """Return the time of the clock."""
        return self._now

    def read(self, zone: tzinfo) -> datetime:
        """Return the time in this zone, as ``datetime.now`` does."""
        return self._now.astimezone(zone)


@contextmanager
def stopped_clock(at: datetime | None = None) -> Iterator[Clock]:
    """Stop the library's clock in this block, in all threads, at the aware time ``at`` (default: now).

    Verbs, defaults of the models and ``engagement_db.now()`` read it. The default of a column that the server itself
    fills in, for a row of plain SQL, is still the server's time.
    """
    clock = Clock(datetime.now(UTC) if at is None else at)
    before = bound.read_clock
    bound.read_clock = clock.read
    try:
        yield clock
    finally:
        bound.read_clock = before
