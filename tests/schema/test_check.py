"""`engagement-db check` names every place in which a live schema is not what the revisions and the models say."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace

import commands
import peewee
import psycopg2
import pytest
import servers
from independent_catalog import everything, unlike
from platform_database import execute, let_names_repeat

import engagement_db as edb
from engagement_db.orm.urls import open_database
from engagement_db.schema import runner, script_files
from engagement_db.schema.check import detect_drift
from engagement_db.schema.revision import declared
from engagement_db.schema.stub_tables import create_stub_tables
from engagement_db.servers import of as server_of
from engagement_db.tables import Check, Column, Enum, Index, Integer, Table

CONTRACT = declared(runner.load())


@pytest.fixture
def database(url: str) -> Iterator[peewee.Database]:
    with contextlib.closing(open_database(url)) as database:
        create_stub_tables(database)
        runner.migrate(database)
        yield database


def check(url: str, *options: str) -> commands.Ended:
    return commands.run(["engagement-db", "check", "--database", url, *options])


def printed(ended: commands.Ended) -> list[str]:
    """The lines after the first, which names the database."""
    first, *lines = ended.words.splitlines()
    assert first.startswith("Checking ")
    return lines


def test_a_migrated_database_has_not_drifted(url: str, database: peewee.Database) -> None:
    ended = check(url)
    assert (ended.code, printed(ended)) == (0, ["Schema matches the revisions and the models."])


def drifted(table: Table, columns: dict[str, Column], **changes: tuple[object, ...]) -> Table:
    """The same table with other columns, and other parts as given."""
    return replace(table, columns=tuple(columns.get(column.name, column) for column in table.columns), **changes)  # type: ignore[arg-type]


EVENTS = CONTRACT["dispute_events"]
EVENTS_DRIFTED = drifted(
    replace(EVENTS, columns=tuple(column for column in EVENTS.columns if column.name != "evidenceUrl")),
    {
        "notes": replace(EVENTS.column("notes"), null=False),
        "evidenceKey": Column("evidenceKey", Integer(), null=True),
        "actorType": Column(
            "actorType", Enum(("admin", "customer", "provider", "mediator", "system")), default="admin"
        ),
        "actionType": Column("actionType", Enum(("comment", "status_change")), default="comment"),
        "eventAt": replace(EVENTS.column("eventAt"), default=None),
        "metadata": replace(EVENTS.column("metadata"), name="meta"),
    },
    foreign_keys=(replace(EVENTS.foreign_key("actorId"), on_delete="CASCADE"),),
    indexes=(
        EVENTS.index("dispute_events_dispute_case_id_event_at"),
        Index("dispute_events_actor_id", ("actorId", "eventAt")),
        Index("dispute_events_actor_type", ("actorType",), unique=True),
        Index("somebody_elses", ("eventAt",)),
    ),
)
TRANSACTIONS = CONTRACT["escrow_transactions"]
TRANSACTIONS_DRIFTED = replace(
    TRANSACTIONS,
    checks=(
        Check("escrow_transactions_amount_check", '"amount" > 1'),
        Check("somebodys_rule", '"netAmount" < 1000000'),
    ),
    indexes=tuple(index for index in TRANSACTIONS.indexes if index.name != "escrow_transactions_reference"),
)

ACTIONABLE = [
    ("escrow_transactions", "index", "escrow_transactions_reference", "a unique index over (reference) is missing"),
    ("escrow_transactions", "check", "escrow_transactions_amount_check", 'the check is "amount" > 1, not "amount" > 0'),
    (
        "escrow_transactions",
        "check",
        "escrow_transactions_fee_amount_check",
        'the check "feeAmount" >= 0 AND "feeAmount" <= "amount" is missing',
    ),
    (
        "dispute_events",
        "type",
        "actorType",
        "the type is enum(admin, customer, provider, mediator, system),"
        " not enum(customer, provider, mediator, admin, system)",
    ),
    ("dispute_events", "default", "actorType", "the default is admin, not system"),
    (
        "dispute_events",
        "type",
        "actionType",
        "the type is enum(comment, status_change),"
        " not enum(comment, evidence_upload, deadline_adjusted, stage_advanced, status_change, system_notice)",
    ),
    ("dispute_events", "nullability", "notes", "the column is NOT NULL, expected nullable"),
    ("dispute_events", "type", "evidenceKey", "the type is integer, not varchar(255)"),
    ("dispute_events", "column", "evidenceUrl", "the column is missing"),
    ("dispute_events", "default", "eventAt", "the default is missing, not the current time"),
    ("dispute_events", "column", "metadata", "the column is missing"),
    (
        "dispute_events",
        "foreign key",
        "actorId",
        "the foreign key is to users.id ON DELETE CASCADE ON UPDATE NO ACTION,"
        " not to users.id ON DELETE SET NULL ON UPDATE NO ACTION",
    ),
    (
        "dispute_events",
        "foreign key",
        "disputeCaseId",
        "the foreign key to dispute_cases.id ON DELETE RESTRICT ON UPDATE NO ACTION is missing",
    ),
    ("dispute_events", "index", "dispute_events_action_type", "an index over (actionType) is missing"),
    (
        "dispute_events",
        "index",
        "dispute_events_actor_id",
        "it is an index over (actorId, eventAt), not an index over (actorId)",
    ),
    (
        "dispute_events",
        "index",
        "dispute_events_actor_type",
        "it is a unique index over (actorType), not an index over (actorType)",
    ),
    ("feed_activity_logs", "table", "feed_activity_logs", "the table is missing"),
]
HARMLESS = [
    ("escrow_transactions", "extra", "somebodys_rule", 'an unmanaged check, "netAmount" < 1000000'),
    ("dispute_events", "extra", "meta", "an unmanaged column, json"),
    ("dispute_events", "extra", "somebody_elses", "an unmanaged index: an index over (eventAt)"),
]


def test_every_drift_is_named_in_a_stable_order(url: str, database: peewee.Database) -> None:
    server = server_of(database)
    cases = CONTRACT["dispute_cases"]
    for table in (EVENTS, cases, TRANSACTIONS, CONTRACT["feed_activity_logs"]):
        for statement in server.drop_statements(table):
            database.execute_sql(statement)
    for table in (TRANSACTIONS_DRIFTED, cases, EVENTS_DRIFTED):
        for statement in server.create_statements(table):
            database.execute_sql(statement)
    database.close()
    before = everything(url)

    ended = check(url, "--json")
    assert ended.code == 1
    found = json.loads(ended.stdout)
    named = [place(row) for row in found["drift"] if not row["harmless"]]
    assert set(named) ^ set(ACTIONABLE) == set()
    assert named == sorted(ACTIONABLE, key=position)
    assert sorted(place(row) for row in found["drift"] if row["harmless"]) == sorted(HARMLESS)
    assert found["actionable"] == len(ACTIONABLE)
    assert {row["declared_by"] for row in found["drift"]} == {"the revisions"}

    said = check(url)
    assert said.code == 1
    lines = printed(said)
    *listed, summary, advice = lines
    assert all(line.startswith("- ") for line in listed)
    assert [line.endswith(" (harmless)") for line in listed] == [row["harmless"] for row in found["drift"]]
    assert summary == f"{len(ACTIONABLE)} actionable differences, {len(HARMLESS)} harmless."
    assert advice == "Run `engagement-db adopt --align`."
    assert check(url).words == said.words
    assert unlike(before, everything(url)) == {}


def place(row: dict[str, str]) -> tuple[str, str, str, str]:
    return row["table"], row["kind"], row["name"], row["message"]


def position(drift: tuple[str, str, str, str]) -> int:
    return list(CONTRACT).index(drift[0])


def test_what_only_the_models_declare_is_compared_too(url: str, database: peewee.Database) -> None:
    execute(url, "ALTER TABLE gigs ADD COLUMN colour VARCHAR(20)")
    assert check(url).code == 0, "the platform's tables are the platform's business"


def test_a_database_without_our_tables_lacks_them_all(url: str) -> None:
    with contextlib.closing(open_database(url)) as database:
        create_stub_tables(database)
    ended = check(url)
    assert ended.code == 1
    assert [line for line in ended.words.splitlines() if "the table is missing" in line] == [
        f"- {table}: the table is missing" for table in CONTRACT if table not in ("users", "projects", "gigs")
    ]
    assert "- projects.ownerId: the column is missing" in ended.words


def test_pending_revisions_are_named_with_the_command_to_run(url: str, database: peewee.Database) -> None:
    pending = list(script_files.names()[2:])
    runner.rollback(database, count=len(pending))
    ended = check(url)
    assert ended.code == 1
    assert "- projects.ownerId: the column is missing" in ended.words
    assert printed(ended)[-1] == f"Pending: {', '.join(pending)}. Run `engagement-db migrate`."
    assert json.loads(check(url, "--json").stdout)["pending"] == pending


def test_revisions_that_are_made_but_not_recorded_are_pending_too(url: str, database: peewee.Database) -> None:
    execute(url, "DELETE FROM migratehistory")
    ended = check(url)
    assert ended.code == 1
    assert printed(ended) == [
        "Schema matches the revisions and the models.",
        f"Pending: {', '.join(script_files.names())}. Run `engagement-db migrate`.",
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("099_later", "revision 099_later is applied but not known to this version of the code."),
        (script_files.names()[0], f"revision {script_files.names()[0]} is recorded more than once in migratehistory."),
    ],
    ids=["unknown", "duplicate"],
)
def test_a_history_with_unknown_or_duplicate_revisions_is_an_error(
    url: str, database: peewee.Database, name: str, sentence: str
) -> None:
    let_names_repeat(url)
    execute(url, f"INSERT INTO migratehistory (name, migrated_at) VALUES ('{name}', '2024-09-01')")
    ended = check(url)
    assert ended.code == 2
    assert printed(ended)[0] == "Schema matches the revisions and the models."
    assert sentence in printed(ended)[-1]
    found = json.loads(check(url, "--json").stdout)
    assert (found["unknown"], found["duplicates"]) in ((["099_later"], []), ([], [name]))


def test_an_id_of_the_platform_need_not_count_up(url: str) -> None:
    # peewee's AutoField on SQLite, and what is left when Sequelize rebuilds a table.
    for table in ("users", "projects", "gigs"):
        execute(url, f"CREATE TABLE {table} (id INTEGER NOT NULL PRIMARY KEY)")
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database)
    ended = check(url)
    assert ended.code == 0
    assert sorted(line for line in printed(ended) if ".id" in line) == [
        f"- {table}.id: the id is not auto-incremented; SQLite may then use the id of a deleted row again (harmless)"
        for table in ("gigs", "projects", "users")
    ]


def test_drift_is_detected_without_asking_the_server_the_same_twice(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []
    execute_sql = database.execute_sql

    def record(sql: str, parameters: tuple[object, ...] = ()) -> object:
        asked.append((sql, *parameters))
        return execute_sql(sql, parameters)

    monkeypatch.setattr(database, "execute_sql", record)
    assert detect_drift(database, CONTRACT, [model.declared() for model in edb.MODELS]) == ()
    assert asked
    assert [question for question in set(asked) if asked.count(question) > 1] == []


def test_an_unfinished_concurrent_index_is_named(server: servers.Server, url: str, database: peewee.Database) -> None:
    if server.name != "postgres":
        pytest.skip("only PostgreSQL leaves an index behind that it does not use")
    execute(
        url,
        "INSERT INTO users (\"firstName\", \"lastName\", email) VALUES ('Ada', 'Łovelace', 'ada@example.org')",
        "INSERT INTO feed_posts (\"userId\", content) VALUES (1, 'same'), (1, 'same')",
        "DROP INDEX feed_posts_user_id_created_at",
        'UPDATE feed_posts SET "createdAt" = now()',
    )
    with pytest.raises(psycopg2.errors.UniqueViolation):
        execute(
            url, 'CREATE UNIQUE INDEX CONCURRENTLY feed_posts_user_id_created_at ON feed_posts ("userId", "createdAt")'
        )
    ended = check(url)
    assert ended.code == 1
    assert printed(ended)[0] == (
        "- feed_posts.feed_posts_user_id_created_at: it is a unique index over (userId, createdAt), not an index over "
        "(userId, createdAt); it is INVALID: its concurrent build did not finish"
    )


def test_a_server_that_does_not_answer_is_an_error_of_its_own(url: str) -> None:
    ended = commands.run(["engagement-db", "check", "--database", "postgresql://app:s3cret@127.0.0.1:1/platform"])
    assert ended.code == 2
    assert "s3cret" not in ended.words
    assert "Traceback" not in ended.words
