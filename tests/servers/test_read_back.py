"""What the catalog reads back is what the database does: what only resembles a declared object is another."""

import peewee
import pytest

from engagement_db import servers, tables
from engagement_db.schema.compare import Kind, differences
from engagement_db.schema.execute import Run
from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import add_check
from engagement_db.servers import ddl
from engagement_db.servers.driver import execute

DEFAULTS = ["NULL", "nullable", "now()", "CURRENT_TIMESTAMP", "'quoted'", "it's", "a::b", "(x)", "back\\slash", "", "ü"]


def read(live, name):
    return servers.read(live).table(name)


def kinds(declared, live):
    return [difference.kind for difference in differences(declared, read(live, declared.name))]


def test_a_declared_text_default_is_read_back_as_it_is(live):
    words = [tables.varchar(f"word{number}", 60, default=default) for number, default in enumerate(DEFAULTS)]
    declared = tables.table("noted", tables.key(), *words)
    execute(live, ddl.create_table(servers.of(live), declared))
    assert list(differences(declared, read(live, "noted"))) == []


def test_a_default_that_starts_with_a_literal_is_not_that_literal(live):
    joined, doubled = {
        "postgresql": ("'a' || 'b'", "(1::numeric + 1)"),
        "sqlite": ("'a' || 'b'", "(1 + 1)"),
    }.get(servers.of(live).name, ("concat('a', 'b')", "(1 + 1)"))
    execute(
        live,
        "CREATE TABLE noted (id INTEGER PRIMARY KEY, "
        f"word VARCHAR(9) DEFAULT ({joined}), amount DECIMAL(18,4) DEFAULT {doubled})",
    )
    declared = tables.Table(
        "noted", (tables.varchar("word", 9, null=True, default="a"), tables.money("amount", null=True, default=1))
    )
    assert kinds(declared, live).count(Kind.DEFAULT) == 2


def test_a_default_that_computes_null_by_name_is_not_missing(live):
    execute(live, "CREATE TABLE noted (id INTEGER PRIMARY KEY, word VARCHAR(9) DEFAULT (nullif('a', 'b')))")
    assert read(live, "noted").column("word").default is not None


def test_a_check_that_is_not_enforced_is_not_validated(live):
    if servers.of(live).name != "mysql":
        pytest.skip("only MySQL has checks that are not enforced")
    execute(
        live,
        "CREATE TABLE noted (id INTEGER PRIMARY KEY, n INTEGER, CONSTRAINT noted_n_check CHECK (n > 0) NOT ENFORCED)",
    )
    declared = tables.Table("noted", (), checks=(tables.Check("noted_n_check", '"n" > 0'),))
    assert Kind.CHECK in kinds(declared, live)
    revision = Revision("004_rule", add_check("noted", tables.check("n", '"n" > 0')))
    revision.up(Run(live))
    assert read(live, "noted").check("noted_n_check") == declared.checks[0]
    with pytest.raises(peewee.DatabaseError):
        execute(live, "INSERT INTO noted VALUES (1, 0)")


def test_a_check_that_only_mentions_json_makes_no_json_column(live):
    if servers.of(live).name != "sqlite":
        pytest.skip("only on SQLite a check emulates the type beside others")
    checks = ('NOT json_valid("{}")', 'json_valid("{}") OR id > 0', "id <> 'json_valid(\"{}\")'")
    columns = [
        f"document{number} JSON CHECK ({check.format(f'document{number}')})" for number, check in enumerate(checks)
    ]
    execute(live, f"CREATE TABLE noted (id INTEGER PRIMARY KEY, {', '.join(columns)})")
    assert tables.Json() not in [column.type for column in read(live, "noted").columns]


def test_the_time_in_another_format_is_not_the_declared_default(live):
    if servers.of(live).name != "sqlite":
        pytest.skip("only SQLite stores a time as text")
    execute(live, "CREATE TABLE noted (id INTEGER PRIMARY KEY, at DATETIME DEFAULT (strftime('%s', 'now')))")
    assert read(live, "noted").column("at").default != tables.NOW


def test_an_index_of_another_kind_is_not_the_declared_index(live):
    execute(live, "CREATE TABLE noted (id INTEGER PRIMARY KEY, word VARCHAR(9))")
    create = {
        "postgresql": "CREATE INDEX noted_word ON noted USING hash (word)",
        "mysql": "CREATE FULLTEXT INDEX noted_word ON noted (word)",
        "mariadb": "CREATE FULLTEXT INDEX noted_word ON noted (word)",
        "sqlite": "CREATE INDEX noted_word ON noted (word) WHERE word IS NOT NULL",
    }
    execute(live, create[servers.of(live).name])
    declared = tables.Table("noted", (), indexes=(tables.Index("noted_word", ("word",)),))
    assert Kind.INDEX in kinds(declared, live)


def test_a_generated_column_is_not_the_declared_column(live):
    execute(
        live, "CREATE TABLE noted (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER GENERATED ALWAYS AS (a + 1) STORED)"
    )
    declared = tables.Table("noted", (tables.integer("a", null=True), tables.integer("b", null=True)))
    assert Kind.TYPE in kinds(declared, live)


def test_a_key_to_a_namesake_elsewhere_is_not_the_declared_key(live):
    if servers.of(live).name == "sqlite":
        pytest.skip("a key of SQLite cannot leave its file")
    kind = "SCHEMA" if servers.of(live).name == "postgresql" else "DATABASE"
    elsewhere = f"{live.database}_elsewhere"
    execute(live, f"CREATE {kind} {elsewhere}")
    try:
        for place in ("", f"{elsewhere}."):
            execute(live, f"CREATE TABLE {place}users (id INTEGER PRIMARY KEY)")
        execute(live, "CREATE TABLE noted (id INTEGER PRIMARY KEY, a INTEGER)")
        execute(
            live, f"ALTER TABLE noted ADD CONSTRAINT noted_a_fkey FOREIGN KEY (a) REFERENCES {elsewhere}.users (id)"
        )
        assert read(live, "noted").foreign_key("a").parent == f"{elsewhere}.users"
    finally:
        execute(live, "DROP TABLE IF EXISTS noted")
        execute(live, f"DROP TABLE IF EXISTS {elsewhere}.users")
        execute(live, f"DROP {kind} {elsewhere}")


def test_a_deferrable_key_is_not_the_declared_unique_index(live):
    if servers.of(live).name != "postgresql":
        pytest.skip("only PostgreSQL has unique keys that are checked at the commit, and then serve no ON CONFLICT")
    execute(live, "CREATE TABLE noted (id INTEGER, word TEXT, CONSTRAINT noted_word UNIQUE (word) DEFERRABLE)")
    declared = tables.Table("noted", (), indexes=(tables.Index("noted_word", ("word",), unique=True),))
    assert Kind.INDEX in kinds(declared, live)
