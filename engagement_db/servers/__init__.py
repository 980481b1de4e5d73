"""All that is particular to a server, one module each. Only this module asks which server a database is."""

from typing import Any

import peewee

from engagement_db.errors import ConfigurationError
from engagement_db.servers.base import Change, Server, wait_for_migration_lock
from engagement_db.servers.catalog import Catalog
from engagement_db.servers.key_types import KeyTypes
from engagement_db.servers.mysql import MARIADB, MYSQL
from engagement_db.servers.postgresql import POSTGRESQL
from engagement_db.servers.sqlite import SQLITE

__all__ = [
    "ALL",
    "Catalog",
    "Change",
    "KeyTypes",
    "Server",
    "family",
    "named",
    "of",
    "read",
    "recognize",
    "wait_for_migration_lock",
]

ALL: tuple[Server, ...] = (SQLITE, POSTGRESQL, MARIADB, MYSQL)


def named(name: str) -> Server:
    """Return the server of this name. Raises ConfigurationError, listing the names, for another one."""
    wanted = "postgresql" if name == "postgres" else name
    for server in ALL:
        if server.name == wanted:
            return server
    known = ", ".join(server.name for server in ALL)
    raise ConfigurationError(f"{name!r} is not a dialect; the names are {known}.")


def family(database: peewee.Database) -> Server:
    """Return the server of a peewee database without opening a connection: for MariaDB, MySQL until one was open."""
    if isinstance(database, peewee.SqliteDatabase):
        return SQLITE
    if isinstance(database, peewee.PostgresqlDatabase):
        return POSTGRESQL
    if isinstance(database, peewee.MySQLDatabase):
        return MARIADB if database.mariadb else MYSQL
    raise ConfigurationError(
        f"{type(database).__name__} is not supported; use a peewee SqliteDatabase, PostgresqlDatabase or "
        "MySQLDatabase, or call engagement_db.connect with a URL."
    )


def of(database: peewee.Database) -> Server:
    """Return the server of a peewee database.

    Opens a connection if only the server can tell MySQL from MariaDB.
    """
    if isinstance(database, peewee.MySQLDatabase) and "mariadb" not in vars(database):
        recognize(database, database.connection())
    return family(database)


def read(database: peewee.Database) -> Catalog:
    """Return the catalog of a peewee database."""
    return of(database).read(database)


def recognize(database: peewee.Database, connection: Any) -> None:
    """Record in ``database.mariadb``, which peewee's JSON operators read too, what a connection reports."""
    if isinstance(database, peewee.MySQLDatabase):
        database.mariadb = "maria" in str(connection.get_server_info()).lower()
