"""The servers that the tests run on.

`NAMES` are the servers as the machine has them, `UNSTABLE_NAMES` those of Debian unstable. A server whose
administrative URL is in `TEST_<NAME>_URL` is used as given (`TEST_POSTGRES_URL`, `TEST_MARIADB_UNSTABLE_URL` and so
on). Otherwise a throwaway server is started: on a free loopback port, in a folder of its own, gone afterwards. Only a
server that we started may be killed. With `TEST_POSTGRES_DRIVER=psycopg` the library uses psycopg 3.
"""

import contextlib
import itertools
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg2
import pymysql
import pytest
from throwaway import InTreeOnly, Process, Unavailable, mariadb, mysql, postgres, roomy_folder

NAMES = ("sqlite", "postgres", "mariadb", "mysql")
UNSTABLE_NAMES = ("postgres-unstable", "mariadb-unstable")

START_TIMEOUT_SECONDS = 120

_database_numbers = itertools.count(1)


class Server:
    """One database server. Databases made on it have names that no other session uses.

    `start` belongs in the main thread: a server ends when the thread that started it does, so that none
    outlives tests that were killed.
    """

    # Has a row as soon as the server can be used.
    readiness: ClassVar = "SELECT 1"

    def __init__(self, name: str, url: str, process: Process | None) -> None:
        self.name = name
        self.url = url
        self._process = process
        self._answers = False

    @property
    def can_be_killed(self) -> bool:
        """Whether `kill` may be called: only on a server process that was started here."""
        return self._process is not None

    @property
    def version(self) -> str:
        """What the running server calls itself, such as "15.18" or "10.11.19-MariaDB"."""
        raise NotImplementedError

    def create_database(self) -> str:
        """Make an empty database and return its URL."""
        raise NotImplementedError

    def drop_database(self, url: str) -> None:
        """Drop the database, even if sessions are connected to it. It may be dropped already."""
        raise NotImplementedError

    def start(self) -> None:
        """The server answers, on the data and the port that it had before. A running one stays as it is."""
        if self._answers and (self._process is None or self._process.is_running):
            return
        if self._process is not None and not self._process.is_running:
            self._process.start()
        self._wait_until_it_answers()
        self._answers = True

    def stop(self) -> None:
        """Shut the server down in good order; a server that was given keeps running."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """The server and all its processes are gone at once, with no chance to write anything."""
        assert self._process is not None, f"{self.name} was not started by the tests: it may not be killed"
        self._process.kill()

    def standing_still(self) -> contextlib.AbstractContextManager[None]:
        """The server answers nobody in the block, neither clients nor other servers, as behind a broken network."""
        assert self._process is not None, f"{self.name} was not started by the tests"
        return self._process.standing_still()

    def close(self) -> None:
        """The server is stopped and its folder removed."""
        if self._process is not None:
            self._process.close()

    def ask(self, statement: str) -> list[Any]:
        raise NotImplementedError

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            error: Exception | str = f"{self.readiness} returns no row"
            try:
                if self.ask(self.readiness):
                    return
            except (psycopg2.Error, pymysql.Error) as raised:
                error = raised
            if self._process is None:
                raise RuntimeError(
                    f"{url_variable(self.name)} is set, but no such server answers: {error}. "
                    "Correct it, or unset it to have a throwaway server."
                ) from None
            if not self._process.is_running or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not answer: {error}\n{self._process.last_words}") from None
            time.sleep(0.05)

    def _url_of(self, database: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{database}").geturl()


class SQLiteServer(Server):
    """A folder in which each file is a database."""

    def __init__(self) -> None:
        super().__init__("sqlite", "", None)
        self._folder = Path(tempfile.mkdtemp(prefix=f"engagement-sqlite-{os.getpid()}-", dir=roomy_folder()))

    @property
    def version(self) -> str:
        return sqlite3.sqlite_version

    def create_database(self) -> str:
        return f"sqlite:///{self._folder / _new_database_name()}.db"

    def drop_database(self, url: str) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(url.removeprefix("sqlite:///") + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, statement: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            return connection.execute(statement).fetchall()


class PostgresServer(Server):
    @property
    def version(self) -> str:
        return str(self.ask("SHOW server_version")[0][0]).split()[0]

    def create_database(self) -> str:
        database = _new_database_name()
        self.ask(f'CREATE DATABASE "{database}"')
        scheme = "+".join(["postgresql", *os.environ.get("TEST_POSTGRES_DRIVER", "").split()])
        return urlsplit(self._url_of(database))._replace(scheme=scheme).geturl()

    def drop_database(self, url: str) -> None:
        self.ask(f'DROP DATABASE IF EXISTS "{_database_of(url)}" WITH (FORCE)')

    def ask(self, statement: str) -> list[Any]:
        url = self.url if _database_of(self.url) else self._url_of("postgres")
        with contextlib.closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []


class MySQLServer(Server):
    """MySQL, or MariaDB: they are administered alike."""

    def __init__(self, name: str, url: str, process: Process | None) -> None:
        super().__init__(name, url, process)
        # PyMySQL reads every authority that the machine trusts for each connection, and then verifies nothing: that
        # would take longer than most tests. Whatever the machine has set.
        os.environ["SSL_CERT_FILE"] = os.devnull

    @property
    def version(self) -> str:
        return str(self.ask("SELECT VERSION()")[0][0])

    def create_database(self) -> str:
        database = _new_database_name()
        self.ask(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4")
        return self._url_of(database)

    def drop_database(self, url: str) -> None:
        database = _database_of(url)
        # DROP DATABASE waits for every transaction that has touched a table in it.
        for thread, _user, _host, used_database, *_rest in self.ask("SHOW FULL PROCESSLIST"):
            if used_database == database:
                with contextlib.suppress(pymysql.err.OperationalError):
                    self.ask(f"KILL {thread}")
        self.ask(f"DROP DATABASE IF EXISTS `{database}`")

    def ask(self, statement: str) -> list[Any]:
        parts = urlsplit(self.url)
        options: dict[str, Any] = {
            key: int(value) if value.isdigit() else value for key, value in parse_qsl(parts.query)
        }
        connection = pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or "root"),
            password=unquote(parts.password or ""),
            autocommit=True,
            **options,
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())


def without_driver(url: str) -> str:
    """Return the URL as a client other than the library takes it."""
    return url.replace("+psycopg:", ":", 1)


@contextlib.contextmanager
def running(name: str) -> Iterator[Server]:
    """The server of that name, answering; if it was started here, removed afterwards.

    Raises `Unavailable` when the server is not installed, and `RuntimeError` when it is but does not work.
    """
    server = _server(name)
    try:
        server.start()
        yield server
    finally:
        server.close()


def skip_or_fail(name: str, reason: Unavailable) -> NoReturn:
    """Fail, but for a server that only a Debian tree has: only root can make and enter one."""
    if isinstance(reason, InTreeOnly):
        pytest.skip(f"no {name}: {reason}")
    pytest.fail(f"no {name}: {reason}", pytrace=False)


def url_variable(name: str) -> str:
    """The environment variable that may hold the URL of a running server of this name."""
    return f"TEST_{name.upper().replace('-', '_')}_URL"


def _server(name: str) -> Server:
    family, _, unstable = name.partition("-")
    given = os.environ.get(url_variable(name), "")
    match family:
        case "sqlite":
            return SQLiteServer()
        case "postgres":
            url, process = (given, None) if given else postgres(bool(unstable))
            return PostgresServer(family, url, process)
        case "mariadb" | "mysql":
            url, process = (given, None) if given else mysql() if family == "mysql" else mariadb(bool(unstable))
            return MySQLServer(family, urlsplit(url)._replace(scheme=family).geturl(), process)
    raise ValueError(f"There is no server {name!r}; the tests know {', '.join(NAMES + UNSTABLE_NAMES)}.")


def _new_database_name() -> str:
    return f"engagement_{os.getpid()}_{next(_database_numbers)}"


def _database_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
