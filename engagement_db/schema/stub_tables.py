"""Stub tables of the platform, for scratch databases only: demo, tests, the embedded default."""

from typing import Final

import peewee

from engagement_db import servers
from engagement_db.servers.driver import execute
from engagement_db.tables import NOW, Table, key, table, text, time, varchar

USERS = table(
    "users",
    key(),
    varchar("firstName", 255),
    varchar("lastName", 255),
    varchar("email", 255),
    time("createdAt", default=NOW),
    time("updatedAt", default=NOW),
)

PROJECTS = table(
    "projects",
    key(),
    varchar("title", 255),
    text("description", null=True),
    varchar("status", 60, null=True),
    time("createdAt", default=NOW),
    time("updatedAt", default=NOW),
)

GIGS = table(
    "gigs",
    key(),
    varchar("title", 255),
    text("description", null=True),
    time("createdAt", default=NOW),
    time("updatedAt", default=NOW),
)

STUB_TABLES: Final[tuple[Table, ...]] = (USERS, PROJECTS, GIGS)
PLATFORM_NAMES: Final = tuple(stub.name for stub in STUB_TABLES)


def create_stub_tables(database: peewee.Database) -> tuple[str, ...]:
    """Create those of users, projects and gigs that are missing, and return their names.

    Do not call it on a database of the platform, whose tables have more columns.
    """
    server = servers.of(database)
    live = server.read(database)
    missing = [shape for shape in STUB_TABLES if live.table(shape.name) is None]
    for shape in missing:
        for statement in server.create_statements(shape):
            execute(database, statement)
    return tuple(shape.name for shape in missing)
