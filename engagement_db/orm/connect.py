"""Binding the models to a database."""

from typing import Any

import peewee

from engagement_db.orm.bound import proxy, target
from engagement_db.orm.sessions import set_up_sessions
from engagement_db.orm.urls import open_database


def connect(url: str, **options: Any) -> peewee.Database:
    """Bind every model to the database at ``url`` and return it. No connection is opened yet.

    ``url`` is ``scheme://user:password@host:port/name?parameter=value`` with one of the schemes
    sqlite, postgresql, postgres, mysql and mariadb, each also with ``+pool``. Percent-escapes are
    decoded; in user and password ``: / ? # [ ] @`` have to be escaped. Query parameters and ``options``
    go to the driver and, with ``+pool``, to peewee's pool (``max_connections``, ``stale_timeout`` in
    seconds, ``timeout`` in seconds). Sessions are set up as ``bind`` does.

    Raises ConfigurationError, and binds nothing, for a url that cannot be read, an unknown scheme, a
    name that is missing or a driver that is not installed.
    """
    return bind(open_database(url, **options))


def bind(database: peewee.Database | peewee.Proxy) -> peewee.Database:
    """Bind every model to a peewee database that the service already has, and return it.

    Each session that it opens from now on, and the open one, gets foreign keys on and WAL, which stays
    with the file (SQLite), UTC (the others), strict mode and utf8mb4 (MySQL, MariaDB); no setting of a
    server is changed.

    Raises ConfigurationError, and binds nothing, for a database that is none of SQLite, PostgreSQL, MySQL
    and MariaDB, and inside a transaction, where a session cannot be set up.
    """
    database = target(database)
    set_up_sessions(database)
    proxy.initialize(database)
    return database
