"""From every state that a database may start in, doing what the last message says leads to a schema that matches."""

import os
import re

import pytest
from click.testing import CliRunner
from independent_catalog import definitions, history, rows
from platform_database import family, session
from start_states import ALL, MYSQL, with_values

import engagement_db as edb
from engagement_db.cli import main

EVERY_POINT = bool(os.environ.get("ENGAGEMENT_DB_EVERY_POINT"))
MOST_COMMANDS = 12
TABLES = tuple(model._meta.table_name for model in edb.MODELS)
pytestmark = pytest.mark.usefixtures("first_three")


def run(url, command):
    """The exit code and the output of `engagement-db`."""
    result = CliRunner().invoke(main, [*command.split(), "--database", url])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


def advice(output):
    """What the output says to do, in its order: statements (they end in a semicolon) and commands."""
    found = []
    for line in output.splitlines():
        if line.startswith("    "):
            found.append(line.strip())
        elif line.lstrip().startswith("- "):
            found += [f"{remedy};" for remedy in re.findall(r"[;,] run ((?:ALTER|CREATE|GRANT|SELECT) .*)", line)]
        else:
            found += re.findall(r"`engagement-db ([^`]+)`", line)
    return found


def follow(url, state, advised):
    """Run the statements, in one session, and the commands but for the last command, which is returned."""
    *before, last = advised
    with session(url) as person:
        for each in before:
            if not each.endswith(";"):
                code, output = run(url, each)
                assert code == 0, output
                continue
            statement = with_values(each.removesuffix(";"), state.values)
            person.ask(statement)
            if each.startswith("INSERT"):
                copy_the_rest(person, statement)
    return last


def copy_the_rest(person, statement):
    """Repeat a statement that copies a batch until it copies no row."""
    table = re.match(r"INSERT INTO (\S+)", statement)[1]
    count = f"SELECT COUNT(*) FROM {table}"
    copied = None
    while copied != (copied := person.ask(count)):
        person.ask(statement)


def ids(url):
    """The ids of the rows of each table, of the library's and of the platform's."""
    return {table: sorted(row[0] for row in found) for table, found in rows(url).items() if table in TABLES}


@pytest.mark.parametrize("state", ALL, ids=lambda state: state.name)
def test_doing_what_the_last_message_says_ends_in_a_schema_that_matches(url, state):
    said = walk(url, state, "adopt")
    for words in state.said:
        assert words in said


@pytest.mark.parametrize("state", [state for state in ALL if state.blocks_migrate], ids=lambda state: state.name)
def test_starting_with_migrate_ends_in_a_schema_that_matches(url, state):
    if family(url) != "sqlite" and not EVERY_POINT:
        pytest.skip("after the first command everything is as in the test above")
    walk(url, state, "migrate")


def taken_by_the_other_of_mysql(state):
    """The one of MySQL and MariaDB that leaves this state to the other."""
    shared = [each for each in ALL if {*MYSQL} <= {*each.servers}]
    return MYSQL[shared.index(state) % 2] if state in shared else None


def walk(url, state, command):
    """Start with the command, and do what each message says until nothing is left to do."""
    if family(url) not in state.servers:
        pytest.skip("this server has no such state")
    if family(url) == taken_by_the_other_of_mysql(state) and not EVERY_POINT:
        pytest.skip("MySQL and MariaDB take in turns the states that both have; ENGAGEMENT_DB_EVERY_POINT=1 takes all")
    state.make(url)
    before, been, said = ids(url), [], ""
    for _ in range(MOST_COMMANDS):
        place = (command, repr((definitions(url), rows(url), history(url))))
        assert place not in been, f"`{command}` leads back to where it was"
        been.append(place)
        code, output = run(url, command)
        said += output
        advised = advice(output)
        if "run the same command again" in output or "Run the platform's own migrations" in output:
            if not advised:
                state.cured(url)
            advised = [*advised, command]
        elif advised and advised[-1].endswith(";"):
            advised = [*advised, command]
        if code == 0 and not advised:
            if command == "check":
                break
            advised = ["check"]
        assert advised, f"`{command}` ends with {code} and does not say what to do:\n{output}"
        command = follow(url, state, advised)
    else:
        pytest.fail(f"{MOST_COMMANDS} commands later `{command}` is still to be run")
    after = ids(url)
    assert {table: found for table, found in before.items() if after[table] != found and table not in state.loses} == {}
    assert sorted(history(url)) == ["001_feed_engagement", "002_trust_payments", "003_add_project_owner"]
    return said
