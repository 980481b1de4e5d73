"""`engagement-db adopt`: taking over databases that Sequelize migrated, from every state they may be in."""

import datetime
import json
import re
import threading
import time
from decimal import Decimal
from pathlib import Path

import peewee
import pytest
import sequelize
from click.testing import CliRunner
from commands import FIRST_THREE, copy_scripts
from independent_catalog import everything, rows, unlike
from platform_database import execute, family, query, session
from revision_examples import EXAMPLES
from start_states import MARKETPLACE, OBSTACLES, OTHER_FEED_TABLES

import engagement_db as edb
import engagement_db.schema.adopt
from engagement_db.cli import main
from engagement_db.orm.urls import open_database
from engagement_db.schema import runner
from engagement_db.schema.adopt import RevisionState, inspect_revisions
from engagement_db.schema.lock import hold_migration_lock

HARMLESS = "matches with harmless differences"
REVISIONS = list(FIRST_THREE)
pytestmark = pytest.mark.usefixtures("first_three")


def invoke(url, *arguments):
    result = CliRunner().invoke(main, [*arguments, "--database", url])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def run(url, *arguments):
    """The exit code and the output of `engagement-db`."""
    result = invoke(url, *arguments)
    return result.exit_code, result.output


def adopt(url, *options):
    """The exit code and what `adopt --json` says."""
    result = invoke(url, "adopt", "--json", *options)
    return result.exit_code, json.loads(result.stdout)


def states(said):
    return [revision["state"] for revision in said["revisions"]]


def breaking(said):
    return [
        f"{difference['table']}.{difference['name']}: {difference['message']}"
        for revision in said["revisions"]
        for difference in revision["differences"]
        if not difference["harmless"]
    ]


def differences(said, weight):
    return {
        (difference["table"], difference["name"])
        for revision in said["revisions"]
        for difference in revision["differences"]
        if difference["severity"] == weight
    }


def history(url):
    database = open_database(url)
    with database.connection_context():
        if not database.table_exists("migratehistory"):
            return None
    return [name for (name,) in query(url, 'SELECT "name" FROM "migratehistory" ORDER BY "id"')]


def forget_history(url):
    execute(url, 'DROP TABLE "migratehistory"')


@pytest.fixture
def everything_by_sequelize(url):
    """The URL of a database with the platform, the feed, the trust suite and project owners, and rows in all."""
    sequelize.build(url, *sequelize.ALL)
    sequelize.fill(url, *sequelize.ALL)
    return url


# Without tables of the library


def test_an_empty_database_has_nothing_to_adopt(url):
    database = open_database(url)
    with database.connection_context():
        code, said = adopt(url, "--align")
        assert (code, states(said), said["adopted"]) == (0, ["not present"] * 3, [])
        assert database.get_tables() == []


def test_a_platform_alone_has_nothing_to_adopt_and_is_migrated(url):
    sequelize.build(url, "platform")
    sequelize.fill(url, "platform")
    code, said = adopt(url)
    assert (code, states(said), history(url)) == (0, ["not present"] * 3, None)
    assert run(url, "migrate")[0] == 0
    assert history(url) == REVISIONS


# What Sequelize made


def test_all_that_sequelize_made_is_recorded_and_no_table_is_touched(everything_by_sequelize):
    url = everything_by_sequelize
    before = everything(url)
    code, said = adopt(url)
    assert (code, states(said), said["adopted"]) == (0, [HARMLESS] * 3, REVISIONS)
    assert history(url) == REVISIONS
    assert unlike(before, everything(url)) == {}
    assert "Nothing to apply" in run(url, "migrate")[1]
    assert run(url, "status")[0] == 0
    assert unlike(before, everything(url)) == {}


def test_each_difference_that_is_no_obstacle_is_listed(everything_by_sequelize):
    url = everything_by_sequelize
    text = run(url, "adopt", "--dry-run")[1]
    _, said = adopt(url, "--dry-run")
    assert breaking(said) == []
    harmless = differences(said, "harmless")
    named_otherwise = {
        ("feed_reactions", "feed_reactions_post_id_user_id"),
        ("escrow_transactions", "escrow_transactions_reference"),
    }
    cascading = {
        ("escrow_accounts", "userId"),
        ("escrow_transactions", "accountId"),
        ("dispute_cases", "escrowTransactionId"),
        ("dispute_cases", "openedById"),
        ("dispute_events", "disputeCaseId"),
    }
    assert named_otherwise | cascading | {("projects", "ownerId")} <= harmless
    assert (
        "escrow_accounts.userId: the foreign key is to users.id ON DELETE CASCADE ON UPDATE CASCADE, "
        "not to users.id ON DELETE RESTRICT ON UPDATE NO ACTION (harmless)"
    ) in text
    assert "feed_reactions_post_id_user_id: it is named feed_reactions_post_user_unique (harmless)" in text
    money = {
        ("escrow_accounts", "escrow_accounts_current_balance_check"),
        ("escrow_accounts", "escrow_accounts_pending_release_total_check"),
        ("escrow_transactions", "escrow_transactions_amount_check"),
        ("escrow_transactions", "escrow_transactions_fee_amount_check"),
    }
    bare_keys = {
        ("escrow_transactions", "escrow_transactions_initiated_by_id"),
        ("escrow_transactions", "escrow_transactions_counterparty_id"),
        ("dispute_cases", "dispute_cases_opened_by_id"),
        ("dispute_cases", "dispute_cases_assigned_to_id"),
        ("dispute_events", "dispute_events_actor_id"),
    }
    new_indexes = {
        ("escrow_accounts", "escrow_accounts_user_id_provider_currency_code"),
        ("escrow_transactions", "escrow_transactions_status_scheduled_release_at"),
    }
    fixable = differences(said, "fixable")
    match family(url):
        case "postgres":
            assert fixable == money | bare_keys | new_indexes
        case "sqlite":
            assert (
                money | bare_keys | new_indexes | {("feed_posts", "visibility"), ("feed_posts", "metadata")} <= fixable
            )
            assert "feed_posts.metadata: the type is JSON, not json (fixable)" in text
            assert "the default is the current time in whole seconds, not the current time (harmless)" in text
        case _:
            # InnoDB indexes a foreign key by itself, under the name of the column.
            assert fixable == money | new_indexes
            assert bare_keys <= harmless
            assert "timestamp with 0 fractional digits, not timestamp with 6 fractional digits (harmless)" in text


def test_a_dry_run_prints_the_same_and_writes_nothing(everything_by_sequelize):
    url = everything_by_sequelize
    before = everything(url)
    code, planned = adopt(url, "--dry-run", "--align")
    assert (code, history(url)) == (0, None)
    assert unlike(before, everything(url)) == {}
    code, done = adopt(url, "--align")
    assert (code, done["adopted"], done["aligned"]) == (0, planned["adopted"], planned["aligned"])


@pytest.mark.parametrize(
    ("made", "adopted", "left"),
    [
        (("platform", "trust"), REVISIONS[1:2], [REVISIONS[0], REVISIONS[2]]),
        (("platform", "trust", "owner"), REVISIONS[1:], REVISIONS[:1]),
        (("platform", "feed"), REVISIONS[:1], REVISIONS[1:]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_where_sequelize_made_a_part_migrate_makes_the_rest(url, made, adopted, left):
    sequelize.build(url, *made)
    sequelize.fill(url, *made)
    before = everything(url)
    code, said = adopt(url)
    assert (code, said["adopted"], history(url)) == (0, adopted, adopted)
    assert unlike(before, everything(url)) == {}
    code, output = run(url, "migrate")
    assert (code, history(url)) == (0, adopted + left), output
    assert run(url, "status")[0] == 0
    assert all(rows(url)[table] == kept for table, kept in _rows_of(before) if table != "projects")
    # A rollback goes by numbers, not by the order of application.
    assert run(url, "rollback", "--to", REVISIONS[0], "--discard-rows")[0] == 0
    assert history(url) == REVISIONS[:1]


def _rows_of(everything_before):
    return [
        (name.removeprefix("rows of "), found)
        for name, found in everything_before.items()
        if name.startswith("rows of ")
    ]


def test_migrate_without_adopt_completes_and_records_what_works(everything_by_sequelize):
    url = everything_by_sequelize
    before = rows(url)
    code, output = run(url, "migrate")
    assert (code, history(url)) == (0, REVISIONS), output
    assert f"{REVISIONS[0]}: create table feed_posts: already applied" in output
    assert rows(url) == before
    missing = [name for table, name in differences(adopt(url)[1], "fixable") if table != name and "_check" not in name]
    assert [name for name in missing if "_id" in name] == [], "each missing index was created"
    assert run(url, "status")[0] == 0


# What the revisions created


@pytest.fixture
def ours(url):
    """The URL of a database that the library's scripts migrated."""
    sequelize.build(url, "platform")
    sequelize.fill(url, "platform")
    code, output = run(url, "migrate")
    assert code == 0, output
    sequelize.fill(url, *sequelize.ALL[1:])
    return url


def test_what_the_revisions_created_is_equal_and_stays_unchanged(ours):
    before = everything(ours)
    code, said = adopt(ours, "--align")
    assert (code, states(said), said["adopted"], said["aligned"]) == (0, ["matches"] * 3, [], [])
    assert [revision["differences"] for revision in said["revisions"]] == [[], [], []]
    assert history(ours) == REVISIONS
    assert unlike(before, everything(ours)) == {}


def test_a_lost_history_is_written_again(ours):
    forget_history(ours)
    before = everything(ours)
    code, said = adopt(ours)
    assert (code, states(said), said["adopted"]) == (0, ["matches"] * 3, REVISIONS)
    assert history(ours) == REVISIONS
    assert unlike(before, everything(ours)) == {}
    assert "Nothing to apply" in run(ours, "migrate")[1]


def test_one_lost_row_of_the_history_is_written_again(ours):
    execute(ours, f'DELETE FROM "migratehistory" WHERE "name" = \'{REVISIONS[1]}\'')
    code, said = adopt(ours)
    assert (code, said["adopted"]) == (0, REVISIONS[1:2])
    assert sorted(history(ours)) == REVISIONS


# Half there


def test_an_interrupted_migration_is_finished_by_migrate(ours):
    forget_history(ours)
    execute(ours, "DROP TABLE feed_activity_logs", "DROP TABLE feed_shares")
    before = everything(ours)
    code, said = adopt(ours, "--align")
    assert (code, states(said), said["adopted"]) == (1, ["partially present", "matches", "matches"], REVISIONS[1:])
    assert breaking(said) == [
        "feed_shares.feed_shares: the table is missing",
        "feed_activity_logs.feed_activity_logs: the table is missing",
    ]
    assert history(ours) == REVISIONS[1:]
    assert unlike(before, everything(ours)) == {}
    assert f"Pending: {REVISIONS[0]}. Run `engagement-db migrate`." in run(ours, "adopt")[1]
    assert run(ours, "migrate")[0] == 0
    assert sorted(history(ours)) == REVISIONS
    assert run(ours, "check")[1].splitlines()[1:] == ["Schema matches the revisions and the models."]


def test_a_column_without_its_key_is_partially_present(url):
    sequelize.build(url, "platform")
    execute(url, 'ALTER TABLE "projects" ADD COLUMN "ownerId" INTEGER')
    code, said = adopt(url)
    # SQLite adds a key only with its column, so nothing can complete it there.
    state = "incompatible" if family(url) == "sqlite" else "partially present"
    assert (code, states(said)) == (1, ["not present", "not present", state])
    assert breaking(said) == [
        "projects.ownerId: the foreign key to users.id ON DELETE SET NULL ON UPDATE CASCADE is missing"
    ]
    assert history(url) is None


def test_an_incompatible_revision_does_not_stop_the_others_from_being_recorded(everything_by_sequelize):
    url = everything_by_sequelize
    execute(url, "DROP TABLE feed_activity_logs")
    before = everything(url)
    code, said = adopt(url)
    assert (code, states(said), said["adopted"]) == (
        1,
        ["partially present", HARMLESS, HARMLESS],
        REVISIONS[1:],
    )
    assert history(url) == REVISIONS[1:]
    assert unlike(before, everything(url)) == {}


def test_a_revision_that_is_recorded_but_not_present_is_named_with_the_cure(everything_by_sequelize):
    url = everything_by_sequelize
    adopt(url)
    execute(
        url,
        *(
            f"DROP TABLE {table}"
            for table in ("dispute_events", "dispute_cases", "escrow_transactions", "escrow_accounts")
        ),
    )
    code, output = run(url, "adopt")
    assert (code, history(url)) == (1, REVISIONS)
    assert f"Recorded but not present: {REVISIONS[1]}. Run this statement:" in output
    assert f"    DELETE FROM migratehistory WHERE name IN ('{REVISIONS[1]}');" in output


# There in another shape

REASONS = {
    "feed_posts.content: the column is nullable, expected NOT NULL, and 1 row holds NULL",
    "feed_posts.team: an unmanaged column is NOT NULL without a default, so inserts would fail",
    "feed_posts.visibility: the default is missing, not public",
    "feed_reactions.userId: the foreign key is to users.id ON DELETE RESTRICT ON UPDATE CASCADE, "
    "not to users.id ON DELETE CASCADE ON UPDATE NO ACTION",
    "feed_reactions.reactionType: the default is love, not like",
    "feed_comments.postId: the foreign key is to projects.id ON DELETE CASCADE ON UPDATE CASCADE, "
    "not to feed_posts.id ON DELETE CASCADE ON UPDATE NO ACTION",
    "feed_comments.deletedAt: the column is NOT NULL, expected nullable",
    "feed_shares.postId: the foreign key to feed_posts.id ON DELETE CASCADE ON UPDATE NO ACTION is missing",
    "feed_shares.channel: the type is integer, not varchar(60)",
    "feed_shares.message: the column is missing",
}


def test_each_breaking_difference_is_named_and_its_revision_is_not_recorded(url):
    sequelize.build(url, *sequelize.ALL, changed=OBSTACLES)
    sequelize.fill(url, "platform")
    execute(url, 'INSERT INTO "feed_posts" ("userId", "visibility", "team") VALUES (1, \'public\', 1)')
    before = everything(url)
    code, said = adopt(url)
    assert (code, states(said), said["adopted"]) == (
        1,
        ["incompatible", HARMLESS, HARMLESS],
        REVISIONS[1:],
    )
    assert set(breaking(said)) == REASONS
    assert history(url) == REVISIONS[1:]
    assert unlike(before, everything(url)) == {}
    text = run(url, "adopt")[1]
    assert {line.removeprefix("  - ").removesuffix(" (fixable)") for line in text.splitlines()} >= REASONS
    assert f"Incompatible: {REVISIONS[0]}. Run `engagement-db adopt --align`" in text


def test_a_missing_unique_index_is_an_obstacle_where_rows_hold_the_same_values(url):
    sequelize.build(url, *sequelize.ALL, without="feed_reactions_post_user_unique")
    sequelize.fill(url, "platform", "feed")
    columns = '"postId", "userId", "createdAt", "updatedAt"'
    execute(url, f"INSERT INTO feed_reactions ({columns}) SELECT {columns} FROM feed_reactions")
    code, said = adopt(url)
    assert (code, history(url)) == (1, REVISIONS[1:])
    (obstacle,) = breaking(said)
    assert obstacle.startswith(
        "feed_reactions.feed_reactions_post_id_user_id: a unique index over (postId, userId) is missing, and rows hold"
    )


def test_an_additional_unique_index_is_an_obstacle(everything_by_sequelize):
    url = everything_by_sequelize
    execute(url, 'CREATE UNIQUE INDEX "one_share_each" ON "feed_shares" ("userId")')
    code, said = adopt(url)
    assert (code, history(url)) == (1, REVISIONS[1:])
    assert breaking(said) == ["feed_shares.one_share_each: an unmanaged index: a unique index over (userId)"]
    execute(
        url,
        *(
            ["DROP INDEX one_share_each"]
            if family(url) in ("sqlite", "postgres")
            else [
                'CREATE INDEX feed_shares_other ON feed_shares ("userId")',
                "DROP INDEX one_share_each ON feed_shares",
            ]
        ),
    )
    execute(url, 'CREATE UNIQUE INDEX "wider_than_ours" ON "feed_reactions" ("userId", "postId", "reactionType")')
    assert adopt(url)[0] == 0


def test_an_enum_with_other_labels_is_never_adopted(url):
    labels = ("celebrate'", "applaud'")
    if family(url) == "sqlite":
        # No type knows the labels: the rows tell.
        sequelize.build(url, *sequelize.ALL)
        sequelize.fill(url, *sequelize.ALL)
        execute(url, 'UPDATE "feed_reactions" SET "reactionType" = \'applaud\'')
        reason = "the type is text, not enum(like, celebrate, support, love, insightful), and 1 row violates it"
    else:
        sequelize.build(url, *sequelize.ALL, changed=[labels])
        reason = "the type is enum(like, applaud, support, love, insightful), not "
        reason += "enum(like, celebrate, support, love, insightful)"
    code, said = adopt(url, "--align")
    assert (code, history(url)) == (1, REVISIONS[1:])
    assert breaking(said) == [f"feed_reactions.reactionType: {reason}"]


def test_a_table_whose_ids_no_longer_count_up_is_not_adopted(url):
    if family(url) == "sqlite":
        # What is left of it when Sequelize has rebuilt the table.
        sequelize.build(url, *sequelize.ALL, changed=[("(posts.*)PRIMARY KEY AUTOINCREMENT", r"\1PRIMARY KEY")])
    else:
        sequelize.build(url, *sequelize.ALL)
        execute(
            url,
            *{
                "postgres": ['ALTER TABLE "feed_posts" ALTER COLUMN "id" DROP DEFAULT'],
            }.get(
                family(url),
                [
                    "SET FOREIGN_KEY_CHECKS = 0",
                    'ALTER TABLE "feed_posts" MODIFY COLUMN "id" INTEGER NOT NULL',
                ],
            ),
        )
    code, said = adopt(url)
    assert (code, history(url)) == (1, REVISIONS[1:])
    (reason,) = breaking(said)
    assert reason.startswith("feed_posts.id: the id is not auto-incremented")


def test_text_that_has_no_room_for_every_character_is_not_adopted(everything_by_sequelize):
    url = everything_by_sequelize
    if family(url) in ("sqlite", "postgres"):
        pytest.skip("only MySQL and MariaDB keep text in a character set of the table's own")
    execute(url, "DELETE FROM feed_posts", "ALTER TABLE feed_posts CONVERT TO CHARACTER SET latin1")
    code, said = adopt(url)
    assert (code, history(url)) == (1, REVISIONS[1:])
    (reason,) = breaking(said)
    assert "text is stored as latin1" in reason
    assert "ALTER TABLE feed_posts CONVERT TO CHARACTER SET utf8mb4" in reason


def test_a_history_that_this_code_does_not_know_is_refused(everything_by_sequelize):
    url = everything_by_sequelize
    adopt(url)
    execute(url, 'UPDATE "migratehistory" SET "name" = \'099_later\' WHERE "name" LIKE \'003%\'')
    code, output = run(url, "adopt")
    assert code == 2
    assert "099_later is applied but not known" in output
    assert history(url) == [*REVISIONS[:2], "099_later"]


# Aligning


def test_align_adds_what_is_missing_and_touches_no_row(everything_by_sequelize):
    url = everything_by_sequelize
    before = rows(url)
    adopt(url)
    code, output = run(url, "check")
    assert code == 1
    assert (
        'escrow_transactions_amount_check: the check "amount" > 0 is missing (`engagement-db adopt --align` fixes it)'
    ) in output
    _, plan = adopt(url, "--dry-run", "--align")
    code, said = adopt(url, "--align")
    assert (code, said["adopted"]) == (0, [])
    assert said["aligned"] == plan["aligned"]
    assert "add check escrow_transactions_amount_check" in said["aligned"]
    assert rows(url) == before
    assert differences(adopt(url)[1], "fixable") == set()
    code, output = run(url, "check")
    assert code == 0, output
    assert "not to users.id ON DELETE RESTRICT ON UPDATE NO ACTION (harmless)" in output
    with pytest.raises(Exception, match=r"(?i)check|constraint"):
        execute(url, 'UPDATE "escrow_transactions" SET "amount" = -1')
    aligned = everything(url)
    assert adopt(url, "--align")[1]["aligned"] == []
    assert unlike(aligned, everything(url)) == {}


def test_align_leaves_out_a_check_that_rows_break(everything_by_sequelize):
    url = everything_by_sequelize
    execute(url, 'UPDATE "escrow_transactions" SET "amount" = -5 WHERE "reference" = \'E-105\'')
    code, said = adopt(url, "--align")
    assert (code, said["adopted"]) == (0, REVISIONS)
    assert "add check escrow_accounts_current_balance_check" in said["aligned"]
    assert "add check escrow_transactions_amount_check" not in said["aligned"]
    assert (
        'escrow_transactions_amount_check: the check "amount" > 0 is missing, and 1 row violates it (harmless)'
        in (run(url, "adopt")[1])
    )
    assert run(url, "check")[0] == 1
    execute(url, 'UPDATE "escrow_transactions" SET "amount" = 5 WHERE "amount" < 0')
    assert adopt(url, "--align")[1]["aligned"] == [
        "add check escrow_transactions_amount_check",
        "add check escrow_transactions_fee_amount_check",
    ]
    assert run(url, "check")[0] == 0


def test_align_waits_for_other_deployers_and_names_them(everything_by_sequelize):
    url = everything_by_sequelize
    held, done = threading.Event(), threading.Event()

    def hold():
        database = open_database(url)
        with database.connection_context(), hold_migration_lock(database):
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(30)
        code, output = run(url, "adopt", "--lock-timeout", "0.2")
    finally:
        done.set()
        holder.join()
    assert (code, history(url)) == (2, None)
    assert "another process is migrating this database" in output


# Life after adoption


@pytest.fixture(params=[(), ("--align",)], ids=["adopted", "aligned"])
def adopted(request, everything_by_sequelize):
    """The URL of an adopted database, and the models bound to it."""
    code, said = adopt(everything_by_sequelize, *request.param)
    assert code == 0, said
    database = edb.connect(everything_by_sequelize)
    with database.connection_context():
        yield everything_by_sequelize


def test_models_read_what_the_defaults_of_sequelize_wrote(adopted):
    post = edb.FeedPost.get_by_id(1)
    assert (post.content, post.visibility, post.metadata) == ("Shipped! 🚀", edb.Visibility.PUBLIC, [1, [True, None]])
    assert post.created_at.tzinfo is datetime.UTC
    assert abs(datetime.datetime.now(datetime.UTC) - post.created_at) < datetime.timedelta(hours=1)
    assert edb.FeedReaction.get().reaction_type is edb.ReactionType.CELEBRATE
    assert edb.EscrowAccount.get().current_balance == Decimal("1500.1000")
    assert edb.DisputeCase.get().opened_at.tzinfo is datetime.UTC
    assert edb.Project.get_by_id(1).owner_id == 1


def test_models_write_every_table_of_the_contract_and_read_it_back(adopted):
    moment = datetime.datetime(2024, 8, 1, 9, 0, 0, tzinfo=datetime.UTC)
    post = edb.FeedPost.create(user=2, content="Ours", visibility=edb.Visibility.CONNECTIONS, created_at=moment)
    assert edb.FeedPost.get_by_id(post.id).created_at == moment
    assert edb.FeedReaction.react(post, 1, edb.ReactionType.LOVE)
    assert edb.FeedReaction.react(post, 1, edb.ReactionType.LIKE)
    assert edb.FeedReaction.select().where(edb.FeedReaction.post == post).count() == 1
    comment = edb.FeedComment.create(post=post, user=1, body="Mine")
    edb.FeedComment.create(post=post, user=2, parent=comment, body="A reply")
    edb.FeedShare.share(post, 1, "email")
    account = edb.EscrowAccount.get()
    with pytest.raises(peewee.IntegrityError):
        edb.EscrowTransaction.create(account=account, reference="E-104", amount=Decimal(1), initiated_by=1)
    case = edb.DisputeCase.create(
        escrow_transaction=2, opened_by=2, reason_code="late", summary="Late", customer_deadline_at=moment
    )
    edb.DisputeEvent.create(dispute_case=case, actor=1)
    assert edb.DisputeCase.get_by_id(case.id).customer_deadline_at == moment
    assert edb.DisputeEvent.select().where(edb.DisputeEvent.dispute_case == case).count() == 1
    assert {entry.id for entry in edb.FeedPost.timeline(viewer=edb.EVERYTHING, limit=10)} == {1, 2, post.id}
    for document in ({"a": [1, {"ü": "発売 🎉"}]}, [1, "2"], "text", "12", 3, [0.5], True, [], {}):
        post.metadata = document
        post.save()
        found = edb.FeedPost.get_by_id(post.id).metadata
        assert (found, type(found)) == (document, type(document))


def test_the_revisions_are_rolled_back_and_applied_again(url):
    sequelize.build(url, "platform")
    sequelize.fill(url, "platform")
    bare = everything(url)
    sequelize.build(url, "feed", "trust", "owner")
    sequelize.fill(url, "feed", "trust", "owner")
    assert adopt(url)[0] == 0
    code, output = run(url, "rollback")
    assert code == 2
    assert "1 value of projects.ownerId" in output
    code, output = run(url, "rollback", "--discard-rows")
    assert (code, history(url)) == (0, REVISIONS[:2]), output
    assert {name: found for name, found in _about("projects", unlike(bare, everything(url)))} == {}
    assert run(url, "rollback", "--count", "2", "--discard-rows")[0] == 0
    execute(url, 'DROP TABLE "SequelizeMeta"')
    assert unlike(bare, everything(url)) == {}
    assert run(url, "migrate")[0] == 0
    assert run(url, "check")[1].splitlines()[1:] == ["Schema matches the revisions and the models."]


def _about(table, snapshot_difference):
    return [(name, found) for name, found in snapshot_difference.items() if table in name]


# Both tools on one database


def test_a_later_column_of_sequelize_is_an_extra_and_no_obstacle(adopted):
    before = run(adopted, "check")[0]
    execute(adopted, 'ALTER TABLE "feed_posts" ADD COLUMN "pinned" SMALLINT')
    code, output = run(adopted, "check")
    assert code == before
    assert "feed_posts.pinned: an unmanaged column" in output
    assert [line for line in output.splitlines() if "pinned" in line and not line.endswith("(harmless)")] == []
    post = edb.FeedPost.create(user=1, content="Pinned or not")
    post.content = "Changed"
    post.save()
    assert edb.FeedPost.get_by_id(post.id).content == "Changed"
    assert adopt(adopted)[0] == 0
    assert "Nothing to apply" in run(adopted, "migrate")[1]


# Revisions that come later

LATER = """
from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import add_check, add_column, add_enum_label, add_index
from engagement_db.tables import check, enum, index, varchar

revision = Revision(
    "004_later",
    add_enum_label(
        "feed_reactions",
        enum("reactionType", ["like", "celebrate", "support", "love", "insightful"], default="like"),
        "curious",
    ),
    add_column("feed_posts", varchar("language", 8, null=True)),
    add_index("feed_posts", index("language", "createdAt")),
    add_check("feed_posts", check("language", "\\"language\\" <> ''")),
)
migrate = revision.migrate
rollback = revision.rollback
"""


def test_what_a_later_revision_changed_is_no_difference_of_an_earlier_one(ours, tmp_path):
    scripts = copy_scripts(tmp_path)
    (scripts / "004_later.py").write_text(LATER)
    database = open_database(ours)
    with database.connection_context():
        assert [finding.state for finding in inspect_revisions(database, scripts)] == [RevisionState.MATCHES] * 3 + [
            RevisionState.NOT_PRESENT
        ]
        runner.migrate(database, directory=scripts)
        forget_history(ours)
        assert [finding.state for finding in inspect_revisions(database, scripts)] == [RevisionState.MATCHES] * 4
        adoption = engagement_db.schema.adopt.adopt(database, directory=scripts, align=True)
    assert (adoption.adopted, adoption.aligned) == ((*REVISIONS, "004_later"), ())


def test_a_later_revision_is_applied_to_adopted_and_aligned_tables(everything_by_sequelize, tmp_path):
    scripts = copy_scripts(tmp_path)
    (scripts / "004_later.py").write_text(LATER)
    adopt(everything_by_sequelize, "--align")
    database = open_database(everything_by_sequelize)
    with database.connection_context():
        assert inspect_revisions(database, scripts)[-1].state is RevisionState.NOT_PRESENT
        assert runner.migrate(database, directory=scripts) == ("004_later",)
        assert inspect_revisions(database, scripts)[-1].state in (RevisionState.MATCHES, RevisionState.HARMLESS)
    execute(everything_by_sequelize, 'UPDATE "feed_reactions" SET "reactionType" = \'curious\'')


# The page that tells how

PAGE = (Path(__file__).parents[2] / "docs" / "moving-from-sequelize.md").read_text("utf-8")


URL_ON_THE_PAGE = re.search(r"DATABASE_URL=(\S+)", PAGE)[1]


def page_steps():
    """(command, lines of output) for each command that the page shows, in order."""
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        command, *lines = block.splitlines()
        yield command.removeprefix("$ engagement-db "), lines


def test_the_page_shows_what_happens(everything_by_sequelize):
    url = everything_by_sequelize
    if family(url) != "postgres":
        pytest.skip("the page shows the output on PostgreSQL")
    steps = list(page_steps())
    assert [command for command, _ in steps] == [
        "status",
        "adopt --dry-run",
        "adopt",
        "migrate",
        "adopt --align",
        "check",
    ]
    for command, lines in steps:
        _, output = run(url, *command.split())
        shown = re.escape("\n".join(lines))
        shown = re.sub(r"\\\.\\\.\\\.", "(?s:.*)", shown)
        shown = re.sub(r"0\\\.\d\d\\ s", r"\\d+\\.\\d\\d s", shown)
        said = output.strip().replace(url, URL_ON_THE_PAGE)
        assert re.fullmatch(shown, said), f"{command} says:\n{said}"


def test_align_forbids_null_and_adds_the_missing_column_where_the_rows_allow_it(url):
    sequelize.build(url, *sequelize.ALL, changed=MARKETPLACE)
    sequelize.fill(url, "platform")
    execute(url, "INSERT INTO feed_posts (\"userId\", content) VALUES (1, 'one'), (2, 'two')")
    before = query(url, 'SELECT id, "userId", content, visibility FROM feed_posts ORDER BY id')
    code, said = adopt(url, "--align")
    assert (code, sorted(history(url))) == (0, REVISIONS), said
    assert run(url, "check")[0] == 0, run(url, "check")[1]
    assert query(url, 'SELECT id, "userId", content, visibility FROM feed_posts ORDER BY id') == before
    for column in ("userId", "content", "visibility"):
        with pytest.raises(Exception, match=r"(?i)null"):
            execute(url, f'UPDATE feed_posts SET "{column}" = NULL')
    code, said = adopt(url, "--align")
    assert (code, said["aligned"]) == (0, [])


def test_a_row_with_null_keeps_its_column_nullable_and_the_statement_is_printed(url):
    sequelize.build(url, *sequelize.ALL, changed=MARKETPLACE)
    sequelize.fill(url, "platform")
    execute(url, "INSERT INTO feed_posts (\"userId\", content) VALUES (1, 'one'), (NULL, 'two')")
    before = query(url, "SELECT id, content FROM feed_posts ORDER BY id")
    code, said = adopt(url, "--align")
    assert code == 1
    assert [name for name in breaking(said) if name.startswith("feed_posts.userId")] != []
    assert query(url, "SELECT id, content FROM feed_posts ORDER BY id") == before
    assert any("UPDATE" in statement and "userId" in statement for statement in said["statements"])


# The way out by renaming, as the page tells it


def recipe(url):
    """The page's two blocks of SQL, as lists of statements for this server."""
    section = PAGE.partition("## Rename and copy")[2].partition("\n## ")[0]
    servers = {"postgres": "PostgreSQL", "sqlite": "SQLite"}
    blocks = []
    for block in re.findall(r"```sql\n(.*?)```", section, re.DOTALL):
        found = re.findall(r"([^;]+);(?: -- (.*))?\n", block)
        name = servers.get(family(url), "MySQL")
        blocks.append([(sql.strip(), note) for sql, note in found if note in ("", "repeat") or name in note])
    return blocks


POSTS = 2500


def posts_of_the_marketplace(url):
    """Tables as the marketplace migration made them, with thousands of posts, some ids missing; one is nobody's."""
    sequelize.build(url, "platform", "feed", changed=MARKETPLACE, without=OTHER_FEED_TABLES)
    sequelize.fill(url, "platform")
    with session(url) as database:
        database.ask("BEGIN")
        for first in range(1, POSTS, 500):
            values = ", ".join(
                f"({number * 2}, {number % 2 + 1}, 'post {number}')" for number in range(first, first + 500)
            )
            database.ask(f'INSERT INTO feed_posts (id, "userId", content) VALUES {values}')
        database.ask("INSERT INTO feed_posts (id, content) VALUES (9, 'of nobody')")
        database.ask("COMMIT")
    return query(url, 'SELECT id, "userId", content, visibility FROM feed_posts WHERE "userId" IS NOT NULL ORDER BY id')


@pytest.fixture
def renamed(url):
    """The URL of a database after the recipe of the page, and the posts that it had before."""
    posts = posts_of_the_marketplace(url)
    rename, copy = recipe(url)
    execute(url, *(sql for sql, _ in rename))
    code, output = run(url, "migrate")
    assert code == 0, output
    batches = 0
    for sql, note in copy:
        execute(url, sql)
        while note and count(url, "feed_posts") < len(posts):
            batches += 1
            execute(url, sql)
    assert batches == 2
    return url, posts


def count(url, table):
    return query(url, f"SELECT COUNT(*) FROM {table}")[0][0]


def test_renaming_and_copying_keeps_every_post_and_its_id(renamed):
    url, posts = renamed
    assert query(url, 'SELECT id, "userId", content, visibility FROM feed_posts ORDER BY id') == posts
    assert run(url, "check")[1].splitlines()[1:] == ["Schema matches the revisions and the models."]
    database = edb.connect(url)
    with database.connection_context():
        post = edb.FeedPost.publish(1, "After the move")
        assert post.id > posts[-1][0]


def test_a_rollback_keeps_the_type_that_the_renamed_table_still_uses(renamed):
    url, posts = renamed
    code, output = run(url, "rollback", "--to", "0", "--discard-rows")
    assert (code, history(url)) == (0, []), output
    assert count(url, "feed_posts_before") == len(posts) + 1
    assert query(url, "SELECT visibility FROM feed_posts_before WHERE id = 2") == [("public",)]
    assert run(url, "migrate")[0] == 0
    execute(url, "DROP TABLE feed_posts_before")
    assert run(url, "rollback", "--to", "0", "--discard-rows")[0] == 0
    if family(url) == "postgres":
        assert query(url, "SELECT typname FROM pg_type WHERE typname LIKE 'enum_feed%'") == []


def test_a_label_is_not_taken_from_a_type_that_another_table_uses(ours, tmp_path):
    if family(ours) != "postgres":
        pytest.skip("only PostgreSQL has enum types apart from tables")
    scripts = copy_scripts(tmp_path)
    (scripts / "004_later.py").write_text(LATER)
    execute(ours, 'CREATE TABLE favourites (kind "enum_feed_reactions_reactionType")')
    database = open_database(ours)
    with database.connection_context():
        runner.migrate(database, directory=scripts)
        before = everything(ours)
        with pytest.raises(edb.MigrationError) as refused:
            runner.rollback(database, directory=scripts, discard_rows=True)
    assert (
        "column kind of table favourites has the type enum_feed_reactions_reactionType, "
        "from which this rollback removes a label"
    ) in str(refused.value)
    assert unlike(before, everything(ours)) == {}


# Each kind of step, on tables that Sequelize made

ACCEPTED = (
    "UPDATE feed_posts SET language = 'pt-BR', answers = 'connections', reward = 1.5, \"projectId\" = 1",
    'UPDATE escrow_transactions SET "feeAmount" = 6.25 WHERE id = 1',
    "UPDATE feed_shares SET channel = 'fax'",
    "UPDATE feed_reactions SET \"reactionType\" = 'curious'",
    'INSERT INTO feed_pins ("postId", "userId") VALUES (1, 1)',
)
REFUSED = (
    "UPDATE feed_posts SET answers = 'nobody'",
    'UPDATE feed_posts SET "projectId" = 987654',
    'UPDATE escrow_transactions SET "feeAmount" = 1000 WHERE id = 1',
    "UPDATE feed_reactions SET \"reactionType\" = 'dull'",
    'INSERT INTO feed_pins (id, "postId", "userId", "position") VALUES (1, 1, 2, 0)',
)


@pytest.mark.parametrize("options", [(), ("--align",)], ids=["adopted", "aligned"])
def test_each_kind_of_step_is_made_and_reverted_on_adopted_tables(everything_by_sequelize, tmp_path, options):
    url = everything_by_sequelize
    code, said = adopt(url, *options)
    assert code == 0, said
    scripts = copy_scripts(tmp_path)
    for name, script in EXAMPLES.items():
        (scripts / f"{name}.py").write_text(script)
    before = everything(url)
    # So is the column of labels on SQLite until the tables are aligned: it takes any label.
    is_plain_text = family(url) == "sqlite" and not options
    database = open_database(url)
    with database.connection_context():
        assert runner.migrate(database, directory=scripts) == tuple(EXAMPLES)
        assert {finding.state for finding in inspect_revisions(database, scripts)} <= {
            RevisionState.MATCHES,
            RevisionState.HARMLESS,
        }
        execute(url, *(f"DELETE FROM migratehistory WHERE name = '{name}'" for name in EXAMPLES))
        found = engagement_db.schema.adopt.adopt(database, directory=scripts)
        unseen = ("009_curious_reaction",) if is_plain_text else ()
        assert {*found.adopted, *unseen} == {*EXAMPLES}, "what was made is there, not only recorded"
        assert runner.migrate(database, directory=scripts) == unseen
        with session(url) as connection:
            connection.ask("BEGIN")
            for statement in ACCEPTED:
                connection.ask(statement)
            connection.ask("ROLLBACK")
        for statement in REFUSED:
            if "dull" in statement and is_plain_text:
                continue
            with pytest.raises(Exception, match=r"(?i)check|foreign|unique|duplicate|enum|truncated"):
                execute(url, statement)
        runner.rollback(database, to=REVISIONS[-1], directory=scripts, discard_rows=True)
        assert unlike(before, everything(url)) == {}


def test_a_label_of_a_later_revision_is_allowed_by_the_check_that_align_adds_afterwards(
    everything_by_sequelize, tmp_path
):
    url = everything_by_sequelize
    adopt(url)
    scripts = copy_scripts(tmp_path)
    (scripts / "009_curious_reaction.py").write_text(EXAMPLES["009_curious_reaction"])
    database = open_database(url)
    with database.connection_context():
        assert runner.migrate(database, directory=scripts) == ("009_curious_reaction",)
        assert runner.migrate(database, directory=scripts) == ()
        engagement_db.schema.adopt.adopt(database, directory=scripts, align=True)
    execute(url, "UPDATE feed_reactions SET \"reactionType\" = 'curious'")
    with pytest.raises(Exception, match=r"(?i)check|enum|truncated"):
        execute(url, "UPDATE feed_reactions SET \"reactionType\" = 'dull'")


def test_writers_go_on_while_align_makes_its_changes(url):
    sequelize.build(url, *sequelize.ALL, changed=MARKETPLACE)
    sequelize.fill(url, "platform")
    execute(url, "INSERT INTO feed_posts (\"userId\", content) VALUES (1, 'one'), (2, 'two')")
    done, written, failed = threading.Event(), [], []

    def write():
        with session(url) as writer:
            while not done.is_set():
                try:
                    writer.ask("INSERT INTO feed_posts (\"userId\", content) VALUES (1, 'meanwhile')")
                    written.append(1)
                except Exception as error:
                    failed.append(error)
                time.sleep(0.005 if family(url) == "sqlite" else 0)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        code, said = adopt(url, "--align")
    finally:
        done.set()
        thread.join(60)
    assert (code, failed, breaking(said)) == (0, [], [])
    assert "set feed_posts.userId not null" in said["aligned"]
    assert "add column feed_posts.metadata" in said["aligned"]
    assert count(url, "feed_posts") == len(written) + 2
