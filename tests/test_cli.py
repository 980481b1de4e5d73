"""The command `engagement-db`, as a person meets it: what it does, what it says, and how it ends."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import commands
import peewee
import pytest
import servers
from commands import FIRST_THREE, Ended, run
from independent_catalog import everything, unlike
from platform_database import execute, let_names_repeat

from engagement_db.orm.urls import open_database, shown_url
from engagement_db.schema import history, progress, script_files, stub_tables
from engagement_db.schema.execute import Run
from engagement_db.schema.lock import hold_migration_lock
from engagement_db.schema.revision import Revision
from engagement_db.schema.runner import error_message
from engagement_db.schema.steps import add_index
from engagement_db.tables import index

REVISIONS = script_files.names()
VERBS = ["migrate", "rollback", "status", "check", "sql"]
NOBODY_THERE = "postgresql://app:s3cret-word@127.0.0.1:1/platform"


@pytest.fixture
def platform_url(url: str) -> str:
    """A database with empty stub tables for the platform's tables."""
    with contextlib.closing(open_database(url)) as database:
        stub_tables.create_stub_tables(database)
    return url


@pytest.fixture
def first_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The revisions 001 to 003 are all that there are, for one test of many."""
    with commands.only_first_three(tmp_path_factory.mktemp("scripts")):
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def engagement_db(*arguments: str, **environment: str) -> Ended:
    return run(["engagement-db", *arguments], **environment)


def test_the_option_beats_the_environment_beats_the_embedded_file(folder: Path) -> None:
    for name in ("option", "environment"):
        with contextlib.closing(open_database(f"sqlite:///{name}.db")) as database:
            stub_tables.create_stub_tables(database)
    from_environment = {"DATABASE_URL": "sqlite:///environment.db"}

    by_option = engagement_db("migrate", "--database", "sqlite:///option.db", **from_environment)
    assert by_option.stdout.startswith("Migrating sqlite:///option.db\n"), by_option.words
    assert engagement_db("status", **from_environment).code == 1
    assert engagement_db("migrate", **from_environment).stdout.startswith("Migrating sqlite:///environment.db\n")
    assert not Path("engagement.db").exists()

    by_default = engagement_db("migrate")
    assert by_default.stdout.startswith("Migrating sqlite:///engagement.db, the embedded default (neither"), (
        by_default.words
    )
    assert engagement_db("check").code == 0
    assert {"users", "projects", "gigs"} <= set(peewee.SqliteDatabase("engagement.db").get_tables())


def test_stub_tables_are_created_in_the_embedded_file_only(folder: Path) -> None:
    ended = engagement_db("migrate", "--database", "sqlite:///engagement_of_mine.db")
    assert ended.code == 2
    assert "the platform's table users is missing" in ended.words


@pytest.mark.parametrize("options", [["--database", "sqlite:///misspelt.db"], ["--to", "9"]], ids=" ".join)
def test_a_migration_that_is_refused_leaves_no_file(folder: Path, options: list[str]) -> None:
    ended = engagement_db("migrate", *options)
    assert ended.code == 2
    assert ended.stdout.startswith("Migrating sqlite:///")
    assert list(folder.iterdir()) == []


def test_stub_tables_are_created_in_a_scratch_database_that_is_named(url: str) -> None:
    planned = engagement_db("migrate", "--dry-run", "--stand-ins", "--database", url)
    assert f"Would apply {len(REVISIONS)} revisions" in planned.stdout, planned.words
    done = engagement_db("migrate", "--stand-ins", "--database", url)
    assert done.code == 0, done.words
    with contextlib.closing(open_database(url)) as database:
        assert {"users", "projects", "gigs"} <= set(database.get_tables())
    assert engagement_db("status", "--database", url).code == 0


@pytest.mark.usefixtures("first_three")
def test_a_run_prints_a_line_a_step_with_its_time(platform_url: str) -> None:
    ended = engagement_db("migrate", "--database", platform_url)
    assert ended.code == 0, ended.words
    first, *steps, last = ended.words.splitlines()
    assert first.startswith("Migrating ")
    assert [re.sub(r"\d+\.\d\d s$", "# s", line) for line in steps if "create table" in line] == [
        f"{revision}: create table {table}: # s"
        for revision, tables in (
            (
                FIRST_THREE[0],
                ["feed_posts", "feed_reactions", "feed_comments", "feed_shares", "feed_activity_logs"],
            ),
            (FIRST_THREE[1], ["escrow_accounts", "escrow_transactions", "dispute_cases", "dispute_events"]),
        )
        for table in tables
    ]
    assert last == f"Applied 3 revisions: {', '.join(FIRST_THREE)}."
    again = engagement_db("migrate", "--database", platform_url)
    assert (again.code, again.words.splitlines()[1:]) == (0, ["Nothing to apply."])


@pytest.mark.usefixtures("first_three")
def test_status_lists_applied_and_pending_revisions(platform_url: str) -> None:
    before = everything(platform_url)
    empty = engagement_db("status", "--database", platform_url)
    assert empty.code == 1
    assert empty.words.splitlines() == [
        f"Status of {shown_url(platform_url)}",
        *(f"[ ] {name}" for name in FIRST_THREE),
        "0 applied, 3 pending, 0 unknown.",
    ]
    assert unlike(before, everything(platform_url)) == {}, "reading creates nothing, not even the history table"

    assert engagement_db("migrate", "--database", platform_url, "--to", FIRST_THREE[1]).code == 0
    some = engagement_db("status", "--database", platform_url, "--json")
    assert some.code == 1
    assert json.loads(some.stdout) == {
        "applied": list(FIRST_THREE[:2]),
        "pending": [FIRST_THREE[2]],
        "unknown": [],
        "duplicates": [],
    }
    assert engagement_db("migrate", "--database", platform_url).code == 0
    assert engagement_db("status", "--database", platform_url).code == 0


@pytest.mark.usefixtures("first_three")
def test_an_inconsistent_history_is_reported_and_nothing_is_done(platform_url: str) -> None:
    assert engagement_db("migrate", "--database", platform_url, "--to", FIRST_THREE[1]).code == 0
    let_names_repeat(platform_url)
    with contextlib.closing(open_database(platform_url)) as database:
        for name, words in (
            (
                "004_from_the_future",
                "revision 004_from_the_future is applied but not known to this version",
            ),
            (FIRST_THREE[0], f"revision {FIRST_THREE[0]} is recorded more than once in migratehistory"),
        ):
            history.add(database, name)
            assert engagement_db("status", "--database", platform_url).code == 2
            for verb in ("migrate", "rollback", "sql"):
                ended = engagement_db(verb, "--database", platform_url)
                assert ended.code == 2
                assert words in ended.words
            execute(platform_url, "DELETE FROM migratehistory WHERE id > 2")
        history.remove(database, FIRST_THREE[0])
        ended = engagement_db("migrate", "--database", platform_url)
        assert ended.code == 0, "a row that was lost is written again, for what it stands for is there"
        assert sorted(history.applied_names(database)) == list(FIRST_THREE)


@pytest.mark.usefixtures("first_three")
def test_rollback_counts_rows_and_refuses_to_delete_them(platform_url: str) -> None:
    options = ["--database", platform_url]
    assert engagement_db("migrate", *options).code == 0
    execute(
        platform_url,
        "INSERT INTO users (\"firstName\", \"lastName\", email) VALUES ('Ada', 'Łovelace', 'ada@example.org')",
        "INSERT INTO projects (title, \"ownerId\") VALUES ('one', 1), ('two', NULL)",
        "INSERT INTO feed_posts (\"userId\", content) VALUES (1, 'one'), (1, 'two')",
    )
    before = everything(platform_url)
    refused = engagement_db("rollback", *options, "--count", "3")
    assert refused.code == 2
    assert "would delete 1 value of projects.ownerId, 2 rows of feed_posts. Nothing was changed." in refused.words
    assert "--discard-rows" in refused.words
    assert unlike(before, everything(platform_url)) == {}

    assert engagement_db("rollback", *options, "--to", FIRST_THREE[1]).code == 2
    done = engagement_db("rollback", *options, "--to", FIRST_THREE[1], "--discard-rows")
    assert (done.code, done.words.splitlines()[-1]) == (0, f"Rolled back {FIRST_THREE[2]}.")
    done = engagement_db("rollback", *options)
    assert (done.code, done.words.splitlines()[-1]) == (0, f"Rolled back {FIRST_THREE[1]}."), "no row of 002 is lost"
    assert engagement_db("rollback", *options).code == 2
    assert engagement_db("rollback", *options, "--discard-rows").code == 0
    assert engagement_db("rollback", *options).code == 2, "nothing is left to take back"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rollback", "--count", "1", "--to", REVISIONS[0]], "--count and --to are mutually exclusive"),
        (["rollback", "--count", "0"], "0 is not in the range x>=1"),
        (
            ["migrate", "--to", "nothing"],
            f'unknown revision "nothing"; the revisions are {", ".join(REVISIONS)}',
        ),
        (["rollback", "--to", "9"], 'unknown revision "9"; the revisions are'),
        (["migrate", "--lock-timeout", "soon"], "'soon' is not a valid float"),
        (["migrate", "--database", "oracle://x/y"], "oracle"),
        *(([verb, "--database", NOBODY_THERE], "Error: ") for verb in VERBS),
        *(
            (
                [verb, "--database", "sqlite:///nothing.db"],
                "nothing.db does not exist. Run `engagement-db migrate --stand-ins`",
            )
            for verb in VERBS[1:]
        ),
    ],
)
def test_errors_are_a_single_message(arguments: list[str], words: str, folder: Path) -> None:
    if arguments[0] in ("migrate", "rollback") and "--database" not in arguments:
        with contextlib.closing(open_database("sqlite:///engagement.db")) as database:
            stub_tables.create_stub_tables(database)
    before = sorted(folder.iterdir())
    ended = engagement_db(*arguments)
    assert ended.code == 2
    assert words in ended.words
    assert "s3cret-word" not in ended.words
    assert "Traceback" not in ended.words
    assert len(ended.words.splitlines()) <= 4
    assert sorted(folder.iterdir()) == before, "a command that fails leaves no file"


def test_a_wrong_password_is_not_repeated(server: servers.Server, platform_url: str) -> None:
    if server.name in ("sqlite", "postgres"):
        pytest.skip("the throwaway PostgreSQL trusts everybody, and a file has no password")
    wrong = re.sub(r"//[^@]*@", "//root:s3cret-word@", platform_url)
    ended = engagement_db("migrate", "--database", wrong)
    assert ended.code == 2
    assert "Access denied" in ended.words
    assert "s3cret-word" not in ended.words


def test_an_error_number_that_another_server_uses_too_gives_no_advice(
    server: servers.Server, platform_url: str
) -> None:
    if server.name not in ("mysql", "mariadb"):
        pytest.skip("the codes of this server are not numbers that another server uses too")
    # On SQLite 1032 is a file that cannot be written.
    with contextlib.closing(open_database(platform_url)) as database, pytest.raises(peewee.PeeweeException) as raised:
        database.execute_sql("SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1032, MESSAGE_TEXT = 'no such record'")
    assert error_message(raised.value) == "the database reported: no such record"


def test_a_deployer_waits_no_longer_than_its_lock_timeout(server: servers.Server, platform_url: str) -> None:
    with contextlib.closing(open_database(platform_url)) as holder, hold_migration_lock(holder):
        ended = engagement_db("migrate", "--database", platform_url, "--lock-timeout", "0.2")
    assert ended.code == 2
    assert "another process is migrating this database; waited 0.2 s for the migration lock" in ended.words
    holder_named = {"sqlite": "another process writes to this file", "postgres": "backend "}.get(
        server.name, "connection "
    )
    assert holder_named in ended.words


def test_a_long_step_reports_progress(
    server: servers.Server, platform_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.01)
    hashed = "md5(id::text)" if server.name == "postgres" else "MD5(id)"
    # Which phase is caught is a matter of moments; each is named in the words of the server.
    phases = "initializing|waiting|building index|index validation" if server.name == "postgres" else ".*alter"
    told: list[str] = []
    with contextlib.closing(open_database(platform_url)) as database:
        if not Run(database).server.progress_sql:
            pytest.skip("the server has nothing to tell about a running statement")
        execute(platform_url, "INSERT INTO projects (title) VALUES ('one')")
        revision = Revision("004_titles", add_index("projects", index("title", "status", "createdAt")))
        # How many rows make a step long depends on the machine: double them until one is.
        for doublings in range(1, 24):
            execute(platform_url, f"INSERT INTO projects (title, description) SELECT title, {hashed} FROM projects")
            if doublings >= 14:
                revision.up(Run(database, told.append))
                if any(re.match(f"    ({phases})", line, re.IGNORECASE) for line in told):
                    return
                revision.down(Run(database, told.append))
    pytest.fail(f"no phase is named in {told}")


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_fits_the_screen_and_is_complete(arguments: list[str]) -> None:
    ended = engagement_db(*arguments)
    assert ended.code == 0
    assert all(len(line) <= 80 for line in ended.words.splitlines())
    assert "..." not in ended.words.replace("[ARGS]...", "")
    if arguments[0] in ("status", "check"):
        assert "0" in ended.words
        assert "Exit code" in ended.words


def test_the_version_and_the_module(folder: Path) -> None:
    version = engagement_db("--version")
    assert re.fullmatch(r"engagement-db, version \d+\.\d+\.\d+\n", version.stdout)
    as_module = subprocess.run(
        [sys.executable, "-m", "engagement_db.cli", "migrate"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert as_module.returncode == 0, as_module.stderr
    assert engagement_db("status").code == 0


# Which database


@pytest.mark.parametrize("verb", [*VERBS, "adopt"])
def test_each_command_names_server_host_and_database_before_it_connects(verb: str, folder: Path) -> None:
    ended = engagement_db(verb, "--database", NOBODY_THERE)
    assert ended.code == 2
    assert ended.words.splitlines()[0].endswith("postgresql://app:***@127.0.0.1:1/platform")


@pytest.mark.parametrize("verb", [*VERBS, "adopt"])
def test_a_missing_url_is_an_error_if_one_is_required(verb: str, folder: Path) -> None:
    for options, environment in (((verb, "--require-url"), {}), ((verb,), {"ENGAGEMENT_DB_REQUIRE_URL": "1"})):
        refused = engagement_db(*options, **environment)
        assert refused.code == 2, refused.words
        assert "no database is named: set DATABASE_URL or give --database." in refused.stderr
        assert list(folder.iterdir()) == []


def test_a_required_url_may_come_from_anywhere(folder: Path) -> None:
    required = {"ENGAGEMENT_DB_REQUIRE_URL": "1"}
    with contextlib.closing(open_database("sqlite:///named.db")) as database:
        stub_tables.create_stub_tables(database)
    assert engagement_db("migrate", "--database", "sqlite:///named.db", **required).code == 0
    named = {"DATABASE_URL": "sqlite:///named.db"}
    assert engagement_db("status", "--require-url", **named).code == 0
    assert engagement_db("migrate", ENGAGEMENT_DB_REQUIRE_URL="0").code == 0
    wrong = engagement_db("migrate", ENGAGEMENT_DB_REQUIRE_URL="maybe")
    assert (wrong.code, "ENGAGEMENT_DB_REQUIRE_URL='maybe' is neither 1 nor 0." in wrong.stderr) == (2, True)


def test_pw_migrate_requires_a_url_too_and_names_the_database(folder: Path) -> None:
    commands.copy_scripts(folder)
    refused = run(["pw_migrate", "migrate"], ENGAGEMENT_DB_REQUIRE_URL="1")
    assert refused.code == 1
    assert "no database is named" in refused.stderr
    assert not Path("engagement.db").exists()
    done = commands.pw_migrate(folder, "migrate")
    assert done.stdout.startswith("Database: sqlite:///engagement.db, the embedded default"), done.words


@pytest.mark.parametrize("program", ["engagement-db", "pw_migrate"])
def test_a_parameter_of_the_url_that_cannot_be_used_is_named(
    server: servers.Server, platform_url: str, folder: Path, program: str
) -> None:
    commands.copy_scripts(folder)
    mistyped = {
        "sqlite": ["timeout=abc", "bogus=1", "pragmas=abc"],
        "postgres": ["bogus=1", "connect_timeout=abc", "sslmode=abc"],
    }.get(server.name, ["ssl_ca=/no/such.pem", "timeout=abc", "bogus=1", "charset=nope", "read_timeout=-1"])
    for parameter in mistyped:
        result = run([program, "migrate", "--database", f"{platform_url}?{parameter}"])
        assert result.code == (2 if program == "engagement-db" else 1), result.words
        assert "Traceback" not in result.words
        assert len(result.stderr.splitlines()) == 1, result.words
        name, _, value = parameter.partition("=")
        assert name in result.stderr or value in result.stderr


# Output that cannot be written


def run_into(output: str, folder: Path, program: str, *arguments: str, errors: bool = False) -> Ended:
    """Run a command whose standard output (and error) is a full disk, a pipe that nobody reads, or closed."""
    redirection = {"full": ">/dev/full", "closed": ">&-", "unread": ""}[output]
    both = {"full": " 2>/dev/full", "closed": " 2>&-"}.get(output, "") if errors else ""
    script = f'"$0" "$@" {both} {redirection}'
    reader, writer = os.pipe()
    # The reader is gone before the first line is written.
    os.close(reader)
    done = subprocess.run(
        ["bash", "-c", script, str(Path(sys.executable).parent / program), *arguments],
        cwd=folder,
        # Unbuffered, a stream has nothing left that could fail once more at the end.
        env={name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "PYTHONUNBUFFERED")},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    os.close(writer)
    return Ended(done.returncode, "", done.stderr)


@pytest.mark.parametrize("output", ["full", "closed", "unread"])
@pytest.mark.parametrize("program", ["engagement-db", "pw_migrate"])
def test_a_migration_continues_if_its_progress_cannot_be_printed(folder: Path, program: str, output: str) -> None:
    commands.copy_scripts(folder)
    done = run_into(output, folder, program, "migrate")
    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert history_of("engagement.db") == list(REVISIONS)
    done = run_into(output, folder, program, "rollback", "--count", str(len(REVISIONS)))
    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert history_of("engagement.db") == []


def test_a_migration_continues_if_nothing_can_be_printed(folder: Path) -> None:
    done = run_into("full", folder, "engagement-db", "migrate", errors=True)
    assert done.code == 0
    assert history_of("engagement.db") == list(REVISIONS)


def history_of(file: str) -> list[str]:
    with contextlib.closing(open_database(f"sqlite:///{file}")) as database:
        return history.applied_names(database)


@pytest.mark.parametrize("verb", ["status", "check", "sql"])
def test_an_answer_that_cannot_be_written_is_an_error_in_words(folder: Path, verb: str) -> None:
    assert engagement_db("migrate").code == 0
    full = run_into("full", folder, "engagement-db", verb)
    assert full.code == 2
    assert full.stderr.splitlines()[-1] == "Error: cannot write standard output: No space left on device"
    unread = run_into("unread", folder, "engagement-db", verb)
    assert unread.code == 1
    assert "Traceback" not in full.stderr + unread.stderr


# Names, habits and colours


def test_a_revision_goes_by_name_or_number_in_both_directions(platform_url: str) -> None:
    for first in ("1", "001", REVISIONS[0]):
        up = engagement_db("migrate", "--database", platform_url, "--to", first)
        assert up.words.splitlines()[-1] == f"Applied {REVISIONS[0]}."
        assert engagement_db("migrate", "--database", platform_url, "--to", "2").code == 0
        down = engagement_db("rollback", "--database", platform_url, "--to", first)
        assert down.words.splitlines()[-1] == f"Rolled back {REVISIONS[1]}."
        nothing = engagement_db("migrate", "--database", platform_url, "--to", "0")
        assert nothing.words.splitlines()[-1] == "Nothing to apply."
        down = engagement_db("rollback", "--database", platform_url, "--to", "0" * len(first))
        assert down.words.splitlines()[-1] == f"Rolled back {REVISIONS[0]}."


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("001_feed", f"did you mean {REVISIONS[0]}?"),
        ("add_project_owner", f"did you mean {REVISIONS[2]}?"),
        ("99", f"the revisions are {', '.join(REVISIONS)}."),
    ],
)
@pytest.mark.parametrize("verb", ["migrate", "rollback"])
def test_an_unknown_revision_is_answered_with_similar_names(
    platform_url: str, verb: str, wrong: str, hint: str
) -> None:
    ended = engagement_db(verb, "--database", platform_url, "--to", wrong)
    assert ended.code == 2
    assert f'unknown revision "{wrong}"; {hint} Nothing was changed.' in ended.words


@pytest.mark.parametrize("name", ["001", "001_feed"])
def test_pw_migrate_applies_nothing_for_a_name_that_is_not_exact(folder: Path, name: str) -> None:
    commands.copy_scripts(folder)
    refused = commands.pw_migrate(folder, "migrate", "--name", name)
    assert refused.code == 1
    assert REVISIONS[0] in refused.stderr
    assert "Traceback" not in refused.words
    assert history_of("engagement.db") == []


def test_options_may_come_before_the_command(platform_url: str, folder: Path) -> None:
    assert engagement_db("--database", platform_url, "--lock-timeout", "5", "migrate").code == 0
    assert engagement_db("--database", platform_url, "status").code == 0
    assert engagement_db("--database", NOBODY_THERE, "status", "--database", platform_url).code == 0
    assert "no database is named" in engagement_db("--require-url", "migrate").words
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("arguments", [["-h"], *([verb, "-h"] for verb in VERBS)])
def test_the_short_option_prints_the_same_help(arguments: list[str]) -> None:
    assert engagement_db(*arguments).words == engagement_db(*arguments[:-1], "--help").words


def test_the_package_runs_as_the_command(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "engagement_db", "-h"], capture_output=True, text=True, check=True)
    assert done.stdout == engagement_db("-h").stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("engagement-db migrate --to 0", list(REVISIONS)),
        ("engagement-db rollback --to 002", [REVISIONS[1]]),
        ("engagement-db sql --dialect m", ["mariadb", "mysql"]),
        ("engagement-db new --step ta", ["table"]),
        ("engagement-db sta", ["status"]),
    ],
)
def test_the_shell_completes_revisions_dialects_and_commands(folder: Path, words: str, offered: list[str]) -> None:
    completed = engagement_db(
        _ENGAGEMENT_DB_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )
    assert [line.partition(",")[2] for line in completed.stdout.splitlines()] == offered, completed.words


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_follow_the_usual_variables(folder: Path, environment: dict[str, str], coloured: bool) -> None:
    result = engagement_db("migrate", **environment)
    assert result.stdout.startswith("\x1b[34m" if coloured else "Migrating")


# The dry run of a migration


@pytest.mark.usefixtures("first_three")
def test_a_dry_run_of_a_migration_prints_the_steps_and_changes_nothing(platform_url: str) -> None:
    before = everything(platform_url)
    planned = engagement_db("migrate", "--database", platform_url, "--dry-run")
    assert planned.code == 0
    assert unlike(before, everything(platform_url)) == {}
    done = engagement_db("migrate", "--database", platform_url)
    first, *steps, last = planned.words.splitlines()
    assert first.startswith("Dry run on ")
    assert steps == [line.rpartition(": ")[0] for line in done.words.splitlines()[1:-1]]
    assert last == f"Would apply 3 revisions: {', '.join(FIRST_THREE)}."
    again = engagement_db("migrate", "--database", platform_url, "--dry-run")
    assert (again.code, again.words.splitlines()[1:]) == (0, ["Nothing to apply."])


def test_a_dry_run_lists_what_is_already_applied(platform_url: str) -> None:
    assert engagement_db("migrate", "--database", platform_url, "--to", "2").code == 0
    execute(platform_url, "DELETE FROM migratehistory WHERE id = 2")
    planned = engagement_db("migrate", "--database", platform_url, "--dry-run", "--to", "2")
    assert [line.partition(": ")[2] for line in planned.words.splitlines()[1:-1]] == [
        f"create table {table} (already applied)"
        for table in ("escrow_accounts", "escrow_transactions", "dispute_cases", "dispute_events")
    ]
    assert planned.words.splitlines()[-1] == f"Would apply {REVISIONS[1]}."


def test_a_dry_run_refuses_what_the_migration_would_refuse(platform_url: str) -> None:
    execute(platform_url, 'ALTER TABLE projects ADD COLUMN "ownerId" VARCHAR(36)')
    before = everything(platform_url)
    planned = engagement_db("migrate", "--database", platform_url, "--dry-run")
    migrated = engagement_db("migrate", "--database", platform_url)
    assert planned.code == migrated.code == 2
    assert planned.words.splitlines()[1:] == migrated.words.splitlines()[1:]
    assert unlike(before, everything(platform_url)) == {}


def test_a_dry_run_creates_no_file(folder: Path) -> None:
    planned = engagement_db("migrate", "--dry-run")
    assert planned.code == 0
    assert "the file would be created" in planned.words
    assert planned.words.splitlines()[-1] == f"Would apply {len(REVISIONS)} revisions: {', '.join(REVISIONS)}."
    assert engagement_db("migrate", "--dry-run", "--database", "sqlite:///other.db").code == 2, "no users there"
    assert list(folder.iterdir()) == []
