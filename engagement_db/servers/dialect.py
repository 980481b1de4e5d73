"""Facts about a server that the rest of the library depends on."""

import re
from typing import ClassVar

import peewee

from engagement_db.servers.driver import own_code, own_message
from engagement_db.sql_tokens import literal
from engagement_db.tables import Column, ColumnType, Enum, Id, Integer, Other, Text, Varchar


class Dialect:
    """Facts about one server, each below the question that it answers."""

    # What is it called, in a URL and in a sentence?
    name: ClassVar[str]
    display_name: ClassVar[str]
    # Which peewee class writes its SQL?
    database_class: ClassVar[type[peewee.Database]]
    # From which version on is it supported?
    minimum_version: ClassVar[tuple[int, ...]]
    # How does it spell the types of columns that are not spelled alike everywhere, the current time and identifiers?
    type_names: ClassVar[dict[type[ColumnType], str]]
    now_sql: ClassVar[str]
    quote: ClassVar[str] = '"'
    # What follows the columns of a CREATE TABLE?
    table_options: ClassVar[str] = ""

    # Is a database one file, which connecting would create?
    is_file_based: ClassVar[bool] = False
    # Does ROLLBACK undo DDL?
    transactional_ddl: ClassVar[bool] = True
    # Does it build indexes and validate constraints in transactions of their own, so that writes continue?
    builds_outside_transaction: ClassVar[bool] = False
    # Are columns, or indexes of one table, whose names differ in case only, the same to it?
    ignores_case_of_names: ClassVar[bool] = False
    # Must the values of a CASE be cast to the type of the column?
    casts_in_case: ClassVar[bool] = False
    # Are the enum and JSON types, which it lacks, emulated by checks?
    emulates_enum_and_json: ClassVar[bool] = False
    # Does it enforce VARCHAR lengths?
    enforces_length: ClassVar[bool] = True
    # Does CREATE TABLE take the indexes too?
    has_inline_indexes: ClassVar[bool] = False
    # Is a foreign key added together with its column only?
    adds_column_with_key: ClassVar[bool] = False
    # Is DECIMAL exact? (SQLite stores a double: 15 digits.)
    has_exact_decimal: ClassVar[bool] = True
    # Is SUM over DECIMAL exact?
    has_exact_sum: ClassVar[bool] = True
    # Are timestamps stored as text, which has to sort as the timestamps do?
    stores_time_as_text: ClassVar[bool] = False
    # Does the driver parse JSON itself, before a field sees it?
    driver_parses_json: ClassVar[bool] = False
    # Does a JSON column hold a document that is a bare number as a number of its own?
    converts_json_numbers: ClassVar[bool] = False
    # Does the server store JSON as text, so that peewee's JSON operators need the SQL of MariaDB?
    stores_json_as_text: ClassVar[bool] = False
    # Which condition finds values that a column of this type should not hold, where the type does not prevent them?
    odd_value_sql: ClassVar[dict[type[ColumnType], str]] = {}
    # Is text compared byte by byte, so that texts of one beginning are a range?
    compares_bytes: ClassVar[bool] = False
    # Does it assume that matching rows are spread evenly over any index that has the order of the query?
    assumes_even_spread: ClassVar[bool] = False
    # Does SELECT ... FOR UPDATE lock rows? (Elsewhere one writer at a time locks the whole file.)
    supports_for_update: ClassVar[bool] = True
    # Which clause locks rows against changes, and not against new rows that refer to them?
    row_lock: ClassVar[str] = "FOR UPDATE"
    # Which clause locks rows against changes, and not against the same lock of others?
    shared_row_lock: ClassVar[str] = "LOCK IN SHARE MODE"
    # Must an INSERT name the unique key that may be taken already, because an error would abort its transaction?
    names_conflict_target: ClassVar[bool] = False

    # What is the time in seconds, by the server's clock?
    clock_sql: ClassVar[str] = "EXTRACT(EPOCH FROM clock_timestamp())"
    # What does the message of a duplicate key name where the id itself is taken?
    duplicate_id_pattern: ClassVar[str | None] = None

    # Which query reports that a locking read misses what was committed after the snapshot?
    stale_reads_query: ClassVar[str | None] = None
    # Which character set must a driver use that can use another?
    charset: ClassVar[str | None] = None
    # What is each new session set to?
    session: ClassVar[tuple[str, ...]] = ()
    # Which statement gives a session the isolation of ``begin``, where it would otherwise cost a round trip before each
    # BEGIN?
    isolation_session: ClassVar[str | None] = None
    # How does a writing transaction begin? (With one isolation everywhere: it sees what is committed.)
    begin: ClassVar[tuple[str, ...]] = ()
    # For how long may one attempt wait for a table's lock? Later statements queue behind a waiting request.
    lock_attempt_seconds: ClassVar[float | None] = None
    # Which drivers serve it, and which extra of this package installs one?
    drivers: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""

    # Which error codes or SQLSTATEs mean that the transaction lost a race and may be run again?
    retry_codes: ClassVar[frozenset[int | str]] = frozenset()
    # Which mean that a unique key is taken already?
    duplicate_codes: ClassVar[frozenset[int | str]] = frozenset()
    # After which is the whole transaction rolled back, so that further statements would be executed outside it?
    rollback_codes: ClassVar[frozenset[int | str]] = frozenset()
    # Which mean that a time limit or an operator canceled the statement?
    canceled_codes: ClassVar[frozenset[int | str]] = frozenset()
    # Which mean that the server takes no writes?
    not_writable_codes: ClassVar[frozenset[int | str]] = frozenset()
    # Which mean that the connection is of no use any more, although the driver does not know yet?
    lost_connection_codes: ClassVar[frozenset[int | str]] = frozenset()
    # Which mean that a COMMIT may have taken place or not?
    unknown_outcome_codes: ClassVar[frozenset[int | str]] = frozenset()
    # Which mean that a lock was not granted in time?
    lock_timeout_codes: ClassVar[frozenset[int | str]] = frozenset()
    # Which mean that the table cannot be altered by the algorithm that the statement names?
    not_online_codes: ClassVar[frozenset[int | str]] = frozenset()
    # Which mean that there is no index of that name?
    unknown_index_codes: ClassVar[frozenset[int | str]] = frozenset()

    def __repr__(self) -> str:
        return f"<{self.display_name}>"

    def lost_race(self, error: BaseException) -> bool:
        """Whether this error itself means that the transaction lost a race and may be run again."""
        return own_code(error) in self.retry_codes

    def is_duplicate_id(self, error: BaseException) -> bool:
        """Whether an IntegrityError says that the id itself, which the server gave, is taken already."""
        pattern = self.duplicate_id_pattern
        return pattern is not None and re.search(pattern, own_message(error)) is not None

    def quoted(self, identifier: str) -> str:
        """Return the identifier in this server's quotes."""
        return f"{self.quote}{identifier.replace(self.quote, self.quote * 2)}{self.quote}"

    def literal(self, value: str) -> str:
        """Return ``value`` as a string literal of this server."""
        return literal(value)

    def expression(self, sql: str) -> str:
        """Return an expression of a revision, which double-quotes its columns, in this server's quotes."""

        def spelled(found: re.Match[str]) -> str:
            if found["text"] is not None:
                return self.literal(found["text"].replace("''", "'"))
            return self.quoted(found["name"].replace('""', '"'))

        return re.sub(r"""'(?P<text>(?:[^']|'')*)'|"(?P<name>(?:[^"]|"")*)\"""", spelled, sql)

    def type_sql(self, table: str, column: Column) -> str:
        """Return the type of ``table``'s ``column``."""
        match column.type:
            case Varchar(length):
                return f"VARCHAR({length})"
            case Enum(labels):
                return self.enum_sql(table, column.name, labels)
            case Other(spelling):
                return spelling
            case Integer():
                return integer_sql(column.type)
            case Id(bits=64):
                return self.type_names[Id].replace("INTEGER", "BIGINT").replace("SERIAL", "BIGSERIAL")
            case Text():
                return "TEXT"
            case kind:
                return self.type_names[type(kind)]

    def enum_sql(self, table: str, column: str, labels: tuple[str, ...]) -> str:
        """Return the type of an enum column."""
        return f"ENUM({', '.join(map(self.literal, labels))})"


def integer_sql(kind: Integer | Id) -> str:
    """Return the type of an integer, or of the integers of an ``id``."""
    return f"{'INTEGER' if kind.bits == 32 else 'BIGINT'}{' UNSIGNED' if kind.is_unsigned else ''}"
