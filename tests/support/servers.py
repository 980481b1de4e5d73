"""The servers that the tests run on: SQLite, PostgreSQL, MariaDB and MySQL.

A server whose administrative URL is in `TEST_POSTGRES_URL`, `TEST_MARIADB_URL` or `TEST_MYSQL_URL` is used as
given. Otherwise a throwaway server is started from what is installed: on a free loopback port, in a folder of
its own, gone afterwards. Only a server that we started may be killed.
"""

import contextlib
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg2
import pymysql
import pytest

NAMES = ("sqlite", "postgres", "mariadb", "mysql")
MAY_BE_SKIPPED = ("mysql",)

START_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 60

# The tree's own users are unknown here; this is Debian's nobody, which owns nothing else in the tree.
USER_IN_MYSQL_TREE = (65534, 65534)

_database_numbers = itertools.count(1)


class Unavailable(Exception):
    """This machine cannot have the server; the message says why and what to do about it."""


class Process:
    """A server process of ours. However often it is started, it keeps its folder, its data and its port."""

    def __init__(self, folder: Path, initialize: list[str], run: list[str], stop_signal: signal.Signals) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._initialize = initialize
        self._run = run
        self._stop_signal = stop_signal
        self._initialized = False
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def start(self) -> None:
        with open(self.log, "ab") as log:
            if not self._initialized:
                made = subprocess.run(self._initialize, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                if made.returncode != 0:
                    raise RuntimeError(f"{self._initialize[-1]} could not be initialized:\n{self.last_words}")
                self._initialized = True
            # A session of its own: Ctrl-C reaches the tests, and they stop the server in their own time.
            self._popen = subprocess.Popen(
                self._run, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        if self._popen is None or not self.is_running:
            return
        self._popen.send_signal(self._stop_signal)
        try:
            self._popen.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        if self._popen is None or not self.is_running:
            return
        # A stopped parent starts no new child while the children are counted.
        self._popen.send_signal(signal.SIGSTOP)
        children = _children(self._popen.pid)
        self._popen.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._popen.wait()
        while any(_is_alive(child) for child in children):
            time.sleep(0.01)


class Server:
    """One database server. Databases made on it have names that no other session uses.

    `start` belongs in the main thread: a server ends when the thread that started it does, so that none
    outlives tests that were killed.
    """

    def __init__(self, name: str, url: str, process: Process | None) -> None:
        self.name = name
        self._url = url
        self._process = process

    @property
    def can_be_killed(self) -> bool:
        """Whether `kill` may be called: only on a server process that we started."""
        return self._process is not None

    @property
    def version(self) -> str:
        """What the running server calls itself, such as "15.18" or "10.11.19-MariaDB"."""
        raise NotImplementedError

    def create_database(self) -> str:
        """Make an empty database and return its URL."""
        raise NotImplementedError

    def drop_database(self, url: str) -> None:
        """Drop the database, whoever is still connected to it. One that is already gone is fine."""
        raise NotImplementedError

    def start(self) -> None:
        """The server answers, on the data and the port that it had before. A running one stays as it is."""
        if self._process is not None and not self._process.is_running:
            self._process.start()
        self._wait_until_it_answers()

    def stop(self) -> None:
        """The server has shut down in good order; a server that was given goes on."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """The server and all its processes are gone at once, with no chance to write anything."""
        assert self._process is not None, f"{self.name} was not started by the tests: it may not be killed"
        self._process.kill()

    def close(self) -> None:
        """The server is stopped and its folder removed."""
        self.stop()
        if self._process is not None:
            shutil.rmtree(self._process.folder, ignore_errors=True)

    def _ask(self, statement: str) -> list[Any]:
        raise NotImplementedError

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                self._ask("SELECT 1")
                return
            except (psycopg2.Error, pymysql.Error) as error:
                if self._process is None:
                    raise RuntimeError(
                        f"TEST_{self.name.upper()}_URL is set, but no such server answers: {error}. "
                        "Correct it, or unset it to have a throwaway server."
                    ) from None
                if not self._process.is_running or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} does not answer: {error}\n{self._process.last_words}") from None
            time.sleep(0.05)

    def _url_of(self, database: str) -> str:
        return urlsplit(self._url)._replace(path=f"/{database}").geturl()


class SQLiteServer(Server):
    """A folder in which each file is a database."""

    def __init__(self) -> None:
        super().__init__("sqlite", "", None)
        self._folder = Path(tempfile.mkdtemp(prefix="engagement-sqlite-"))

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

    def _ask(self, statement: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            return connection.execute(statement).fetchall()


class PostgresServer(Server):
    @property
    def version(self) -> str:
        return str(self._ask("SHOW server_version")[0][0]).split()[0]

    def create_database(self) -> str:
        database = _new_database_name()
        self._ask(f'CREATE DATABASE "{database}"')
        return self._url_of(database)

    def drop_database(self, url: str) -> None:
        self._ask(f'DROP DATABASE IF EXISTS "{_database_of(url)}" WITH (FORCE)')

    def _ask(self, statement: str) -> list[Any]:
        url = self._url if _database_of(self._url) else self._url_of("postgres")
        with contextlib.closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []


class MySQLServer(Server):
    """MySQL, or MariaDB: they are administered alike."""

    @property
    def version(self) -> str:
        return str(self._ask("SELECT VERSION()")[0][0])

    def create_database(self) -> str:
        database = _new_database_name()
        self._ask(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4")
        return self._url_of(database)

    def drop_database(self, url: str) -> None:
        database = _database_of(url)
        # DROP DATABASE waits for every transaction that has touched a table in it.
        for thread, _user, _host, used_database, *_rest in self._ask("SHOW FULL PROCESSLIST"):
            if used_database == database:
                with contextlib.suppress(pymysql.err.OperationalError):
                    self._ask(f"KILL {thread}")
        self._ask(f"DROP DATABASE IF EXISTS `{database}`")

    def _ask(self, statement: str) -> list[Any]:
        parts = urlsplit(self._url)
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


@contextlib.contextmanager
def running(name: str) -> Iterator[Server]:
    """The server of that name, answering; if it is ours, removed afterwards.

    Raises `Unavailable` when the server is not installed, and `RuntimeError` when it is but does not work.
    """
    server = _server(name)
    try:
        server.start()
        yield server
    finally:
        server.close()


def skip_or_fail(name: str, reason: Unavailable) -> NoReturn:
    """Only Debian unstable packages MySQL proper, so a machine may lack it. The others can always be had."""
    if name in MAY_BE_SKIPPED:
        pytest.skip(f"no {name}: {reason}")
    pytest.fail(f"no {name}: {reason}", pytrace=False)


def _server(name: str) -> Server:
    given = os.environ.get(f"TEST_{name.upper()}_URL", "")
    match name:
        case "sqlite":
            return SQLiteServer()
        case "postgres":
            return PostgresServer(name, given, None) if given else _throwaway_postgres()
        case "mariadb" | "mysql":
            if given:
                return MySQLServer(name, urlsplit(given)._replace(scheme=name).geturl(), None)
            return _throwaway_mariadb() if name == "mariadb" else _throwaway_mysql()
    raise ValueError(f"There is no server {name!r}; the tests know {', '.join(NAMES)}.")


# The throwaway servers stand in a time zone that nobody expects: a session that does not state its own is
# found out. They skip the waits for the disk, which matter when a machine stops, not when a server is killed.


def _throwaway_postgres() -> Server:
    binaries = _postgres_binaries()
    become_user = _become("postgres", signal.SIGINT)
    folder = _new_folder("postgres", "postgres")
    data = str(folder / "data")
    port = _free_port()
    initialize = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    run = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    run += ["-c", "fsync=off", "-c", "timezone=Asia/Kolkata"]
    process = Process(
        folder,
        [*become_user, str(binaries / "initdb"), *initialize, "-D", data],
        [*become_user, str(binaries / "postgres"), *run, "-D", data],
        signal.SIGINT,
    )
    return PostgresServer("postgres", f"postgresql://postgres@127.0.0.1:{port}", process)


def _throwaway_mariadb() -> Server:
    install = _program("mariadb-install-db", "mariadb-server")
    mariadbd = _program("mariadbd", "mariadb-server")
    become_user = _become("mysql", signal.SIGTERM)
    folder = _new_folder("mariadb", "mysql")
    data = f"--datadir={folder}/data"
    port = _free_port()
    # A tmpdir of its own too: a server that starts sweeps the one it has, whoever else's files lie there.
    initialize = [
        "--no-defaults",
        f"--tmpdir={folder}",
        "--auth-root-authentication-method=normal",
        "--skip-name-resolve",
        "--skip-test-db",
    ]
    process = Process(
        folder,
        [*become_user, install, *initialize, data],
        [*become_user, mariadbd, *_mysql_options(port), "--pid-file=pid", f"--tmpdir={folder}", data],
        signal.SIGTERM,
    )
    return MySQLServer("mariadb", f"mariadb://root@127.0.0.1:{port}", process)


def _throwaway_mysql() -> Server:
    tree = _mysql_tree()
    chroot = [
        _program("chroot", "coreutils"),
        str(tree),
        *_become(USER_IN_MYSQL_TREE, signal.SIGTERM),
        "/usr/sbin/mysqld",
    ]
    _remove_abandoned_folders(tree / "srv")
    folder = tree / "srv" / f"engagement-{os.getpid()}-{next(_database_numbers)}"
    folder.mkdir()
    root = folder / "root.sql"
    root.write_text("CREATE USER root@'127.0.0.1'; GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n")
    for path in (folder, root):
        os.chown(path, *USER_IN_MYSQL_TREE)
    seen_inside = Path("/srv") / folder.name
    data = f"--datadir={seen_inside}/data"
    port = _free_port()
    process = Process(
        folder,
        [*chroot, "--no-defaults", "--initialize-insecure", f"--init-file={seen_inside / root.name}", data],
        [*chroot, *_mysql_options(port), "--mysqlx=OFF", "--secure-file-priv=NULL", "--pid-file=pid", data],
        signal.SIGTERM,
    )
    return MySQLServer("mysql", f"mysql://root@127.0.0.1:{port}", process)


def _mysql_options(port: int) -> list[str]:
    return [
        "--no-defaults",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--socket=socket",
        "--skip-log-bin",
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-buffer-pool-size=64M",
        "--default-time-zone=+05:30",
    ]


def _mysql_tree() -> Path:
    """The Debian tree that holds MySQL proper, made by `tests/run`."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    tree = Path(os.environ.get("TEST_MYSQL_TREE") or Path(cache) / "engagement_db" / "mysql").resolve()
    if os.geteuid() != 0:
        raise Unavailable("it runs in a chroot, which only root may enter: run as root, or set TEST_MYSQL_URL")
    if not (tree / "usr" / "sbin" / "mysqld").exists():
        reason = os.environ.get("TEST_MYSQL_UNAVAILABLE") or "tests/run makes it; or set TEST_MYSQL_URL"
        raise Unavailable(f"there is no MySQL in {tree}: {reason}")
    return tree


def _postgres_binaries() -> Path:
    packaged = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest_first = sorted(packaged, key=lambda path: int(path.parts[4]), reverse=True)
    return newest_first[0].parent if newest_first else Path(_program("initdb", "postgresql")).resolve().parent


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise Unavailable(f"{name} is not installed: run tests/run, or install Debian's package {package}")
    return found


def _become(user: str | tuple[int, int], signal_at_our_end: signal.Signals) -> list[str]:
    """The start of a command that runs as `user`, since servers refuse root, and ends when the tests do."""
    command = ["setpriv", "--pdeathsig", signal_at_our_end.name.removeprefix("SIG")]
    if os.geteuid() != 0:
        return command
    uid, gid = _ids(user) if isinstance(user, str) else user
    return [*command, f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]


def _ids(user: str) -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise Unavailable(
            f"the server may not run as root, and there is no user {user} to run it: run tests/run"
        ) from None
    return entry.pw_uid, entry.pw_gid


def _new_folder(name: str, user: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"engagement-{name}-"))
    if os.geteuid() == 0:
        os.chown(folder, *_ids(user))
    return folder


def _remove_abandoned_folders(parent: Path) -> None:
    for folder in parent.glob("engagement-*"):
        if not _is_alive(int(folder.name.split("-")[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _new_database_name() -> str:
    return f"engagement_{os.getpid()}_{next(_database_numbers)}"


def _database_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _free_port() -> int:
    """A port below those that outgoing connections take, which could hold it while its server is down."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _children(parent: int) -> list[int]:
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _state(entry)[1] == str(parent)
    ]


def _is_alive(process: int) -> bool:
    return _state(Path("/proc") / str(process))[0] not in ("", "Z", "X")


def _state(process: Path) -> tuple[str, str]:
    """The one-letter state and the parent of a process; empty if it is gone."""
    try:
        state, parent, *_rest = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "", ""
    return state, parent
