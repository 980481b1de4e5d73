"""What is played on every cluster: deployers at once, deployers that stop half way, races for payments and accounts."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cluster_worker
import commands
import escrow
import peewee
from clusters import wait_until
from commands import Deployer, Ended, engagement_db_command, pw_migrate_command
from escrow_worker import DISPUTED
from independent_catalog import definitions, history
from ledger_race import assert_each_change_happened_once, assert_the_books_add_up, assert_trails_are_whole, lines_of
from platform_database import execute, query

import engagement_db as edb
from engagement_db.orm.urls import open_database
from engagement_db.schema import script_files
from engagement_db.schema.lease import Lease
from engagement_db.schema.stub_tables import create_stub_tables
from engagement_db.servers import Server
from engagement_db.testing import make_user

ROUNDS = 20 if os.environ.get("ENGAGEMENT_DB_EVERY_POINT") else 3
LEASE_SECONDS = 2.0
NO_OPERATION = ("!", "?", "~")
READS = 150
TIMEOUT_SECONDS = 240
_PR_SET_PDEATHSIG = 1


def make_platform(urls: Sequence[str]) -> None:
    """Make the platform's tables by the first URL, and wait until they are there by each."""
    with contextlib.closing(open_database(urls[0])) as database:
        create_stub_tables(database)
    for url in urls:
        wait_until(lambda url=url: "gigs" in " ".join(definitions(url)), f"{url} has the platform's tables")


# Deployers


def migrate(url: str, number: int = 0) -> list[str]:
    """Return the command that migrates: `engagement-db`, or for odd numbers `pw_migrate`."""
    return (engagement_db_command, pw_migrate_command)[number % 2]("migrate", url)


def migrate_at_once(urls: Sequence[str], count: int) -> list[Ended]:
    """Let so many deployers migrate one database by its URLs in turn, and wait for all."""
    started = [commands.start(migrate(urls[number % len(urls)], number)) for number in range(count)]
    return [deployer.wait() for deployer in started]


def assert_migrated(urls: Sequence[str]) -> None:
    """Each revision is recorded once, and the tables are the same by each URL and as they should be."""
    names = list(script_files.names())
    for url in urls:
        wait_until(lambda url=url: len(history(url)) >= len(names), f"{url} has the history")
        assert history(url) == names
        assert tables(url) == tables(urls[0])
    checked = commands.run(["engagement-db", "check", "--each", *urls])
    assert checked.code == 0, checked.words


def tables(url: str) -> str:
    """Return the tables as the server describes them, but for the next id, which is each node's own."""
    return re.sub(r" AUTO_INCREMENT=\d+", "", str(sorted(definitions(url).items())))


def assert_deployers_at_once_are_one(make_database: Callable[[], Sequence[str]], count: int) -> str:
    """Play the rounds; return what was seen, for the report."""
    for _ in range(ROUNDS):
        urls = make_database()
        make_platform(urls)
        ended = migrate_at_once(urls, count)
        assert [each.code for each in ended] == [0] * count, "\n".join(each.words for each in ended if each.code)
        assert_migrated(urls)
    return (
        f"{count} deployers at once, {ROUNDS} rounds: {ROUNDS * count} of {ROUNDS * count} exits 0, no history doubled"
    )


def struck(
    what: signal.Signals, *, before: str = "(?!)", after: str = "(?!)", silence_seconds: int = TIMEOUT_SECONDS
) -> Callable[[], None]:
    """Return what a deployer does first: it has a short lease, and gets a signal before or after such a statement."""

    def prepare() -> None:
        _shorten_lease()
        Server.silence_seconds = silence_seconds
        # A stopped one would outlive tests that are killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        execute_sql: Any = peewee.Database.execute_sql

        def send(self: peewee.Database, sql: str, *arguments: Any) -> Any:
            plain = re.sub('["`]', "", sql)
            if re.match(before, plain):
                os.kill(os.getpid(), what)
            result = execute_sql(self, sql, *arguments)
            if re.match(after, plain):
                os.kill(os.getpid(), what)
            return result

        peewee.Database.execute_sql = send  # type: ignore[method-assign]

    return prepare


def _shorten_lease() -> None:
    Lease.__init__.__defaults__ = (LEASE_SECONDS,)


def start_deployer(command: list[str], prepare: Callable[[], None] = _shorten_lease) -> Deployer:
    """Start a deployer whose lease is short."""
    return commands.start(command, prepare)


@contextlib.contextmanager
def stopped_after(pattern: str, command: list[str], silence_seconds: int = TIMEOUT_SECONDS) -> Iterator[Deployer]:
    """A deployer that is stopped after such a statement in the block, and continues after it."""
    deployer = start_deployer(command, struck(signal.SIGSTOP, after=pattern, silence_seconds=silence_seconds))
    try:
        os.waitid(os.P_PID, deployer.process, os.WSTOPPED)
        yield deployer
    finally:
        os.kill(deployer.process, signal.SIGCONT)


def assert_a_change_that_outlives_its_deployer_meets_no_other(urls: Sequence[str], other: str) -> None:
    """Kill a deployer while the server builds its index, and let the next one finish by the other URL."""
    assert commands.run(engagement_db_command("migrate", urls[0], "--to", "2")).code == 0
    execute(urls[0], "INSERT INTO users (firstName, lastName, email) VALUES ('Ada', '', 'ada@example.org')")
    execute(urls[0], "INSERT INTO projects (title) VALUES ('One')")
    # Enough rows that the build takes longer than the kill.
    execute(urls[0], *["INSERT INTO projects (title) SELECT title FROM projects"] * 19)
    deployer = start_deployer(migrate(urls[0]))
    is_built = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'ALTER TABLE `projects` ADD INDEX%'"
    wait_until(lambda: query(urls[0], is_built), "the index is being built", pause=0)
    deployer.kill()
    assert deployer.wait().code == commands.KILLED
    assert query(urls[0], is_built)
    ended = start_deployer(migrate(other)).wait()
    assert ended.code == 0, ended.words
    assert_migrated(urls)


# Races


@dataclass
class Race:
    """Processes that play one game, one or more by each URL."""

    processes: list[subprocess.Popen[bytes]]
    logs: list[Path]
    operations: int

    @property
    def lines(self) -> list[str]:
        """What all have written down."""
        return [line for log in self.logs for line in lines_of(log)]

    def wait_for_share(self, share: float) -> None:
        """Wait until this share of all operations is done."""
        wanted = share * self.operations * len(self.logs)
        wait_until(lambda: self._done(wanted), f"{wanted:.0f} operations are done", TIMEOUT_SECONDS)

    def _done(self, wanted: float) -> bool:
        assert all(process.poll() in (None, 0) for process in self.processes), "a process of the race has failed"
        return sum(not line.startswith(NO_OPERATION) for line in self.lines) >= wanted

    def finish(self) -> Counter[str]:
        """Wait for all; return how often each error was met, and how often which error was followed by a retry."""
        self.wait_for_share(1)
        assert [process.wait(TIMEOUT_SECONDS) for process in self.processes] == [0] * len(self.processes)
        return Counter(line.removeprefix("! ") for line in self.lines if line.startswith(NO_OPERATION))

    @property
    def changes(self) -> list[str]:
        """What the processes know to have changed."""
        return [line for line in self.lines if not line.startswith((*NO_OPERATION, "-"))]


@contextlib.contextmanager
def race(urls: Sequence[str], game: str, folder: Path, users: Sequence[int], operations: int) -> Iterator[Race]:
    """Let one process by each URL play so many operations; none outlives the block."""
    logs = [folder / f"{game}-{number}" for number in range(len(urls))]
    processes = [
        subprocess.Popen(
            [
                *(
                    sys.executable,
                    cluster_worker.__file__,
                    url,
                    game,
                    game if game == "accounts" else f"{game} {number}",
                ),
                *(str(operations), str(logs[number]), *map(str, users)),
            ]
        )
        for number, url in enumerate(urls)
    ]
    try:
        yield Race(processes, logs, operations)
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def bound(url: str) -> Iterator[peewee.Database]:
    """Bind the models to the database in the block."""
    with contextlib.closing(edb.open_database(url)) as database, database.connection_context(), edb.bind_ctx(database):
        yield database


def make_people(url: str, count: int) -> list[int]:
    """Make users with an account each, and return their ids."""
    with bound(url):
        users = [make_user() for _ in range(count)]
        for user in users:
            edb.EscrowAccount.open(user, "stripe")
        return [user.id for user in users]


def open_account(url: str, user: int, provider: str) -> int:
    """Open an account, and return how many there are."""
    with bound(url):
        edb.EscrowAccount.open(user, provider)
        return edb.EscrowAccount.select().count()


def make_disputed(url: str, users: Sequence[int]) -> list[str]:
    """Fund payments in the users' accounts, and return what changed."""
    with bound(url):
        for number in range(DISPUTED):
            home = edb.EscrowAccount.open(users[number % len(users)], "stripe")
            escrow.payment(home, number + 1, "0.5", reference=f"D{number}").fund()
    return [f"D{number} fund" for number in range(DISPUTED)]


def assert_money_is_right(url: str, changes: Sequence[str], unknown: int) -> int:
    """Every change took place once, and the books add up; return how many moves there were."""
    with bound(url):
        assert_trails_are_whole()
        assert_each_change_happened_once(changes, unknown)
        assert_the_books_add_up()
    return len(changes)


def assert_accounts_are_one_each(url: str) -> int:
    """No user has two accounts with one provider and currency; return how many accounts there are."""
    with bound(url):
        keys = [(account.user_id, account.provider, account.currency_code) for account in edb.EscrowAccount.select()]
    assert len(keys) == len(set(keys))
    return len(keys)


def assert_check_finds_nothing(urls: Sequence[str]) -> None:
    """Neither the tables nor the rows of any of these databases have a problem."""
    ended = commands.run(["engagement-db", "check", "--rows", "--each", *urls])
    assert ended.code == 0, ended.words


def assert_nothing_is_missed(primary: str, replica: str) -> str:
    """Read each row just after its commit; none is missed by a block that is up to date. Return the figures."""
    missed, seconds = {False: 0, True: 0}, {False: 0.0, True: 0.0}
    reader = edb.open_database(replica)
    with contextlib.closing(reader), reader.connection_context(), bound(primary), _writing(primary):
        for number in range(2 * READS):
            up_to_date = bool(number % 2)
            user = make_user()
            begun = time.monotonic()
            with edb.read_from(reader, up_to_date=up_to_date):
                missed[up_to_date] += edb.User.get_or_none(edb.User.id == user.id) is None
            seconds[up_to_date] += time.monotonic() - begun
    assert missed[True] == 0
    milliseconds = {key: 1000 * value / READS for key, value in seconds.items()}
    return (
        f"{missed[False]} of {READS} reads missed ({milliseconds[False]:.0f} ms), "
        f"0 with up_to_date ({milliseconds[True]:.0f} ms)"
    )


@contextlib.contextmanager
def _writing(url: str) -> Iterator[None]:
    """Two threads that write users all the while."""
    done = threading.Event()

    def write() -> None:
        with bound(url):
            while not done.is_set():
                make_user()

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def time_of(work: Callable[[], object]) -> float:
    """Return how many seconds the call took."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun
