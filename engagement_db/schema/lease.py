"""The migration lease: one deployer at a time where the lock of a session is not enough.

The nodes of a Galera cluster do not see each other's locks, and a pooler lends one session to several clients. The
lease is a row in a table. A deployer takes it by writing its own token there, renews it while it works, and clears it
at the end; otherwise the lease expires by the server's clock. The holder also renews it before each change of the
schema, and in the transaction that writes the history, so that a deployer whose lease was taken over changes nothing
more.

A killed holder is replaced when its lease has expired. A statement of its own that still runs then does no harm: Galera
executes it in the order of the whole cluster, before the next claim; PostgreSQL has locked its table, and an index that
is being built is waited for.
"""

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.errors import MigrationBusy
from engagement_db.servers.catalog import LEASE

TABLE: Final = LEASE
LEASE_SECONDS: Final = 30.0
_RENEWALS: Final = 4
_lease: Any = peewee.Table(TABLE, ("id", "token", "holder", "expires"))
_ID: Final = 1


class Lease:
    """The lease of one deployer, which expires ``seconds`` after it was last renewed."""

    def __init__(self, database: peewee.Database, seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._seconds = seconds
        self._token = secrets.token_hex(16)
        self._now = peewee.SQL(servers.of(database).clock_sql)

    @contextlib.contextmanager
    def hold(self, timeout_seconds: float) -> Iterator["Lease"]:
        """Hold the lease in the block. Raises MigrationBusy, naming the holder, if it was not free in time."""
        self._create()
        servers.wait_for_migration_lock(self._take, self._holder, timeout_seconds)
        done = threading.Event()
        renewer = threading.Thread(target=self._renew_until, args=(done,), daemon=True)
        renewer.start()
        held: Any = self._database
        held._engagement_db_lease = self
        try:
            yield self
        finally:
            del held._engagement_db_lease
            done.set()
            renewer.join()
            with contextlib.suppress(peewee.PeeweeException):
                self._change({_lease.token: "", _lease.expires: 0}, _lease.token == self._token)

    def require_held(self) -> None:
        """Renew it, in the transaction of the caller if there is one. Raises MigrationBusy if it was taken over."""
        if not self._renew():
            raise MigrationBusy(
                "the migration lease of this process expired before it was renewed, and another process took it over "
                f"({self._holder()}). The changes made so far are kept; run the same command again to resume."
            )

    def _create(self) -> None:
        if not servers.read(self._database).has_table(TABLE):
            # Another deployer may be first.
            with contextlib.suppress(peewee.DatabaseError):
                self._database.execute_sql(
                    f"CREATE TABLE IF NOT EXISTS {TABLE} (id INTEGER NOT NULL PRIMARY KEY, token VARCHAR(40) NOT NULL, "
                    "holder VARCHAR(255) NOT NULL, expires DOUBLE PRECISION NOT NULL)"
                )
        with contextlib.suppress(peewee.IntegrityError):
            if not _lease.select(_lease.id).bind(self._database).exists():
                _lease.insert(id=_ID, token="", holder="", expires=0).execute(self._database)

    def _take(self) -> bool:
        values = {_lease.token: self._token, _lease.holder: _me(), _lease.expires: self._now + self._seconds}
        try:
            return self._change(values, (_lease.token == "") | (_lease.expires < self._now))
        except peewee.DatabaseError as error:
            if servers.of(self._database).lost_race(error):
                return False
            raise

    def _renew(self) -> bool:
        return self._change({_lease.expires: self._now + self._seconds}, _lease.token == self._token)

    def _change(self, values: dict[Any, Any], condition: Any) -> bool:
        changed: int = _lease.update(values).where(_lease.id == _ID, condition).execute(self._database)
        return changed == 1

    def _renew_until(self, done: threading.Event) -> None:
        while not done.wait(self._seconds / _RENEWALS):
            # What fails is tried again; the history is fenced by the token.
            with contextlib.suppress(peewee.PeeweeException), self._database.connection_context():
                self._renew()

    def _holder(self) -> str:
        row = _lease.select(_lease.holder, _lease.expires - self._now).bind(self._database).tuples().first()
        if row is None or not row[0]:
            return "it was released just now"
        return f"{row[0]} holds it, for {max(float(row[1]), 0):.0f} s unless it is renewed"


def held(database: peewee.Database) -> Lease | None:
    """Return the lease that this process holds on the database; None where it has none, or holds a session's lock."""
    return getattr(database, "_engagement_db_lease", None)


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"[:255]
