"""Each change that a server makes is accepted by a live server, and its reversal restores the table."""

import contextlib

import peewee
import pytest

from engagement_db import servers, tables
from engagement_db.orm.urls import open_database
from engagement_db.servers.driver import execute

KEY = tables.ForeignKey("claims_parent_fkey", "parent", "parents", "SET NULL")
INDEX = tables.Index("claims_parent", ("parent",))
CHECK = tables.Check("claims_word_check", '"word" <> \'100%\' AND "word" <> \'"\'')
PARENT = tables.Column("parent", tables.Integer(), null=True)
MOOD = tables.Column("mood", tables.Enum(("good", "it's")), default="good")
WIDER = tables.Column("mood", tables.Enum(("good", "it's", "100%")), default="good")
SHAPE = tables.Table("claims", (tables.Column("id", tables.Id()), tables.Column("word", tables.Varchar(9)), MOOD))


@pytest.fixture
def live(url):
    """A connected database with a table to change and one to refer to."""
    database = open_database(url)
    with database.connection_context():
        server = servers.of(database)
        for shape in (tables.Table("parents", SHAPE.columns[:1]), SHAPE):
            for statement in server.create_statements(shape):
                execute(database, statement)
        yield database


@pytest.fixture
def change(live):
    """Execute changes, and return the table that they leave."""

    def make(changes):
        for item in changes:
            with live.atomic() if live.param == "?" else contextlib.nullcontext():
                for statement in (*item.before, item.statement, *item.after):
                    execute(live, statement)
            if item.violations_query:
                assert list(execute(live, item.violations_query).fetchall()) == []
        return servers.read(live).table("claims")

    return make


def test_a_table_is_read_as_it_was_declared(live, change):
    assert change([]) == SHAPE


def test_a_column_with_its_key_and_index_is_added_and_dropped(live, change):
    server = servers.of(live)
    change(server.add_column("claims", PARENT, KEY))
    change(server.add_index("claims", INDEX, None))
    found = change(server.add_key("claims", KEY, None))
    assert (found.columns[-1], found.index(INDEX.name), found.foreign_key("parent")) == (PARENT, INDEX, KEY)
    assert change(server.drop_column("claims", "parent", index=INDEX.name, key=KEY.name)) == SHAPE


def test_an_index_is_added_and_dropped(live, change):
    server = servers.of(live)
    index = tables.Index("claims_word_mood", ("word", "mood"), unique=True)
    assert change(server.add_index("claims", index, None)).indexes == (index,)
    assert change(server.add_index("claims", index, index)).indexes == (index,)
    assert change(server.drop_index("claims", index.name)) == SHAPE


def test_a_check_is_added_and_dropped(live, change):
    server = servers.of(live)
    found = change(server.add_check("claims", CHECK, None))
    assert found.checks == (CHECK,)
    assert list(server.add_check("claims", CHECK, found.checks[0])) == []
    for word in ("100%%", '"') if live.param == "%s" else ("100%", '"'):
        with pytest.raises((peewee.IntegrityError, peewee.OperationalError)):
            live.execute_sql(f"INSERT INTO claims (word) VALUES ('{word}')", None)
    assert list(server.drop_check_conflicts(servers.read(live), "claims", CHECK)) == []
    assert change(server.drop_check("claims", CHECK)) == SHAPE


def test_a_label_is_added_and_removed(live, change):
    server = servers.of(live)
    assert list(server.label_conflicts(servers.read(live), "claims", MOOD)) == []
    assert change(server.add_label("claims", MOOD, WIDER)).column("mood") == WIDER
    assert change(server.drop_label("claims", WIDER, MOOD)) == SHAPE


def test_dropping_a_table_leaves_nothing_of_it(live):
    server = servers.of(live)
    for statement in server.drop_statements(SHAPE):
        execute(live, statement)
    for statement in server.create_statements(SHAPE):
        execute(live, statement)
    assert servers.read(live).table("claims") == SHAPE


def test_a_key_that_was_not_validated_is_completed(live, change):
    server = servers.of(live)
    if server.adds_column_with_key:
        pytest.skip("a key comes with its column")
    change(server.add_column("claims", PARENT, None))
    change(server.add_index("claims", INDEX, None))
    first, *rest = server.add_key("claims", KEY, None)
    found = change([first])
    completing = list(server.add_key("claims", KEY, found.foreign_key("parent")))
    assert completing
    assert all(item in rest or item.is_read_only for item in completing)
    assert change(completing).foreign_key("parent") == KEY


def test_an_alteration_that_would_block_writes_is_refused(live, change):
    """MySQL and MariaDB are asked by name for a way that lets writes through."""
    server = servers.of(live)
    if not server.not_online_codes:
        pytest.skip("this server has no such way to name")
    execute(live, "CREATE TABLE texts (id INTEGER PRIMARY KEY, word VARCHAR(9), FULLTEXT (word))")
    with pytest.raises(peewee.DatabaseError):
        change(server.add_column("texts", PARENT, None))
