"""Each fact about a server is a claim, and is checked against a live one."""

import contextlib
import threading
from datetime import UTC, datetime
from decimal import Decimal

import peewee
import pytest
from plans import plans_of, refresh_statistics

import engagement_db as edb
from engagement_db import servers, tables
from engagement_db.orm.urls import open_database
from engagement_db.servers import ddl
from engagement_db.servers.driver import error_code
from engagement_db.sql_tokens import literal

SHAPE = tables.table(
    "claims",
    tables.key(),
    tables.enum("mood", ["good", "bad"], default="good"),
    tables.varchar("word", 3, null=True),
    tables.money("amount", default=0),
    tables.time("at", default=tables.NOW),
    tables.json("document", null=True),
    tables.index("word"),
)


@pytest.fixture
def dialect(live):
    return servers.of(live)


@pytest.fixture
def claims(live, dialect):
    """A database with the table of claims."""
    for statement in dialect.create_statements(SHAPE):
        live.execute_sql(statement)
    return live


def one(database, sql, *parameters):
    return database.execute_sql(sql, parameters or None).fetchone()[0]


def refuses(database, sql, *parameters):
    """Whether the server refuses the statement."""
    with database.atomic() as transaction:
        try:
            database.execute_sql(sql, parameters or None)
        except peewee.DatabaseError:
            transaction.rollback()
            return True
        transaction.rollback()
    return False


@contextlib.contextmanager
def second_session(url):
    other = open_database(url)
    with other.connection_context():
        yield other


def test_it_is_the_dialect_of_this_server(server, live, dialect):
    assert dialect is servers.named(server.name)
    assert dialect.display_name.lower().startswith(server.name)
    assert isinstance(live, dialect.database_class)


def test_minimum_version_is_met(server, dialect):
    version = tuple(int(part) for part in server.version.split("-")[0].split("."))
    assert version >= dialect.minimum_version


def test_type_names_match_what_the_server_stores(claims, dialect):
    found = servers.read(claims).table("claims")
    assert [column.type for column in found.columns] == [column.type for column in SHAPE.columns]


def test_now_is_the_current_time_in_utc(claims, dialect):
    claims.execute_sql("INSERT INTO claims (word) VALUES (NULL)")
    read = edb.FeedPost.created_at.python_value(one(claims, f"SELECT {dialect.quoted('at')} FROM claims"))
    assert abs((read - datetime.now(UTC)).total_seconds()) < 60


def test_quote_keeps_any_name(live, dialect):
    name = f'a b"`{dialect.quote}c'
    live.execute_sql(f"CREATE TABLE quoted ({dialect.quoted(name).replace('%', '%%')} INTEGER)")
    assert [column.name for column in live.get_columns("quoted")] == [name]


def test_table_options_compare_text_by_its_bytes(claims):
    claims.execute_sql("INSERT INTO claims (word) VALUES ('ab')")
    for other in ("AB", "ab ", "áb"):
        assert one(claims, "SELECT COUNT(*) FROM claims WHERE word = " + literal(other)) == 0
    assert one(claims, "SELECT COUNT(*) FROM claims WHERE word = 'ab'") == 1


def test_is_file_based(server, dialect, url):
    assert dialect.is_file_based == url.startswith("sqlite:///")


def test_transactional_ddl(live, dialect):
    with live.atomic() as transaction:
        live.execute_sql("CREATE TABLE fleeting (id INTEGER)")
        transaction.rollback()
    assert live.table_exists("fleeting") != dialect.transactional_ddl


def test_casts_in_case(claims, dialect):
    update = "UPDATE claims SET mood = CASE id WHEN 1 THEN 'bad' WHEN 2 THEN 'good' END"
    assert refuses(claims, update) == dialect.casts_in_case


def test_assumes_even_spread(server, claims, dialect):
    for index in ("(at)", "(mood, at)"):
        claims.execute_sql(f"CREATE INDEX claims_{len(index)} ON claims {index.replace('at', dialect.quoted('at'))}")
    claims.execute_sql("INSERT INTO claims (mood) VALUES ('bad')")
    for mood in ["bad"] * 13 + ["good"]:
        claims.execute_sql(f"INSERT INTO claims (mood) SELECT '{mood}' FROM claims")
    refresh_statistics(server.name, claims, ["claims"])
    query = f"SELECT * FROM claims WHERE mood = 'bad' ORDER BY {dialect.quoted('at')} DESC LIMIT 5"
    (plan,) = plans_of(server.name, claims, lambda: claims.execute_sql(query).fetchall())
    assert (plan.rows_read > 2**13) == dialect.assumes_even_spread


def test_compares_bytes(live, dialect):
    texts = ["A", "a", "a-b", "a b", "ab", "aB", "a\u00e9", "a\U0001f600", "b", "\u00e9"]
    live.execute_sql("CREATE TABLE texts (said VARCHAR(9))")
    for text in texts:
        live.execute_sql(f"INSERT INTO texts VALUES ('{text}')")
    query = "SELECT said FROM texts WHERE said >= 'a' AND said < 'a\U0010ffff'"
    found = {said for (said,) in live.execute_sql(query).fetchall()}
    assert found == {text for text in texts if text.startswith("a")} or not dialect.compares_bytes


def test_emulates_enum_and_json(claims, dialect):
    assert (ddl.type_check(dialect, "claims", SHAPE.columns[1]) is not None) == dialect.emulates_enum_and_json
    assert refuses(claims, f"INSERT INTO claims (mood) VALUES ({literal('awful')})")
    assert refuses(claims, f"INSERT INTO claims (document) VALUES ({literal('{')})")
    assert not refuses(claims, f"INSERT INTO claims (document) VALUES ({literal('{}')})")
    if dialect.emulates_enum_and_json:
        claims.execute_sql("CREATE TABLE bare (mood TEXT, document TEXT)")
        assert not refuses(claims, "INSERT INTO bare VALUES ('awful', '{')")


def test_enforces_length(claims, dialect):
    assert refuses(claims, "INSERT INTO claims (word) VALUES ('long')") == dialect.enforces_length


def test_ignores_case_of_names(live, dialect):
    refused = pytest.raises(peewee.DatabaseError) if dialect.ignores_case_of_names else contextlib.nullcontext()
    with refused:
        live.execute_sql(f"CREATE TABLE claims ({dialect.quoted('word')} INTEGER, {dialect.quoted('Word')} INTEGER)")


def test_has_inline_indexes(live, dialect):
    statement = f"CREATE TABLE indexed (word VARCHAR(3), KEY {dialect.quoted('indexed_word')} (word))"
    assert refuses(live, statement) != dialect.has_inline_indexes


def test_builds_outside_transaction(claims, dialect):
    claims.execute_sql("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
    later = "ALTER TABLE claims ADD CONSTRAINT later FOREIGN KEY (id) REFERENCES parents (id) NOT VALID"
    assert refuses(claims, later) != dialect.builds_outside_transaction
    index = ddl.create_index(dialect, "claims", tables.Index("later", ("mood",)), concurrently=True)
    if dialect.builds_outside_transaction:
        claims.execute_sql(index)
    else:
        assert refuses(claims, index)


def test_adds_column_with_key(claims, dialect):
    claims.execute_sql("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
    before = servers.read(claims).table("claims")
    claims.execute_sql("ALTER TABLE claims ADD COLUMN parent INTEGER REFERENCES parents (id)")
    after = servers.read(claims).table("claims")
    if dialect.adds_column_with_key:
        assert after.foreign_key("parent").parent == "parents"
        assert after.columns[:-1] == before.columns
        assert after.indexes == before.indexes


def test_a_lock_that_is_not_granted_in_time_has_a_code_of_the_list(claims, dialect, url):
    with second_session(url) as other, claims.atomic(*dialect.begin):
        claims.execute_sql("INSERT INTO claims (word) VALUES ('a')")
        if dialect.lock_attempt_seconds is None:
            other.execute_sql("PRAGMA busy_timeout = 50")
        with (
            dialect.lock_timeout(other, dialect.lock_attempt_seconds or 0),
            pytest.raises(peewee.OperationalError) as refusal,
        ):
            other.execute_sql("DROP TABLE claims")
    assert error_code(refusal.value) in dialect.lock_timeout_codes


def test_has_exact_decimal(claims, dialect):
    long = Decimal("12345678901234.5678")
    claims.execute_sql(f"INSERT INTO claims (amount) VALUES ({long})")
    assert (Decimal(str(one(claims, "SELECT amount FROM claims"))) == long) == dialect.has_exact_decimal


def test_stores_time_as_text(claims, dialect):
    claims.execute_sql("INSERT INTO claims (word) VALUES (NULL)")
    read = one(claims, f"SELECT {dialect.quoted('at')} FROM claims")
    assert isinstance(read, str) == dialect.stores_time_as_text
    if not isinstance(read, str):
        assert isinstance(read, datetime)


def test_driver_parses_json(claims, dialect):
    claims.execute_sql("INSERT INTO claims (document) VALUES ('[1]')")
    read = one(claims, "SELECT document FROM claims")
    assert (read == [1]) == dialect.driver_parses_json


def test_stores_json_as_text(live, dialect):
    assert refuses(live, "SELECT JSON_COMPACT('[1]')") != dialect.stores_json_as_text
    assert getattr(live, "mariadb", False) == dialect.stores_json_as_text


def test_supports_for_update(claims, dialect, url):
    select = "SELECT id FROM claims"
    assert refuses(claims, f"{select} FOR UPDATE") != dialect.supports_for_update
    claims.execute_sql("INSERT INTO claims (word) VALUES ('a')")
    if not dialect.supports_for_update:
        return
    with second_session(url) as other, claims.atomic():
        claims.execute_sql(f"{select} FOR UPDATE")
        assert other.execute_sql(f"{select} FOR UPDATE SKIP LOCKED").fetchall() in ([], ())


def test_row_lock_blocks_changes_and_lets_rows_refer(live, dialect, url):
    if not dialect.supports_for_update:
        pytest.skip("does not apply to SQLite: rows are not locked one by one")
    parent = tables.table("parents", tables.key(), tables.varchar("word", 3, null=True))
    reference = tables.references("parentId", "parents", on_delete="RESTRICT")
    child = tables.table("claims", tables.key(), reference, tables.index("parentId"))
    for table in (parent, child):
        for statement in dialect.create_statements(table):
            live.execute_sql(statement)
    live.execute_sql("INSERT INTO parents (id) VALUES (1)")
    with second_session(url) as other, live.atomic():
        live.execute_sql(f"SELECT id FROM parents {dialect.row_lock}")
        assert other.execute_sql(f"SELECT id FROM parents {dialect.row_lock} SKIP LOCKED").fetchall() in ([], ())
        if dialect.row_lock != "FOR UPDATE":
            # Would wait for ever.
            other.execute_sql(f"INSERT INTO claims ({dialect.quoted('parentId')}) VALUES (1)")


def test_shared_row_lock_blocks_changes_and_not_itself(claims, dialect, url):
    if not dialect.supports_for_update:
        pytest.skip("does not apply to SQLite: rows are not locked one by one")
    claims.execute_sql("INSERT INTO claims (id) VALUES (1)")
    query = "SELECT id FROM claims"
    with second_session(url) as other, claims.atomic():
        claims.execute_sql(f"{query} {dialect.shared_row_lock}")
        # Would wait for ever.
        assert len(other.execute_sql(f"{query} {dialect.shared_row_lock}").fetchall()) == 1
        assert other.execute_sql(f"{query} {dialect.row_lock} SKIP LOCKED").fetchall() in ([], ())


def test_names_conflict_target(claims, dialect):
    """An error ends the transaction, or leaves it as it was."""
    claims.execute_sql("INSERT INTO claims (id) VALUES (1)")
    with contextlib.suppress(peewee.InternalError), claims.atomic():
        with pytest.raises(peewee.IntegrityError) as taken:
            claims.execute_sql("INSERT INTO claims (id) VALUES (1)")
        if not dialect.names_conflict_target:
            assert error_code(taken.value) in dialect.duplicate_codes
        claims.execute_sql("INSERT INTO claims (id) VALUES (2)")
    rows = claims.execute_sql("SELECT COUNT(*) FROM claims").fetchone()[0]
    assert rows == (1 if dialect.names_conflict_target else 2)


def test_has_exact_sum(claims, dialect):
    for amount in ("0.1", "0.2"):
        claims.execute_sql(f"INSERT INTO claims (amount) VALUES ({amount})")
    total = Decimal(str(one(claims, "SELECT SUM(amount) FROM claims")))
    assert (total == Decimal("0.3")) == dialect.has_exact_sum


def test_charset_is_that_of_the_session(live, dialect):
    if dialect.charset is not None:
        assert one(live, "SELECT @@character_set_connection") == dialect.charset
    assert one(live, "SELECT '🚀'") == "🚀"


def test_session_statements_can_be_executed_twice(live, dialect):
    for _ in range(2):
        for statement in dialect.session:
            live.execute_sql(statement)


def test_begin_shows_what_others_have_committed_since(claims, dialect, url):
    count = "SELECT COUNT(*) FROM claims"
    with second_session(url) as other:
        if dialect.supports_for_update:
            with claims.atomic(*dialect.begin):
                assert one(claims, count) == 0
                other.execute_sql("INSERT INTO claims (word) VALUES ('a')")
                assert one(claims, count) == 1
        else:
            other.execute_sql("PRAGMA busy_timeout = 0")
            with claims.atomic(*dialect.begin), pytest.raises(peewee.OperationalError, match="locked"):
                other.execute_sql("INSERT INTO claims (word) VALUES ('a')")


def test_drivers_and_extra_are_those_that_are_in_use(live, dialect):
    module = type(live.connection()).__module__.split(".")[0]
    assert module in dialect.drivers
    assert (dialect.extra == "") == (dialect.drivers == ("sqlite3",))


def test_a_lost_race_has_a_code_of_the_list(claims, dialect, url):
    claims.execute_sql("INSERT INTO claims (word) VALUES ('a')")
    claims.execute_sql("INSERT INTO claims (word) VALUES ('b')")
    update = "UPDATE claims SET amount = amount + 1 WHERE word = '{}'"
    if not dialect.supports_for_update:
        with second_session(url) as other, claims.atomic(*dialect.begin):
            other.execute_sql("PRAGMA busy_timeout = 0")
            with pytest.raises(peewee.OperationalError) as lost:
                other.execute_sql(update.format("a"))
        assert error_code(lost.value) in dialect.retry_codes
        return
    both_hold_one = threading.Barrier(2)
    errors = []

    def cross(first, second):
        with second_session(url) as session:
            try:
                with session.atomic(*dialect.begin):
                    session.execute_sql(update.format(first))
                    both_hold_one.wait(timeout=10)
                    session.execute_sql(update.format(second))
            except peewee.DatabaseError as error:
                errors.append(error_code(error))

    threads = [threading.Thread(target=cross, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(errors) == 1
    assert set(errors) <= dialect.retry_codes


def test_a_dialect_is_named_in_every_usual_way():
    assert servers.named("postgres") is servers.named("postgresql") is servers.named("postgresql")
    with pytest.raises(edb.ConfigurationError, match="'oracle' is not a dialect; the names are sqlite, postgresql"):
        servers.named("oracle")


def test_stale_reads_query(live, dialect, url):
    """What another session commits after the snapshot is hidden from a locking read, or is not."""
    if not dialect.supports_for_update:
        pytest.skip("one writer at a time: nothing is committed beside its transaction")
    live.execute_sql(ddl.create_table(dialect, tables.Table("claims", SHAPE.columns[:1])))
    hides = dialect.stale_reads_query is not None
    with live.atomic("REPEATABLE READ"):
        assert live.execute_sql("SELECT COUNT(*) FROM claims").fetchone()[0] == 0
        if hides:
            assert live.execute_sql(dialect.stale_reads_query).fetchone()[0]
        other = open_database(url)
        with other.connection_context():
            other.execute_sql("INSERT INTO claims (id) VALUES (1)")
        try:
            is_hidden = not live.execute_sql("SELECT id FROM claims FOR UPDATE").fetchall()
        except peewee.OperationalError as refused:
            # MariaDB from 11.6 on refuses a locking read that the snapshot does not agree with.
            if error_code(refused) not in dialect.retry_codes:
                raise
            is_hidden = False
    assert is_hidden == hides
    if hides:
        assert not live.execute_sql(dialect.stale_reads_query).fetchone()[0]


def test_not_online_codes(live, dialect):
    if not dialect.not_online_codes:
        pytest.skip("the flag is about servers that are asked by name to keep writers going")
    live.execute_sql("CREATE TABLE claims (id INTEGER PRIMARY KEY, word VARCHAR(9), FULLTEXT (word))")
    with pytest.raises(peewee.DatabaseError) as refused:
        live.execute_sql("ALTER TABLE claims ADD COLUMN more INTEGER, ALGORITHM=INSTANT")
    assert error_code(refused.value) in dialect.not_online_codes


def test_unknown_index_codes(live, dialect):
    if not dialect.unknown_index_codes:
        pytest.skip("no statement of ours names an index to this server")
    live.execute_sql("CREATE TABLE claims (id INTEGER PRIMARY KEY)")
    with pytest.raises(peewee.DatabaseError) as refused:
        live.execute_sql("SELECT id FROM claims FORCE INDEX (of_another_name)")
    assert error_code(refused.value) in dialect.unknown_index_codes
