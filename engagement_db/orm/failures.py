"""Failures of a connection, and of a server that takes no writes, as errors of this library."""

import contextlib
import re
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.errors import ConnectionLost, Contention, EngagementError, NotWritable, OutcomeUnknown
from engagement_db.orm.bound import refuse_writes
from engagement_db.orm.sessions import is_async, set_up_sessions
from engagement_db.servers.driver import is_connected, is_from_driver, own_code, server_message

_WRITES: Final = re.compile(
    r"\s*(INSERT|UPDATE|DELETE|REPLACE|MERGE|TRUNCATE|CREATE|ALTER|DROP|WITH\b.*\b(INSERT|UPDATE|DELETE))\b",
    re.IGNORECASE | re.DOTALL,
)

_CALL_AGAIN: Final = "Nothing was committed. Call again; inside a transaction, run all of the transaction again."


def prepare(database: peewee.Database) -> None:
    """Set up each session of ``database``, and report its failures as errors of this library; once only.

    Raises what ``set_up_sessions`` does.
    """
    set_up_sessions(database)
    if not getattr(database, "_engagement_db_reports", False):
        _Reporting(database).replace_methods()


def is_lost(database: Any, error: BaseException) -> bool:
    """Whether this error says that there is no connection, or that it cannot be used any more."""
    server = servers.family(database)
    if not is_from_driver(error) or own_code(error) in server.retry_codes:
        return False
    return own_code(error) in server.lost_connection_codes or not is_connected(database._state.conn)


def failure(database: Any, error: BaseException, *, may_be_committed: bool) -> EngagementError | None:
    """Return the error of this library for an error of the driver, if there is one."""
    server = servers.family(database)
    if is_lost(database, error):
        message = _unconnected(error)
    elif may_be_committed and own_code(error) in server.unknown_outcome_codes and not server.lost_race(error):
        message = f"the server failed while it committed: {server_message(error).rstrip('.')}."
    elif is_from_driver(error) and own_code(error) in server.not_writable_codes:
        return NotWritable(
            f"the server takes no writes: {server_message(error).rstrip('.')}. Nothing was changed. Connect to the "
            "primary, or call again when this server takes writes."
        )
    else:
        return None
    if may_be_committed:
        return OutcomeUnknown(
            f"{message} Whether this was committed is not known. Repeat an idempotent verb; before any other call, "
            "look at the rows."
        )
    return ConnectionLost(f"{message} {_CALL_AGAIN}")


def _unconnected(error: BaseException) -> str:
    return f"no connection to the database: {server_message(error).rstrip('.')}."


class _Reporting:
    """Calls methods of one database; reports their failures and, after a lost connection, opens another."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._connect = database.connect
        self._execute_sql = database.execute_sql
        self._begin = database.begin
        self._commit = database.commit
        self._rollback = database.rollback

    def replace_methods(self) -> None:
        database = self._database
        database.execute_sql, database.begin = self.execute_sql, self.begin
        database.commit, database.rollback = self.commit, self.rollback
        if not is_async(database):
            database.connect = self.connect
        database._engagement_db_reports = True

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        self._refuse_after_rollback()
        if _WRITES.match(sql):
            refuse_writes(self._database)
        try:
            return self._execute_sql(sql, params)
        except Exception as error:
            # The state of an asyncio database is not that of one task.
            if self._is_rollback(error) and not is_async(self._database):
                self._database._state.is_rolled_back = True
            self._report(error, may_be_committed=not (self._database.in_transaction() or _is_read(sql)))
            raise

    def begin(self, *args: Any, **options: Any) -> None:
        self._database._state.is_rolled_back = False
        try:
            self._begin(*args, **options)
        except Exception as error:
            self._report(error, may_be_committed=False)
            raise

    def commit(self) -> None:
        self._refuse_after_rollback()
        was_connected = is_connected(self._database._state.conn)
        try:
            self._commit()
        except Exception as error:
            self._report(error, may_be_committed=was_connected)
            raise

    def rollback(self) -> None:
        self._database._state.is_rolled_back = False
        if self._database.is_closed():
            # peewee rolls back after a COMMIT that lost the connection.
            return
        try:
            self._rollback()
        except Exception as error:
            # The server rolls back by itself.
            if not is_lost(self._database, error):
                raise
            self._leave_connection()

    def connect(self, reuse_if_open: bool = False) -> Any:
        # peewee forgets the ``connection_context`` blocks that are open when it connects again inside them.
        blocks = self._database._state.ctx
        try:
            return self._connect(reuse_if_open)
        except Exception as error:
            if not is_from_driver(error):
                raise
            raise ConnectionLost(f"{_unconnected(error)} {_CALL_AGAIN}") from error
        finally:
            if blocks:
                self._database._state.ctx = blocks

    def _is_rollback(self, error: Exception) -> bool:
        codes = servers.family(self._database).rollback_codes
        return own_code(error) in codes and self._database.in_transaction()

    def _refuse_after_rollback(self) -> None:
        if getattr(self._database._state, "is_rolled_back", False):
            raise Contention(
                "the server rolled back the whole transaction after a deadlock. Leave its block with an error, and run "
                "all of it again; what follows in it is not sent."
            )

    def _report(self, error: Exception, *, may_be_committed: bool) -> None:
        """Raise the error of this library for ``error``, if there is one."""
        found = failure(self._database, error, may_be_committed=may_be_committed)
        if found is None:
            return
        if isinstance(found, ConnectionLost) and not self._database.in_transaction():
            self._leave_connection()
        raise found from error

    def _leave_connection(self) -> None:
        """Close the lost connection of this thread, so that the next statement opens another."""
        if is_async(self._database):
            # peewee replaces it.
            return
        blocks = self._database._state.ctx
        with contextlib.suppress(peewee.PeeweeException):
            self._database.close()
        self._database._state.ctx = blocks


def _is_read(sql: str) -> bool:
    return sql.lstrip(" (").upper().startswith("SELECT")
