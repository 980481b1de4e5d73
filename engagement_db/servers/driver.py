"""What differs between drivers: placeholders, error codes and error messages."""

from typing import Any

import peewee


def execute(database: peewee.Database, sql: str) -> Any:
    """Execute ``sql`` as it is, without parameters, and return the cursor."""
    # peewee passes empty parameters, with which psycopg2 and pymysql read a per cent sign as a placeholder.
    return database.execute_sql(sql.replace("%", "%%") if database.param == "%s" else sql)


def error_code(error: BaseException | None) -> int | str | None:
    """Return the server's code for an error, or for the first one behind it that has a code."""
    while error is not None:
        code = own_code(error)
        if code is not None:
            return code
        error = error.__cause__ or error.__context__
    return None


def own_code(error: BaseException) -> int | str | None:
    """Return the server's code for the error that peewee wrapped: an SQLSTATE or a number, or None."""
    original = _wrapped(error)
    if original.args and isinstance(original.args[0], int) and not isinstance(original, OSError):
        # pymysql also has an SQLSTATE, which says less.
        return original.args[0]
    for attribute in ("pgcode", "sqlstate", "sqlite_errorcode"):
        code = getattr(original, attribute, None)
        if code is not None:
            return code  # type: ignore[no-any-return]
    return None


def is_from_driver(error: BaseException) -> bool:
    """Whether a driver raised the error, or the network below it."""
    # peewee leaves some errors of asyncpg, and OSError, as they are.
    return _wrapped(error) is not error or isinstance(error, OSError) or getattr(error, "sqlstate", None) is not None


def is_unwritable_file(error: BaseException) -> bool:
    """Whether SQLite could not open its file, or not write it or the files beside it."""
    # The first byte is the kind of error: 8 for reading only, 14 for a file that cannot be opened.
    code = getattr(_wrapped(error), "sqlite_errorcode", 0)
    return code & 0xFF in (8, 14)


def is_connected(connection: Any) -> bool:
    """Whether the driver still considers the connection usable. Nothing is sent to the server."""
    if connection is None:
        return False
    if hasattr(connection, "stale"):
        return not connection.stale()
    if hasattr(connection, "closed"):
        return not connection.closed
    return bool(getattr(connection, "open", True))


def server_message(error: BaseException) -> str:
    """Return the server's first error message, on one line, not that of a failed rollback after it."""
    chain = [error]
    while chain[-1].__context__ is not None:
        chain.append(chain[-1].__context__)
    return own_message([error, *(link for link in chain if isinstance(link, peewee.PeeweeException))][-1])


def own_message(error: BaseException) -> str:
    """Return the message of the error that peewee wrapped, on one line."""
    original = _wrapped(error)
    message = str(original.args[-1]) if original.args else ""
    return " ".join(message.split()) or type(original).__name__


def _wrapped(error: BaseException) -> BaseException:
    """Return the error of the driver that peewee wrapped, or the error itself."""
    return getattr(error, "orig", None) or error
