"""Databases to measure on, and connections of the bare driver to them."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg2
import pymysql
import servers

import engagement_db.orm.urls
from engagement_db.schema import stub_tables


def server_of(url: str) -> str:
    """Return the server's name as the tests call it: sqlite, postgres, mysql or mariadb."""
    scheme = urlsplit(url).scheme
    return "postgres" if scheme == "postgresql" else scheme


@contextlib.contextmanager
def database(server: servers.Server) -> Iterator[str]:
    """Yield the URL of a database that has every table and no rows; drop it afterwards."""
    made = server.create_database()
    try:
        url = made
        if server.name != "sqlite":
            # Nobody encrypts: the client and its statements are measured, and what is encrypted cannot be counted.
            plain = "sslmode=disable" if server.name == "postgres" else "ssl_disabled=true"
            url = urlsplit(made)._replace(query=plain).geturl()
        if server.name == "postgres":
            # As write_stall.py does: the wait for the disk would hide what is measured.
            execute(url, f'ALTER DATABASE "{urlsplit(url).path[1:]}" SET synchronous_commit = off')
        platform = engagement_db.orm.urls.open_database(url)
        with platform.connection_context():
            stub_tables.create_stub_tables(platform)
        command = Path(sys.executable).with_name("engagement-db")
        subprocess.run([command, "migrate", "--database", url], check=True, stdout=subprocess.DEVNULL)
        yield url
    finally:
        server.drop_database(made)


def path_of(url: str) -> str:
    """Return the file of a database of SQLite."""
    return url.removeprefix("sqlite:///")


def address_of(url: str) -> dict[str, Any]:
    """Return host, port, user, password and database, as the drivers take them."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port,
        "user": unquote(parts.username or "root"),
        "password": unquote(parts.password or ""),
        "database": parts.path[1:],
    }


def connect(url: str) -> Any:
    """Return a connection of the bare driver: identifiers in double quotes, UTC, READ COMMITTED, autocommit."""
    server = server_of(url)
    if server == "sqlite":
        connection: Any = sqlite3.connect(path_of(url), isolation_level=None, timeout=30)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        return connection
    if server == "postgres":
        connection = psycopg2.connect(**address_of(url), sslmode="disable", options="-c timezone=UTC")
        connection.autocommit = True
        return connection
    return pymysql.connect(
        **address_of(url),
        charset="utf8mb4",
        autocommit=True,
        ssl_disabled=True,
        init_command=f"{session_sql(server)}, sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')",
    )


def session_sql(server: str) -> str:
    """Return what gives a session of MySQL or MariaDB UTC and READ COMMITTED."""
    isolation = "tx_isolation" if server == "mariadb" else "transaction_isolation"
    return f"SET SESSION time_zone = '+00:00', {isolation} = 'READ-COMMITTED'"


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Execute the statements, each committed; return the rows of the last."""
    with contextlib.closing(connect(url)) as connection:
        cursor = connection.cursor()
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            cursor.execute(statement)
            rows = list(cursor.fetchall()) if cursor.description else []
        return rows


def stored(server: str, moment: datetime) -> datetime | str:
    """Return an aware time as the bare driver takes it; on SQLite as the text that Sequelize writes."""
    if server == "postgres":
        return moment
    naive = moment.astimezone(UTC).replace(tzinfo=None)
    return naive.isoformat(" ", "microseconds") + " +00:00" if server == "sqlite" else naive


def loaded(text: str) -> datetime:
    """Return the aware time that SQLite has as text."""
    return datetime.fromisoformat(text.replace(" +", "+"))


def load_average() -> float:
    return os.getloadavg()[0]
