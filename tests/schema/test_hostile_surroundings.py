"""What surrounds a migration may be hostile: event triggers that refuse, a clock that goes backwards."""

import contextlib

import pytest
from commands import FIRST_THREE
from platform_database import execute, family

from engagement_db.errors import StepFailed
from engagement_db.orm.urls import open_database
from engagement_db.schema import runner
from engagement_db.schema.stub_tables import create_stub_tables

pytestmark = pytest.mark.usefixtures("first_three")


@pytest.fixture
def stubs(url):
    with contextlib.closing(open_database(url)) as database:
        create_stub_tables(database)
        yield database


@pytest.mark.parametrize("command", ["CREATE TYPE", "CREATE TABLE", "ALTER TABLE", "CREATE INDEX"])
def test_an_event_trigger_that_refuses_is_quoted_and_the_run_resumed_without_it(stubs, url, command):
    if family(url) != "postgres":
        pytest.skip("only PostgreSQL has event triggers")
    execute(
        url,
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'not today, says the guard'; END $$",
    )
    if command != "CREATE TYPE":
        runner.migrate(stubs, to=FIRST_THREE[1])
    if command == "CREATE TABLE":
        runner.rollback(stubs)
    execute(url, f"CREATE EVENT TRIGGER guard ON ddl_command_start WHEN TAG IN ('{command}') EXECUTE FUNCTION refuse()")
    with pytest.raises(StepFailed, match="not today, says the guard") as failed:
        runner.migrate(stubs)
    assert "run the same command again" in str(failed.value)
    execute(url, "DROP EVENT TRIGGER guard")
    runner.migrate(stubs)
    assert runner.status(stubs).applied == FIRST_THREE


def test_a_clock_that_went_backwards_changes_no_order(stubs, url):
    runner.migrate(stubs, to=FIRST_THREE[1])
    execute(url, f"UPDATE migratehistory SET migrated_at = '2090-01-01 00:00:00' WHERE name = '{FIRST_THREE[0]}'")
    assert runner.migrate(stubs) == FIRST_THREE[2:]
    assert runner.status(stubs).applied == FIRST_THREE
    assert runner.rollback(stubs) == FIRST_THREE[2:]
    assert runner.rollback(stubs) == (FIRST_THREE[1],)
