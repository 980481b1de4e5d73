"""Every message that docs/operating.md quotes is printed by a command, with that exit code."""

import re
import secrets
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from commands import engagement_db_command, run
from platform_database import execute, family, let_names_repeat, query, session
from servers import without_driver

import engagement_db as edb
from engagement_db import testing
from engagement_db.orm.urls import open_database
from engagement_db.schema.lock import hold_migration_lock

PAGE = (Path(__file__).parents[1] / "docs" / "operating.md").read_text("utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| (\d) \|", re.MULTILINE)
SCENARIOS = {}
pytestmark = pytest.mark.usefixtures("first_three")


def prints(message, *, on=("sqlite", "postgres", "mariadb", "mysql")):
    """Register what makes a command print this message of the page."""

    def register(scenario):
        SCENARIOS[message] = scenario, on
        return scenario

    return register


def command(url, verb, *options):
    return run(engagement_db_command(verb, url, *options))


def migrated(url):
    ended = command(url, "migrate", "--stand-ins")
    assert ended.code == 0, ended.words
    return ended


def bound(url):
    database = open_database(url)
    return database, edb.bind_ctx(database)


@prints("the platform's table users is missing")
def without_the_platform(url):
    return command(url, "migrate")


@prints("no database is named")
def without_a_name(url):
    return run(["engagement-db", "migrate", "--require-url"])


@prints("or name another database with --database.", on=["sqlite"])
def without_a_file(url):
    return command(f"{url}.lost", "status")


@prints("the database reported: …")
def without_a_server(url):
    place = "sqlite:////no/such/folder/shop.db" if family(url) == "sqlite" else url.replace("@127.0.0.1", "@127.0.0.2")
    return command(re.sub(r"(127\.0\.0\.2):\d+", r"\1:1", place), "migrate", "--stand-ins")


@prints("another process is migrating this database; waited … s")
def while_another_deployer_works(url):
    with closing(open_database(url)) as database, hold_migration_lock(database):
        return command(url, "migrate", "--stand-ins", "--lock-timeout", "0.2")


@prints("another transaction kept a table locked for … s", on=["postgres", "mariadb", "mysql"])
def while_a_transaction_is_open(url):
    migrated(url)
    assert command(url, "rollback").code == 0
    with session(url) as other:
        other.ask("BEGIN")
        other.ask("INSERT INTO projects (title) VALUES ('open')")
        other.ask("SELECT * FROM projects")
        return command(url, "migrate", "--lock-timeout", "0.5")


@prints("is applied but not known to this version of the code.")
def with_a_newer_database(url):
    migrated(url)
    execute(url, "INSERT INTO migratehistory (name, migrated_at) VALUES ('999_later', '2026-01-01 00:00:00')")
    return command(url, "migrate")


@prints("is recorded more than once in migratehistory.")
def recorded_twice(url):
    migrated(url)
    let_names_repeat(url)
    execute(url, "INSERT INTO migratehistory (name, migrated_at) SELECT name, migrated_at FROM migratehistory")
    return command(url, "migrate")


@prints("cannot be applied; nothing was changed:")
def with_something_in_the_way(url):
    migrated(url)
    assert command(url, "rollback", "--to", "2").code == 0
    execute(url, 'ALTER TABLE projects ADD COLUMN "ownerId" VARCHAR(20)')
    return command(url, "migrate")


@prints("would delete … Nothing was changed.")
def rolled_back_with_rows(url):
    migrated(url)
    database, binding = bound(url)
    with database.connection_context(), binding:
        testing.make_project().assign_owner(testing.make_user())
    return command(url, "rollback", "--to", "2")


@prints("as after an interrupted run.")
def rolled_back_after_an_interruption(url):
    migrated(url)
    execute(url, "DELETE FROM migratehistory WHERE name >= '003'")
    return command(url, "rollback", "--discard-rows")


@prints("… pending, 0 unknown.")
def with_pending_revisions(url):
    assert command(url, "migrate", "--stand-ins", "--to", "2").code == 0
    return command(url, "status")


@prints("but the tables are not as these left them")
def recorded_without_its_table(url):
    migrated(url)
    execute(url, "DROP TABLE feed_shares")
    return command(url, "migrate")


@prints("… actionable difference")
def changed_by_hand(url):
    migrated(url)
    execute(
        url,
        "DROP INDEX escrow_accounts_status" + (" ON escrow_accounts" if family(url) in ("mariadb", "mysql") else ""),
    )
    return command(url, "check")


@prints("… in rows.")
def with_a_wrong_balance(url):
    migrated(url)
    database, binding = bound(url)
    with database.connection_context(), binding:
        testing.make_account()
    execute(url, 'UPDATE escrow_accounts SET "currentBalance" = 5')
    return command(url, "check", "--rows")


@prints("its sequence gives … next, and rows have ids up to …", on=["postgres"])
def with_a_sequence_that_lags(url):
    migrated(url)
    execute(url, "INSERT INTO users (id, \"firstName\", \"lastName\", email) VALUES (1, '', '', '')")
    execute(url, "INSERT INTO feed_posts (id, \"userId\", content) VALUES (1, 1, 'copied')")
    return command(url, "check")


@prints("… released, … failed.")
def with_a_payment_that_cannot_be_released(url):
    migrated(url)
    database, binding = bound(url)
    with database.connection_context(), binding:
        testing.make_transaction(status=edb.TransactionStatus.IN_ESCROW).edit(scheduled_release_at=edb.now())
    execute(url, 'UPDATE escrow_accounts SET "currentBalance" = 0')
    return command(url, "release-due")


@prints("this session is read-only", on=["postgres"])
def on_a_standby(url):
    return command(f"{url}?options=-c%20default_transaction_read_only%3Don", "migrate")


@prints("cannot create tables in …; run GRANT … TO …", on=["postgres", "mariadb", "mysql"])
def without_the_right(url):
    assert command(url, "migrate", "--stand-ins", "--to", "1").code == 0
    login = f"reader_{secrets.token_hex(4)}"
    place = url.replace(urlsplit(url).netloc.rpartition("@")[0] + "@", f"{login}:aVerySecretWord@")
    is_postgres = family(url) == "postgres"
    kind, words = ("ROLE", "LOGIN PASSWORD") if is_postgres else ("USER", "IDENTIFIED BY")
    execute(url, f"CREATE {kind} {login} {words} 'aVerySecretWord'")
    try:
        whole = "ALL TABLES IN SCHEMA public" if is_postgres else "*"
        execute(url, f"GRANT SELECT ON {whole} TO {login}")
        return command(place, "migrate")
    finally:
        if is_postgres:
            execute(url, f"DROP OWNED BY {login}")
        execute(url, f"DROP {kind} {login}")


def test_every_message_of_the_page_is_tried():
    rows = [message for message, _ in ROW.findall(PAGE)]
    assert len(rows) == len(set(rows))
    assert set(rows) == set(SCENARIOS)


@pytest.mark.parametrize("message", SCENARIOS)
def test_a_message_is_printed_with_its_exit_code(url, message):
    scenario, on = SCENARIOS[message]
    if family(url) not in on:
        pytest.skip(f"{family(url)} does not print this")
    ended = scenario(url)
    pattern = ".+".join(map(re.escape, message.split("…")))
    assert re.search(pattern, ended.words), ended.words
    assert ended.code == int(dict(ROW.findall(PAGE))[message]), ended.words
    assert "Traceback" not in ended.words
    assert "aVerySecretWord" not in ended.words


def filled(url):
    migrated(url)
    database, binding = bound(url)
    with database.connection_context(), binding:
        for _ in range(3):
            testing.make_event()
            testing.make_comment()


def test_old_entries_of_the_log_may_be_deleted(url):
    filled(url)
    (statement,) = re.findall(r"```sql\n(DELETE FROM feed_activity_logs .*?);\n", PAGE)
    execute(url, statement.replace("2026-01-01", "2999-01-01"))
    assert query(url, "SELECT COUNT(*) FROM feed_activity_logs") == [(0,)]
    assert command(url, "check", "--rows").code == 0


def restore(url, copy):
    """Dump one database and read it into another, as docs/operating.md says."""
    place = urlsplit(url)
    if family(url) == "sqlite":
        execute(url, f"VACUUM INTO '{copy.removeprefix('sqlite:///')}'")
        return
    if family(url) == "postgres":
        dump, read = ["pg_dump", "--no-owner", without_driver(url)], ["psql", "-q", "-v", "ON_ERROR_STOP=1"]
        read.append(without_driver(copy))
    else:
        login = ["--skip-ssl", f"-h{place.hostname}", f"-P{place.port}", f"-u{place.username}"]
        dump = ["mariadb-dump", *login, "--single-transaction", place.path[1:]]
        read = ["mariadb", *login, urlsplit(copy).path[1:]]
    for program in (dump[0], read[0]):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; the server's packages have it")
    dumped = subprocess.run(dump, check=False, capture_output=True)
    if b"server version mismatch" in dumped.stderr:
        pytest.skip(f"this {dump[0]} is older than the server, and refuses it")
    assert dumped.returncode == 0, dumped.stderr
    subprocess.run(read, check=True, input=dumped.stdout, capture_output=True)


def test_a_restored_backup_is_complete_and_takes_new_rows(server, url):
    filled(url)
    copy = server.create_database()
    try:
        restore(url, copy)
        for verb in (["status"], ["check", "--rows"]):
            ended = command(copy, *verb)
            assert ended.code == 0, ended.words
        database, binding = bound(copy)
        with database.connection_context(), binding:
            testing.make_event()
            testing.make_comment()
            assert edb.find_problems() == []
    finally:
        server.drop_database(copy)
