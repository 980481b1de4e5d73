"""A migration asks the server for what it needs to know once, however far away the server is."""

import logging
from collections import Counter

import pytest

import engagement_db as edb
from engagement_db import servers
from engagement_db.schema import runner
from engagement_db.schema.stub_tables import create_stub_tables


@pytest.fixture
def asked(caplog):
    """What was sent to the server so far: each statement with its parameters."""
    caplog.set_level(logging.DEBUG, "peewee")

    def statements():
        return [str(record.msg) for record in caplog.records if record.name == "peewee"]

    return statements


def repeated(statements):
    return [statement for statement, times in Counter(statements).items() if times > 1]


def test_with_nothing_to_do_no_question_is_asked_twice(url, asked, caplog):
    database = edb.open_database(url)
    with database.connection_context():
        runner.migrate(database, prepare=create_stub_tables)
        caplog.clear()
        # The lock asks this again once it has waited.
        servers.of(database).shares_sessions(database)
        asked_by_lock = asked()
        caplog.clear()
        assert runner.migrate(database) == ()
    assert [statement for statement in repeated(asked()) if statement not in asked_by_lock] == []


def test_a_plan_asks_no_question_about_a_table_twice(url, asked, caplog):
    database = edb.open_database(url)
    with database.connection_context():
        create_stub_tables(database)
        caplog.clear()
        runner.migrate(database)
    before_any_change = asked()[: next(n for n, statement in enumerate(asked()) if "CREATE TABLE" in statement)]
    assert before_any_change
    assert [statement for statement in repeated(before_any_change) if "'projects'" in statement] == []
