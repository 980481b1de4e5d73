"""How long does a single-row write stall while revision 003 is applied and rolled back on a large, busy table?

Starts a throwaway server, fills `projects`, writes single rows at a steady rate from a process of its own and
measures each write: in a quiet window, then while a tool goes up, then while it goes down. One line per tool
and run. README.md tells how to run it and what came out.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pymysql

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

import servers  # noqa: E402

WRITERS = 4
USERS = 10_000
FIRST_ROWS = 1_000
HELD_ROW = 1
SETTLE_SECONDS = 5.0
# What a migration leaves behind, such as a checkpoint, counts as part of it.
AFTERMATH_SECONDS = 3.0

# The tests' servers have little memory, and skip the waits for the disk. The last of two options counts.
MEMORY = {
    "postgres": ["-c", "shared_buffers=1GB", "-c", "max_wal_size=2GB"],
    "mariadb": ["--innodb-buffer-pool-size=1G", "--innodb-log-file-size=1G"],
    "mysql": ["--innodb-buffer-pool-size=1G", "--innodb-redo-log-capacity=1G"],
}
WAIT_FOR_DISK = {
    "postgres": ["-c", "fsync=on"],
    "mariadb": ["--innodb-flush-log-at-trx-commit=1"],
    "mysql": ["--innodb-flush-log-at-trx-commit=1"],
}


@dataclass(frozen=True)
class Write:
    started: float
    seconds: float
    statement: str
    error: str


@dataclass(frozen=True)
class Window:
    """What the writers saw between two moments."""

    writes: int
    longest_milliseconds: float
    over_100_milliseconds: int
    errors: int
    duration_seconds: float
    longest: list[str]
    # When each write was sent, in seconds since the beginning, and how long it took, in milliseconds.
    every_write: list[tuple[float, float]]


def connect(url: str) -> Any:
    parts = urlsplit(url)
    if parts.scheme == "postgresql":
        connection = psycopg2.connect(url)
        connection.autocommit = True
        return connection
    return pymysql.connect(
        host=parts.hostname, port=parts.port, user=parts.username, database=parts.path[1:], autocommit=True
    )


def execute(connection: Any, statement: str, parameters: tuple[Any, ...] = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)


def next_write(url: str, rows: int) -> tuple[str, tuple[Any, ...]]:
    quote = '"' if url.startswith("postgresql") else "`"
    kind = random.random()
    if kind < 0.5:
        return (
            f"UPDATE projects SET title = %s, {quote}updatedAt{quote} = CURRENT_TIMESTAMP WHERE id = %s",
            (f"renamed {random.random()}", random.randint(HELD_ROW + 1, rows)),
        )
    if kind < 0.8:
        return "INSERT INTO projects (title, description) VALUES (%s, %s)", ("new", "n" * 100)
    columns = ", ".join(f"{quote}{name}{quote}" for name in ("firstName", "lastName", "email"))
    return f"INSERT INTO users ({columns}) VALUES (%s, %s, %s)", ("A", "B", f"{random.random()}@example.org")


def write_steadily(url: str, rows: int, writes_per_second: float, pipe: Connection) -> None:
    """The process of the writers: until told to stop, then sends every write."""
    stop = threading.Event()
    done: list[Write] = []

    def write() -> None:
        interval_seconds = WRITERS / writes_per_second
        connection = connect(url)
        due = time.monotonic() + random.uniform(0, interval_seconds)
        while not stop.wait(max(0.0, due - time.monotonic())):
            statement, parameters = next_write(url, rows)
            error = ""
            started = time.monotonic()
            try:
                execute(connection, statement, parameters)
            except (psycopg2.Error, pymysql.Error) as problem:
                error = str(problem).strip() or type(problem).__name__
            done.append(Write(started, time.monotonic() - started, " ".join(statement.split()[:3]), error))
            due = max(due + interval_seconds, time.monotonic())
        connection.close()

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    pipe.recv()
    stop.set()
    for thread in threads:
        thread.join()
    pipe.send(done)


def measured(url: str, options: argparse.Namespace, work: Callable[[], None]) -> Window:
    """Do `work` while rows are written; return what the writers saw from its beginning to its end and just after.

    Every write is kept if that is asked for, those in the seconds before included.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=write_steadily, args=(url, options.rows, options.writes_per_second, theirs))
    process.start()
    try:
        time.sleep(3)
        begun = time.monotonic()
        work()
        duration_seconds = time.monotonic() - begun
        time.sleep(AFTERMATH_SECONDS)
    finally:
        ours.send("stop")
        done = ours.recv()
        process.join()
    inside = [write for write in done if write.started + write.seconds >= begun]
    slowest = sorted(inside, key=lambda write: -write.seconds)[:4]
    return Window(
        len(inside),
        round(slowest[0].seconds * 1000, 1),
        sum(write.seconds > 0.1 for write in inside),
        sum(bool(write.error) for write in inside),
        round(duration_seconds, 2),
        [f"{w.seconds * 1000:.0f} ms at {w.started - begun:.1f} s, {w.statement} {w.error}".strip() for w in slowest],
        [(round(w.started - begun, 4), round(w.seconds * 1000, 2)) for w in done] if options.every_write else [],
    )


@contextlib.contextmanager
def long_transaction(url: str, seconds: float) -> Iterator[None]:
    """For `seconds`, somebody's open transaction holds a row of `projects`."""
    if not seconds:
        yield
        return
    connection = connect(url)
    execute(connection, "BEGIN")
    execute(connection, "UPDATE projects SET title = 'held' WHERE id = %s", (HELD_ROW,))
    timer = threading.Timer(seconds, lambda: execute(connection, "COMMIT"))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        connection.close()


def run(*command: str | Path, **environment: str) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")


def engagement_db(url: str, *arguments: str) -> None:
    run(Path(sys.executable).with_name("engagement-db"), *arguments, "--database", url)


def directions(tool: str, url: str, options: argparse.Namespace) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return how a tool goes up and down."""
    if tool.startswith("engagement_db"):
        online = ["--online"] if tool == "engagement_db_online" else []
        return lambda: engagement_db(url, "migrate"), lambda: engagement_db(url, "rollback", *online)
    if tool == "alembic":
        scheme, rest = url.split("://")
        driver = f"{scheme}+{'psycopg2' if scheme == 'postgresql' else 'pymysql'}://{rest}"
        command = (options.alembic, "-c", HERE / "peers" / "alembic" / "alembic.ini", "-x", f"url={driver}")
        return lambda: run(*command, "upgrade", "head"), lambda: run(*command, "downgrade", "base")
    script, modules = HERE / "peers" / "sequelize" / "migrate.js", options.sequelize / "node_modules"
    return (
        lambda: run("node", script, url, "up", NODE_PATH=str(modules)),
        lambda: run("node", script, url, "down", NODE_PATH=str(modules)),
    )


def fill(url: str, rows: int) -> None:
    """Make the platform and the first two revisions, with `rows` projects and some users."""
    import engagement_db.orm.urls
    from engagement_db.schema import stub_tables

    database = engagement_db.orm.urls.open_database(url)
    with database.connection_context():
        stub_tables.create_stub_tables(database)
    connection = connect(url)
    is_postgres = url.startswith("postgresql")
    quote = '"' if is_postgres else "`"
    names = ", ".join(f"{quote}{name}{quote}" for name in ("firstName", "lastName", "email"))
    for table, columns, values, total in (
        ("users", names, "'A', 'B', 'somebody@example.org'", USERS),
        ("projects", "title, description", f"'A project', '{'d' * 100}'", rows),
    ):
        first = ", ".join(f"({number}, {values})" for number in range(1, FIRST_ROWS + 1))
        execute(connection, f"INSERT INTO {table} (id, {columns}) VALUES {first}")
        count = FIRST_ROWS
        while count < total:
            more = min(count, total - count, 250_000)
            execute(
                connection,
                f"INSERT INTO {table} (id, {columns}) SELECT id + {count}, {columns} FROM {table} WHERE id <= {more}",
            )
            count += more
        if is_postgres:
            execute(connection, f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {total})")
            execute(connection, f"VACUUM ANALYZE {table}")
        else:
            execute(connection, f"ANALYZE TABLE {table}")
    if is_postgres:
        execute(connection, "CHECKPOINT")
    connection.close()


def restart(server: servers.Server, settings: list[str]) -> None:
    """Start a throwaway server again with more options on its command line."""
    if not settings:
        return
    if server._process is None:
        raise RuntimeError("the benchmark starts its own server; unset TEST_..._URL")
    server.stop()
    server._process._run += settings
    server.start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", choices=("postgres", "mariadb", "mysql"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--tools", nargs="+", default=["engagement_db"], help="engagement_db, engagement_db_online, alembic, sequelize"
    )
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--quiet-seconds", type=float, default=60)
    parser.add_argument("--writes-per-second", type=float, default=200)
    parser.add_argument("--server-option", action="append", default=[], help="one more word of its command line")
    parser.add_argument("--every-write", action="store_true", help="keep every write, for plot.py")
    parser.add_argument("--wait-for-disk", action="store_true", help="each commit reaches the disk")
    parser.add_argument(
        "--long-transaction-seconds", type=float, default=0, help="hold a row for so long as each way begins"
    )
    parser.add_argument("--alembic", type=Path, help="the alembic command of peers/requirements.txt")
    parser.add_argument("--sequelize", type=Path, help="a folder with node_modules of peers/sequelize/package.json")
    options = parser.parse_args()

    with servers.running(options.server) as server:
        restart(server, MEMORY[options.server] + (WAIT_FOR_DISK[options.server] if options.wait_for_disk else []))
        restart(server, options.server_option)
        url = server.create_database()
        fill(url, options.rows)
        engagement_db(url, "migrate", "--to", "002_trust_payments")
        measure = lambda work: measured(url, options, work)  # noqa: E731
        for number in range(1, options.runs + 1):
            for tool in options.tools:
                time.sleep(SETTLE_SECONDS)
                windows = {"quiet": measure(lambda: time.sleep(options.quiet_seconds))}
                for name, way in zip(("up", "down"), directions(tool, url, options), strict=True):
                    with long_transaction(url, options.long_transaction_seconds):
                        windows[name] = measure(way)
                    time.sleep(SETTLE_SECONDS)
                print(
                    json.dumps(
                        {
                            "server": f"{options.server} {server.version}",
                            "rows": options.rows,
                            "server_option": options.server_option,
                            "wait_for_disk": options.wait_for_disk,
                            "long_transaction_seconds": options.long_transaction_seconds,
                            "tool": tool,
                            "run": number,
                            "load_average": os.getloadavg()[0],
                            **{name: asdict(window) for name, window in windows.items()},
                        }
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()
