"""Database URLs: read, checked, redacted for messages, and opened."""

import contextlib
import re
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import peewee
from playhouse import pool

from engagement_db import servers
from engagement_db.errors import ConfigurationError
from engagement_db.orm.sessions import BUSY_TIMEOUT_SECONDS, set_up_sessions

_UNREADABLE: Final = (
    "the url cannot be read; in user and password write : / ? # [ ] @ as percent-escapes "
    "(urllib.parse.quote(password, safe='') does)."
)


_DATABASES: Final[dict[str, tuple[type[peewee.Database], type[peewee.Database]]]] = {
    "sqlite": (peewee.SqliteDatabase, pool.PooledSqliteDatabase),
    "postgresql": (peewee.PostgresqlDatabase, pool.PooledPostgresqlDatabase),
    "postgres": (peewee.PostgresqlDatabase, pool.PooledPostgresqlDatabase),
    "mysql": (peewee.MySQLDatabase, pool.PooledMySQLDatabase),
    "mariadb": (peewee.MySQLDatabase, pool.PooledMySQLDatabase),
}
# What may follow the scheme, after a + each.
_VARIANTS: Final = {
    scheme: [[], ["pool"], *([["psycopg"], ["pool", "psycopg"]] if scheme.startswith("postgres") else [])]
    for scheme in _DATABASES
}


def open_database(url: str, **options: object) -> peewee.Database:
    """Return the peewee database at ``url``, sessions set up right, without binding a model to it.

    Takes and raises what ``connect`` does.
    """
    parts = _split(url)
    scheme, *variants = parts.scheme.split("+")
    if "://" not in url or scheme not in _DATABASES or sorted(variants) not in _VARIANTS[scheme]:
        known = ", ".join(_DATABASES)
        raise ConfigurationError(
            f"{shown_url(url)}: the scheme is not one of {known} (each also with +pool, and postgresql+psycopg for "
            "psycopg 3), followed by ://."
        )
    server = servers.named(scheme)
    psycopg_3 = "psycopg" in variants
    if not any(find_spec(driver) for driver in (("psycopg",) if psycopg_3 else server.drivers)):
        extra = "psycopg" if psycopg_3 else server.extra
        raise ConfigurationError(
            f"{server.display_name} needs a driver that is not installed; install engagement_db[{extra}]."
        )
    name = unquote(parts.path.removeprefix("/"))
    arguments: dict[str, Any] = {key: _converted(key, value) for key, value in parse_qsl(parts.query)}
    if server.is_file_based:
        if parts.netloc:
            raise ConfigurationError(f"{shown_url(url)}: a file takes three slashes, as in sqlite:///engagement.db.")
        name = name or ":memory:"
        arguments.setdefault("timeout", BUSY_TIMEOUT_SECONDS)
        if "pool" in variants:
            if name == ":memory:":
                raise ConfigurationError(
                    f"{shown_url(url)}: each connection of a pool has a database of its own in memory; name a file."
                )
            # The pool hands a connection to one thread at a time.
            arguments.setdefault("check_same_thread", False)
    else:
        arguments.update(_login(url, parts))
        if server.charset is not None and not str(arguments.get("password", "")).isascii():
            # The server knows a password by its bytes; left as text, pymysql makes them Latin-1.
            arguments["password"] = arguments["password"].encode()
        if not name:
            raise ConfigurationError(f"{shown_url(url)}: the name of the database is missing after the host.")
    if server.stores_json_as_text:
        arguments["mariadb"] = True
    if psycopg_3:
        arguments["prefer_psycopg3"] = True
    arguments.update(options)
    database = _DATABASES[scheme]["pool" in variants](name, **arguments)
    set_up_sessions(database, with_isolation=True)
    return database


def _split(url: str) -> SplitResult:
    # The errors of urllib quote the url, so they are not chained.
    with contextlib.suppress(ValueError):
        return urlsplit(url)
    raise ConfigurationError(f"{shown_url(url)}: {_UNREADABLE}")


def _login(url: str, parts: SplitResult) -> dict[str, Any]:
    if parts.fragment or "@" in parts.path or ("@" in parts.query and "@" not in parts.netloc):
        raise ConfigurationError(f"{shown_url(url)}: {_UNREADABLE}")
    with contextlib.suppress(ValueError):
        found = {
            "host": unquote(parts.hostname or ""),
            "port": parts.port,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
        }
        return {argument: value for argument, value in found.items() if value}
    raise ConfigurationError(f"{shown_url(url)}: the port is not a number from 0 to 65535.")


def _converted(parameter: str, value: str) -> Any:
    if parameter in ("user", "password"):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            if str(kind(value)) == value:
                return kind(value)
    return value


def shown_url(url: str) -> str:
    """Return ``url`` for a message: without its password and its parameters, even if it is malformed."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "the url of the database"
    login, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = login.partition(":")
        login = f"{user}:***@" if colon else f"{login}@"
    place = re.split("[?#]", place)[0]
    # In place of the port there may be a password, if the host was left out.
    place = re.sub(r"^(\[[^]]*\]|[^:/]*):(?!\d{1,5}(?:/|$)).*", r"\1:***", place)
    return f"{scheme}://{login}{place}"
