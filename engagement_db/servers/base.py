"""A server: how its catalog is read, how sessions wait, and how each change of a schema is made.

The methods here are standard SQL; each server overrides what it does differently. A server holds no connection, so that
SQL can be printed for one that is not there. ``found`` is the live object that an interrupted run may have left: with
None it is created, complete it is kept, not validated it is completed.
"""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import peewee

from engagement_db.errors import ConfigurationError, Contention, MigrationBusy
from engagement_db.servers import ddl
from engagement_db.servers.catalog import Catalog
from engagement_db.servers.dialect import Dialect
from engagement_db.tables import Check, Column, ForeignKey, Index, Table


@dataclass(frozen=True)
class Change:
    """One statement of a step, and the statements around it in the same session.

    ``online`` are changes that do the same together without rewriting the ``rewritten`` table, but not atomically: an
    interrupted run has to be run again. ``fallback`` does the same more slowly, also without blocking writes: it is for
    a table on which the server refuses the statement with one of its ``not_online_codes``. ``outside_transaction`` says
    that the server refuses the statement inside one. ``violations_query`` finds rows that the statement does not
    validate, ``on_violation`` is the statement that then reverts it.
    """

    statement: str
    fallback: str | None = None
    online: "tuple[Change, ...]" = ()
    rewritten: str | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    outside_transaction: bool = False
    violations_query: str | None = None
    on_violation: str | None = None

    @property
    def is_read_only(self) -> bool:
        """Whether the statement only looks for rows that an interrupted run did not validate."""
        return self.statement == self.violations_query


@dataclass(frozen=True)
class OpenTransaction:
    """An open transaction of another session, and the tables that it holds where the server reports them."""

    session: int
    user: str
    host: str
    seconds: float
    tables: str = ""

    def __str__(self) -> str:
        tables = f" and holds {self.tables}" if self.tables else ""
        return (
            f"session {self.session} ({self.user} from {self.host}) has been in a transaction for "
            f"{self.seconds:.0f} s{tables}"
        )


class Server(Dialect, ABC):
    """A database server: facts about it, and how things are done on it."""

    # SQL that reports, where the server can: the other open transactions, the oldest first (session, user, host,
    # seconds, tables or NULL); this session's number; the progress of a session's statement (phase, percent or NULL).
    open_transactions_sql: ClassVar[str | None] = None
    session_id_sql: ClassVar[str | None] = None
    progress_sql: ClassVar[str | None] = None
    # A session that holds the migration lock and sends nothing for so long is ended by the server: its deployer, or the
    # network between them, is gone, and nothing else would tell the server for hours.
    silence_seconds: ClassVar[int] = 30

    @abstractmethod
    def read(self, database: peewee.Database) -> Catalog:
        """Return the catalog of a live database of this server."""

    # Rights

    def grants_to_migrate(self, role: str, owner: str, parents: Sequence[str]) -> list[str]:
        """Return the GRANTs with which ``role`` can migrate beside tables that ``owner`` has: ``parents``."""
        raise ConfigurationError(f"{self.display_name} has no roles: its rights are those of the file.")

    def grants_to_enter(self, role: str) -> list[str]:
        """Return the GRANTs that ``role`` needs before it can use any table."""
        return []

    def grants_to_number(self, role: str, table: str) -> list[str]:
        """Return the GRANTs with which ``role`` gets ids for new rows of ``table``."""
        return []

    # Sessions

    def shares_sessions(self, database: peewee.Database) -> bool:
        """Return whether other sessions may not see a lock of this one, or may hold it too."""
        return False

    def locks_one_node(self, database: peewee.Database) -> bool:
        """Return whether others may write, on another node, a row that this session has locked."""
        return False

    def other_deployer(self, database: peewee.Database) -> str | None:
        """Return who else may be changing the schema: an earlier holder of the lease, or a deployer without it."""
        return None

    @contextmanager
    def caught_up(self, primary: peewee.Database, reader: peewee.Database, timeout_seconds: float) -> Iterator[None]:
        """Make what was committed on ``primary`` before the block visible to ``reader`` in it.

        Raises Contention if that takes longer than ``timeout_seconds``, and ConfigurationError if the servers do not
        report their positions.
        """
        yield

    @abstractmethod
    def migration_lock(self, database: peewee.Database, timeout_seconds: float) -> AbstractContextManager[None]:
        """Hold the migration lock of this database.

        Raises MigrationBusy, naming the holder, when it was not free within ``timeout_seconds``.
        """

    @contextmanager
    def lock_timeout(self, database: peewee.Database, seconds: float) -> Iterator[None]:
        """Limit how long each statement inside the block waits for a table's lock, where the server can.

        Behind a pooler of PostgreSQL it has no effect outside a transaction.
        """
        yield

    def open_transactions(self, database: peewee.Database) -> list[OpenTransaction]:
        """Return up to three open transactions of other sessions, the oldest first; none if the server reports none."""
        if self.open_transactions_sql is None:
            return []
        with suppress(peewee.PeeweeException):
            return [
                OpenTransaction(session, user, host, float(seconds or 0), tables or "")
                for session, user, host, seconds, tables in database.execute_sql(self.open_transactions_sql).fetchall()
            ]
        return []

    def session_id(self, database: peewee.Database) -> int | None:
        """Return the server's number of this session, where it has one."""
        return None if self.session_id_sql is None else int(first_value(database, self.session_id_sql))

    def progress(self, database: peewee.Database, session_id: int) -> str | None:
        """Return the progress of the statement that another session runs, where the server reports it."""
        if self.progress_sql is None:
            return None
        row = database.execute_sql(self.progress_sql, (session_id,)).fetchone()
        if not row or not row[0]:
            return None
        return str(row[0]) if row[1] is None else f"{row[0]} {float(row[1]):.0f} %"

    def lagging_sequence(self, database: peewee.Database, table: str) -> tuple[int, int, str] | None:
        """Return the next id of a table, its highest id and the statement to run, if the next id is already taken."""
        return None

    # Tables

    def create_statements(self, table: Table) -> list[str]:
        """Return every statement that creates the table in a database without it."""
        changes = [*self.create_types(Catalog(), table), *self.create_table(table)]
        return [change.statement for change in changes]

    def drop_statements(self, table: Table) -> list[str]:
        """Return every statement that drops the table and its types."""
        return [f"DROP TABLE {self.quoted(table.name)}"]

    def create_types(self, catalog: Catalog, table: Table) -> Iterator[Change]:
        """Yield the changes that create the types of ``table``'s columns which the database lacks."""
        yield from ()

    def drop_types(self, catalog: Catalog, table: Table) -> Iterator[Change]:
        """Yield the changes that drop the types of ``table``'s columns which the database has."""
        yield from ()

    def type_conflicts(self, catalog: Catalog, table: Table) -> Iterator[str]:
        """Yield a sentence for each existing type that is not the one of ``table``'s column."""
        yield from ()

    def rename_types(self, catalog: Catalog, table: Table, suffix: str) -> Iterator[Change]:
        """Yield the changes that rename each existing type for which ``type_conflicts`` has a sentence."""
        yield from ()

    def converted(self, table: str, column: Column, found: Column) -> str:
        """Return the value of the column ``found`` as an expression that fits into ``table``'s ``column``."""
        return self.quoted(column.name)

    def advance_ids(self, table: str) -> Iterator[Change]:
        """Yield the change that lets new ids follow the highest one, where inserted ids do not do so."""
        yield from ()

    def create_table(self, table: Table) -> Iterator[Change]:
        """Yield the changes that create the table and its indexes."""
        yield Change(ddl.create_table(self, table))
        for index in table.indexes:
            yield Change(ddl.create_index(self, table.name, index))

    # Columns, indexes and constraints

    def add_column(self, table: str, column: Column, key: ForeignKey | None) -> Iterator[Change]:
        """Yield the change that adds the column, with its key if the server adds both together only."""
        yield Change(f"{self.alter(table)} ADD COLUMN {ddl.column_definition(self, table, column)}")

    def drop_column(self, table: str, column: str, *, index: str | None, key: str | None) -> Iterator[Change]:
        """Yield the changes that drop the column with its existing index and key."""
        if index is not None:
            yield from self.drop_index(table, index)
        yield Change(f"{self.alter(table)} DROP COLUMN {self.quoted(column)}")

    def add_index(self, table: str, index: Index, found: Index | None) -> Iterator[Change]:
        """Yield the changes that create the index."""
        if found is None:
            yield Change(ddl.create_index(self, table, index))

    def drop_index(self, table: str, name: str) -> Iterator[Change]:
        """Yield the change that drops the index."""
        yield Change(f"DROP INDEX {self.quoted(name)}")

    def add_key(self, table: str, key: ForeignKey, found: ForeignKey | None) -> Iterator[Change]:
        """Yield the changes that add the foreign key and validate it; nothing if it comes with its column only."""
        if found is None:
            yield Change(f"{self.alter(table)} ADD {ddl.foreign_key_constraint(self, key)}")

    def add_validated_key(self, table: str, key: ForeignKey) -> Iterator[Change]:
        """Yield the changes that add the key and fail where a row violates it, for a person to run."""
        yield from self.add_key(table, key, None)

    def add_check(self, table: str, check: Check, found: Check | None) -> Iterator[Change]:
        """Yield the changes that add the check and validate it."""
        if found is None:
            yield Change(f"{self.alter(table)} ADD {ddl.check_constraint(self, check)}")

    def drop_check(self, table: str, check: Check) -> Iterator[Change]:
        """Yield the change that drops the check."""
        yield Change(f"{self.alter(table)} DROP CONSTRAINT {self.quoted(check.name)}")

    def set_not_null(self, catalog: Catalog, table: str, column: str) -> Iterator[Change]:
        """Yield the changes that forbid NULL in an existing column, of which no row may hold one."""
        yield Change(f"{self.alter(table)} ALTER COLUMN {self.quoted(column)} SET NOT NULL")

    def not_null_conflicts(self, catalog: Catalog, table: str, column: str) -> Iterator[str]:
        """Yield a sentence for each reason why NULL cannot be forbidden in the column."""
        yield from ()

    def alter_column(self, table: str, wanted: Column, found: Column) -> Iterator[Change]:
        """Yield the changes that give the column ``found`` the type, nullability and default of ``wanted``.

        They may block writes and fail on existing rows, so they are for a person to run. Nothing on a
        server that cannot alter a column.
        """
        yield from ()

    def drop_key(self, table: str, name: str) -> Iterator[Change]:
        """Yield the change that drops the foreign key; nothing on a server that cannot."""
        yield Change(f"{self.alter(table)} DROP CONSTRAINT {self.quoted(name)}")

    def check_conflicts(self, catalog: Catalog, table: str) -> Iterator[str]:
        """Yield a sentence for each reason why no check can be added to the table."""
        yield from ()

    def drop_check_conflicts(self, catalog: Catalog, table: str, check: Check) -> Iterator[str]:
        """Yield a sentence for each reason why the check cannot be dropped."""
        yield from ()

    # Enum labels

    @abstractmethod
    def add_label(self, table: str, before: Column, after: Column) -> Iterator[Change]:
        """Yield the changes that give the column ``before`` the labels of ``after``, which has one more, the last."""

    @abstractmethod
    def drop_label(self, table: str, before: Column, after: Column) -> Iterator[Change]:
        """Yield the changes that give the column ``before`` the labels of ``after``, which lacks the last.

        No row may have the label.
        """

    def label_conflicts(self, catalog: Catalog, table: str, column: Column) -> Iterator[str]:
        """Yield a sentence for each reason why the labels of the existing column cannot be changed."""
        yield from ()

    def drop_label_conflicts(self, catalog: Catalog, table: str, column: Column) -> Iterator[str]:
        """Yield a sentence for each object that depends on the column and on its labels."""
        yield from ()

    def alter(self, table: str) -> str:
        """Return the beginning of a statement that alters the table."""
        return f"ALTER TABLE {self.quoted(table)}"


def wait_for_migration_lock(take: Callable[[], object], holder: Callable[[], str], timeout_seconds: float) -> None:
    """Call ``take`` until it returns a true value. Raises MigrationBusy, naming the ``holder``, at the timeout."""
    # Polled, because a blocking call would keep a snapshot open, for which CREATE INDEX CONCURRENTLY waits in turn.
    deadline = time.monotonic() + timeout_seconds
    while not take():
        if time.monotonic() >= deadline:
            raise migration_busy(holder(), timeout_seconds)
        time.sleep(random.uniform(0.05, 0.2))


def lagging(timeout_seconds: float) -> Contention:
    """Return the error for a standby that lags behind."""
    return Contention(
        f"the standby has not caught up with the primary within {timeout_seconds:g} s. Nothing was read; read from the "
        "primary, or again later."
    )


def migration_busy(holder: str, timeout_seconds: float) -> MigrationBusy:
    """Return the error that says who holds the migration lock."""
    return MigrationBusy(
        f"another process is migrating this database; waited {timeout_seconds:g} s for the migration lock ({holder}). "
        "Nothing was changed. Run the same command again when it is done, or wait longer with --lock-timeout."
    )


def first_value(database: peewee.Database, sql: str, *parameters: object) -> Any:
    """Return the first value of the first row of a query."""
    return database.execute_sql(sql, parameters).fetchone()[0]


@contextmanager
def session_setting(database: peewee.Database, read_sql: str, write_sql: str, value: str) -> Iterator[None]:
    """Give a session setting another value inside the block; ``write_sql`` has ``{}`` in place of the value."""
    usual = first_value(database, read_sql)
    database.execute_sql(write_sql.format(value))
    try:
        yield
    finally:
        with suppress(peewee.PeeweeException):
            database.execute_sql(write_sql.format(usual))
