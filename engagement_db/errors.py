"""Everything that this library raises on purpose.

::

    EngagementError
    ├── ConfigurationError      a database url, driver or binding that cannot work
    ├── RefusedValue            a value that a column does not take (also a ValueError)
    ├── NotFound                a row that does not exist
    ├── Refused                 a rule of the feed or of the books forbids it
    │   ├── InvalidTransition   a status that does not allow the transition
    │   ├── Protected           a column that only verbs change, a row that is never changed or deleted
    │   └── ReferenceConflict   one idempotency key, two different payloads
    ├── Contention              it lost to other transactions every time; nothing was changed, try again
    ├── ConnectionLost          no connection to the server; nothing was committed (also a peewee.OperationalError)
    │   └── OutcomeUnknown      it was lost during a commit, which may have taken effect or not
    ├── NotWritable             a standby, or a server that is read only (also a peewee.OperationalError)
    └── MigrationError
        ├── SchemaConflict      an object exists with another definition; nothing was changed
        ├── MigrationBusy       another process holds the migration lock, or a table stays locked
        ├── HistoryError        the migration history and the scripts do not match
        ├── SchemaMissing       the history records what the database does not have
        ├── RowsAtStake         a rollback would delete rows
        └── StepFailed          the server rejected a statement

Catch ``EngagementError`` to handle all of them.
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import peewee


class EngagementError(Exception):
    """The root of every error that engagement_db raises on purpose.

    ``table``, ``column`` and ``attribute`` (the column's name in Python), ``id`` and ``status`` of the row, and
    ``allowed`` (what would have been accepted) say where it happened. They are None, or empty, where they do not
    apply. ``retryable`` says that the same call may succeed later, and can be repeated as it is. ``code`` is the name
    of the class in snake_case, for logs and for other programs.
    """

    code: ClassVar[str] = "engagement_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        table: str | None = None,
        column: str | None = None,
        attribute: str | None = None,
        id: int | None = None,
        status: str | None = None,
        allowed: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.table = table
        self.column = column
        self.attribute = attribute
        self.id = id
        self.status = status
        self.allowed = tuple(allowed)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "code" not in vars(cls):
            cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def __reduce__(self) -> Any:
        # The message alone is no argument of every constructor.
        return _restored, (type(self), str(self), vars(self))


def _restored(kind: type[EngagementError], message: str, data: dict[str, Any]) -> EngagementError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    vars(error).update(data)
    return error


class ConfigurationError(EngagementError):
    """The database cannot be used as described; no connection was opened."""


class RefusedValue(EngagementError, ValueError):
    """A value does not fit its column; no SQL was sent.

    ``table`` and ``column`` name the place, ``reason`` says why, ``allowed`` lists the labels of an enum.
    """

    def __init__(
        self, table: str, column: str, reason: str, *, attribute: str | None = None, allowed: Sequence[str] = ()
    ) -> None:
        super().__init__(
            f"{table}.{column}: {reason}", table=table, column=column, attribute=attribute, allowed=allowed
        )
        self.reason = reason


class NotFound(EngagementError):
    """The row that a verb was asked to work on does not exist; nothing was changed.

    ``table`` and ``id`` name it. Each model's ``DoesNotExist`` is a NotFound and a ``peewee.DoesNotExist``.
    """


class Refused(EngagementError):
    """A rule forbids the operation; nothing was changed."""


class InvalidTransition(Refused):
    """The row's status does not allow the transition; nothing was changed.

    ``table``, ``id`` and ``status`` are those of the row, ``allowed`` lists the statuses from which the transition
    starts.
    """


class Protected(Refused):
    """A stored row or column that a plain write may not change, or a row that is never deleted.

    ``table``, ``column`` and ``id`` name it where they are known; ``allowed`` names the verbs to call instead.
    """


class ReferenceConflict(Refused):
    """The reference was already used with another payload; the existing row is unchanged.

    ``fields`` names what differs.
    """

    def __init__(
        self,
        message: str,
        fields: Sequence[str] = (),
        *,
        table: str | None = None,
        id: int | None = None,
        status: str | None = None,
        allowed: Sequence[str] = (),
    ) -> None:
        super().__init__(message, table=table, id=id, status=status, allowed=allowed)
        self.fields = tuple(fields)


class Contention(EngagementError):
    """The transaction lost to others until the retries ran out; nothing was changed, try again later.

    Inside a transaction of the caller nothing is retried: the whole of it has to be rolled back and run again.
    """

    retryable = True


class ConnectionLost(EngagementError, peewee.OperationalError):
    """The connection to the server was lost, or none could be opened; nothing was committed.

    The next call opens another connection. Inside a transaction of the caller the whole of it has to be run again.
    """

    retryable = True
    outcome_known: ClassVar[bool] = True


class OutcomeUnknown(ConnectionLost):
    """The connection was lost before the server answered a commit, so whether it took effect is unknown.

    An idempotent verb can be repeated. Before any other call, look at the rows.
    """

    retryable = False
    outcome_known = False


class NotWritable(EngagementError, peewee.OperationalError):
    """The server takes no writes: a standby, a server that is read only, a node outside its cluster.

    Nothing was changed. Connect to the primary, or call again when this server takes writes.
    """

    retryable = True


class MigrationError(EngagementError):
    """A migration failed; the message says what was applied and what the next run will do."""


class SchemaConflict(MigrationError):
    """An object in the database has another definition; nothing was changed.

    ``differences`` lists them, one sentence each; ``cure`` says what to do about them.
    """

    def __init__(self, headline: str, differences: Sequence[str], cure: str) -> None:
        lines = "".join(f"\n  - {difference}" for difference in differences)
        super().__init__(f"{headline}{lines}\n{cure}")
        self.differences = tuple(differences)
        self.cure = cure


class MigrationBusy(MigrationError):
    """Another process migrates, or keeps a table locked; run the same command again later."""


class HistoryError(MigrationError):
    """The migration history and the scripts do not match; nothing was changed."""


class SchemaMissing(MigrationError):
    """The history records a revision as applied whose tables or columns the database does not have as it left them."""


class RowsAtStake(MigrationError):
    """A rollback would delete rows; nothing was changed."""


class StepFailed(MigrationError):
    """The server rejected a statement of a step; the same command, run again, resumes."""
