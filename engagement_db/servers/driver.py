"""What differs between drivers: placeholders, error codes and error messages."""

from typing import Any

import peewee


def execute(database: peewee.Database, sql: str) -> Any:
    """Execute ``sql`` as it is, without parameters, and return the cursor."""
    # peewee passes empty parameters, with which psycopg2 and pymysql read a per cent sign as a placeholder.
    return database.execute_sql(sql.replace("%", "%%") if database.param == "%s" else sql)


def error_code(error: BaseException | None) -> int | str | None:
    """Return the server's own code for an error that peewee wrapped: an SQLSTATE or a number, or None."""
    while error is not None:
        original = _wrapped(error)
        for attribute in ("pgcode", "sqlstate", "sqlite_errorcode"):
            code = getattr(original, attribute, None)
            if code is not None:
                return code  # type: ignore[no-any-return]
        if original.args and isinstance(original.args[0], int):
            return original.args[0]
        error = error.__cause__ or error.__context__
    return None


def server_message(error: BaseException) -> str:
    """Return the server's first error message, on one line, not that of a failed rollback after it."""
    chain = [error]
    while chain[-1].__context__ is not None:
        chain.append(chain[-1].__context__)
    original = _wrapped([error, *(link for link in chain if isinstance(link, peewee.PeeweeException))][-1])
    message = original.args[-1] if original.args else type(original).__name__
    return " ".join(str(message).split())


def _wrapped(error: BaseException) -> BaseException:
    return error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
