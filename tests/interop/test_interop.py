"""One database, two tools: a Node service with Sequelize and engagement_db, each reading what the other writes.

The Node service is `tests/interop`; `tests/run -e interop` installs Node and the packages that it needs.
"""

import enum
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import peewee
import pytest
import sequelize
from click.testing import CliRunner
from independent_catalog import snapshot, unlike
from node import node, node_json
from platform_database import family, query

import engagement_db as edb
from engagement_db.cli import main
from engagement_db.orm.fields import EnumField

PLATFORM = (edb.User, edb.Project, edb.Gig)
OURS = tuple(model for model in edb.MODELS if model not in PLATFORM)


def run(url, *arguments):
    """The exit code and the output of `engagement-db`."""
    result = CliRunner().invoke(main, [*arguments, "--database", url])
    return result.exit_code, result.output


def history(url):
    return [name for (name,) in query(url, 'SELECT "name" FROM "migratehistory" ORDER BY "name"')]


def in_json(value):
    """A value of ours as Sequelize puts it into JSON: times to the millisecond, money as text."""
    match value:
        case datetime():
            assert value.utcoffset() == timedelta(0)
            return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case Decimal():
            return f"{value:.4f}"
        case enum.StrEnum():
            return str(value)
        case edb.JSON_NULL:
            return None
        case _:
            return value


def row_in_json(row):
    fields = row._meta.sorted_fields
    return {field.column_name: in_json(row.__data__[field.name]) for field in fields}


def rows_in_json(model):
    return [row_in_json(row) for row in model.select().order_by(model.id)]


def known(model, rows):
    """The columns that the model knows, of rows that Node has read."""
    columns = {field.column_name for field in model._meta.sorted_fields}
    if model not in PLATFORM:
        assert all(set(row) == columns for row in rows)
    return [{column: value for column, value in row.items() if column in columns} for row in rows]


# On tables of ours


def test_python_reads_what_node_writes(shared):
    said = node_json(shared, "write")
    for model in edb.MODELS:
        table = model._meta.table_name
        found = rows_in_json(model)
        assert found == known(model, said["read"][table]), table
    for model in OURS:
        table = model._meta.table_name
        for values, row in zip(said["written"][table], rows_in_json(model), strict=True):
            assert {column: row[column] for column in values} == values, table
        # One row of Node's names every column, so that none is left out of the comparison.
        full = max(said["written"][table], key=len)
        assert {*full, "id"} == {field.column_name for field in model._meta.sorted_fields}
    post, *_, by_default = edb.FeedPost.select().order_by(edb.FeedPost.id)
    assert post.metadata["nested"] == {"quote": 'say "hi" \\ it\'s fine', "list": [1, -2, {"deep": []}], "empty": {}}
    assert post.created_at == datetime(2024, 8, 1, 9, 0, 0, 123000, UTC)
    assert (by_default.visibility, by_default.metadata) == (edb.Visibility.PUBLIC, None)
    assert abs(datetime.now(UTC) - by_default.created_at) < timedelta(minutes=5)


MOMENT = datetime(2024, 2, 29, 23, 59, 59, 987654, UTC)
DOCUMENT = {
    "tags": ["déjà vu", "発売", "🎉"],
    "nested": {"quote": 'say "hi" \\ it\'s fine', "list": [1, -2, 0.25, None, True, {"deep": []}], "empty": {}},
    "large": 9007199254740991,
}


# On SQLite the column's affinity makes a number of a document that is a bare number.
BARE_DOCUMENTS = [0, -1, 7, 2**53 - 1, "1", "1.0", "1e400", '"1"', "", "null", True, False, [1, 0.1, 1e300], []]


def write_by_python():
    """Write, into each table of ours, a row with every column and, for each label of each enum, one more row."""
    people = [
        edb.User.create(first_name="Ada", last_name="Łovelace", email=f"ada{number}@example.org") for number in range(9)
    ]
    project = edb.Project.create(title="Brücke", description="Über den Fluss", status="open", owner=people[0])
    gig = edb.Gig.create(title="Logo", description="Draw 🎨")
    times = {"created_at": MOMENT, "updated_at": MOMENT + timedelta(days=1)}
    post = edb.FeedPost.create(user=people[0], content="Shipped! 🚀\n'\"\\", metadata=DOCUMENT, **times)
    comment = edb.FeedComment.create(post=post, user=people[1], body="Très bien 👏", metadata=[1, "2"], **times)
    edb.FeedComment.create(
        post=post, user=people[2], parent=comment, body="Gone", metadata="text", deleted_at=MOMENT, **times
    )
    edb.FeedComment.create(post=post, user=people[2], body="JSON null", metadata=edb.JSON_NULL)
    for document in BARE_DOCUMENTS:
        edb.FeedComment.create(post=post, user=people[2], body=repr(document), metadata=document)
    edb.FeedReaction.create(post=post, user=people[8], **times)
    edb.FeedShare.create(post=post, user=people[1], channel="newsletter", message="Worth a look ✨", **times)
    edb.FeedActivityLog.create(
        post=post,
        comment_id=comment.id,
        actor=people[1],
        action="comment.created",
        metadata=DOCUMENT,
        created_at=MOMENT,
    )
    account = edb.EscrowAccount.create(
        user=people[0],
        provider="stripe",
        external_id="acct_1",
        currency_code="EUR",
        current_balance=Decimal("12345678901.2345"),
        pending_release_total=Decimal("0.0001"),
        metadata=DOCUMENT,
        last_reconciled_at=MOMENT,
        **times,
    )
    transaction = edb.EscrowTransaction.create(
        account=account,
        reference="PYTHON-FULL",
        external_id="pi_1",
        amount=Decimal("1500.1"),
        currency_code="EUR",
        fee_amount=Decimal("0.3"),
        net_amount=Decimal("1499.8"),
        initiated_by=people[0],
        counterparty=people[1],
        project=project,
        gig=gig,
        milestone_label="Zweite Stufe – ½",
        scheduled_release_at=MOMENT,
        released_at=MOMENT + timedelta(milliseconds=1),
        refunded_at=datetime(1970, 1, 1, tzinfo=UTC),
        cancelled_at=datetime(2999, 12, 31, 23, 59, 59, 999000, UTC),
        metadata=DOCUMENT,
        audit_trail=[{"by": "python", "from": None}],
        **times,
    )
    case = edb.DisputeCase.create(
        escrow_transaction=transaction,
        opened_by=people[1],
        assigned_to=people[2],
        reason_code="not_as_described",
        summary="半分だけ",
        customer_deadline_at=MOMENT,
        provider_deadline_at=MOMENT,
        resolution_notes="Half was paid back",
        opened_at=MOMENT,
        resolved_at=MOMENT,
        metadata=DOCUMENT,
        **times,
    )
    edb.DisputeEvent.create(
        dispute_case=case,
        actor=people[1],
        notes="See 📎",
        evidence_key="disputes/1/größe.png",
        evidence_url="https://files.example.org/?a=1&b=2",
        evidence_file_name="größe.png",
        evidence_content_type="image/png",
        event_at=MOMENT,
        metadata=DOCUMENT,
        **times,
    )
    # All that a row needs; each enum column then takes each of its labels.
    least = {
        edb.FeedPost: lambda number: {"user": people[0], "content": "Plain"},
        edb.FeedReaction: lambda number: {"post": post, "user": people[number]},
        edb.EscrowAccount: lambda number: {"user": people[number], "provider": "internal"},
        edb.EscrowTransaction: lambda number: {
            "account": account,
            "reference": f"PYTHON-{number}",
            "amount": Decimal(1),
            "initiated_by": people[0],
        },
        edb.DisputeCase: lambda number: {
            "escrow_transaction": transaction,
            "opened_by": people[0],
            "reason_code": "late",
            "summary": "Late",
        },
        edb.DisputeEvent: lambda number: {"dispute_case": case},
    }
    for model, values in least.items():
        enums = [field for field in model._meta.sorted_fields if isinstance(field, EnumField)]
        labels = [(field.name, label) for field in enums for label in field.enum_class]
        for number, (name, label) in enumerate(labels):
            model.create(**values(number), **{name: label})


def test_node_reads_what_python_writes(shared):
    write_by_python()
    read = node_json(shared, "read")
    for model in edb.MODELS:
        rows = rows_in_json(model)
        assert rows == known(model, read[model._meta.table_name]), model.__name__
        assert model not in OURS or rows
    (post, *_), (account, *_) = read["feed_posts"], read["escrow_accounts"]
    assert post["metadata"] == DOCUMENT
    assert post["createdAt"] == "2024-02-29T23:59:59.987Z"
    assert (account["currentBalance"], account["pendingReleaseTotal"]) == ("12345678901.2345", "0.0001")
    assert read["escrow_transactions"][0]["cancelledAt"] == "2999-12-31T23:59:59.999Z"
    assert read["feed_comments"][2]["metadata"] is None
    documents = [row["metadata"] for row in read["feed_comments"][3 : 3 + len(BARE_DOCUMENTS)]]
    assert [repr(document) for document in documents] == [repr(document) for document in BARE_DOCUMENTS]
    for model in OURS:
        for field in model._meta.sorted_fields:
            if isinstance(field, EnumField):
                seen = {row[field.column_name] for row in read[model._meta.table_name]}
                assert seen == set(map(str, field.enum_class)), field


def test_what_the_contract_refuses_node_is_refused(shared):
    said = node_json(shared, "violate")
    # For SQLite Sequelize takes every broken constraint but that of a key for one of uniqueness.
    other = "SequelizeUniqueConstraintError" if family(shared) == "sqlite" else "SequelizeDatabaseError"
    assert said["refusals"] == {
        "secondReactionOfOneUser": "SequelizeUniqueConstraintError",
        "unknownReactionType": other,
        "reactionToMissingPost": "SequelizeForeignKeyConstraintError",
        "postWithoutContent": other,
        "secondUseOfReference": "SequelizeUniqueConstraintError",
        "negativeAmount": other,
        "feeAboveAmount": other,
        "negativeBalance": other,
        "deleteCaseWithEvents": "SequelizeForeignKeyConstraintError",
        "deleteTransactionWithCase": "SequelizeForeignKeyConstraintError",
        "deleteAccountWithTransactions": "SequelizeForeignKeyConstraintError",
        "deleteUserWithEscrowRows": "SequelizeForeignKeyConstraintError",
    }
    assert said["cascades"] == {
        "parentCommentDeleted": {"replyParentId": None, "logKeepsCommentId": True},
        "postDeleted": {"reactions": 0, "comments": 0, "shares": 0, "logPostId": None},
        "readerDeleted": {"logActorId": None},
        "authorDeleted": {"posts": 0},
        "counterpartyDeleted": {"counterpartyId": None},
    }


def test_a_reaction_of_nodes_is_the_one_that_python_changes(shared):
    node(shared, "write")
    reaction = edb.FeedReaction.select().order_by(edb.FeedReaction.id).first()
    with pytest.raises(peewee.IntegrityError):
        edb.FeedReaction.create(post=reaction.post_id, user=reaction.user_id)
    edb.FeedReaction.react(reaction.post_id, reaction.user_id, edb.ReactionType.SUPPORT)
    (read, *_) = node_json(shared, "read")["feed_reactions"]
    assert (read["id"], read["reactionType"]) == (reaction.id, "support")


def test_rows_that_node_wrote_go_as_the_contract_says(shared):
    node(shared, "write")
    comment = edb.FeedComment.select().where(edb.FeedComment.parent.is_null(False)).get()
    edb.FeedComment.delete().where(edb.FeedComment.id == comment.parent_id).execute()
    assert edb.FeedComment.get_by_id(comment.id).parent_id is None
    with pytest.raises(edb.Protected):
        edb.User.delete().where(edb.User.id == edb.EscrowAccount.get().user_id).execute()
    edb.FeedPost.delete().where(edb.FeedPost.id == comment.post_id).execute()
    read = node_json(shared, "read")
    assert (read["feed_reactions"], read["feed_comments"], read["feed_shares"]) == ([], [], [])
    assert {row["postId"] for row in read["feed_activity_logs"]} == {None}


# On tables of Sequelize's own


def test_sequelize_still_sends_what_the_tests_of_adopt_are_made_of(url):
    said = node(url, "record")
    assert said == (sequelize.FILES / f"{family(url)}.sql").read_text(), (
        "write tests/support/sequelize_schema anew, as tests/interop/README.md says, and look at what changed"
    )


def test_those_statements_make_the_very_schema_that_sequelize_makes(server, platform):
    node(platform, "migrate")
    by_sequelize = shape(platform)
    by_statements = server.create_database()
    try:
        sequelize.build(by_statements, *sequelize.ALL)
        assert unlike(by_sequelize, shape(by_statements)) == {}
    finally:
        server.drop_database(by_statements)


def shape(url):
    """A snapshot without the counters, which rows move, and without quotes."""
    return {
        name: re.sub(r" AUTO_INCREMENT=\d+|[`'\"\\]", "", str(found))
        for name, found in snapshot(url).items()
        if not name.startswith(("counter", "sequence"))
    }


@pytest.mark.parametrize("options", [(), ("--align",)], ids=["adopted", "aligned"])
def test_adopted_tables_are_shared_both_ways(platform, options):
    node(platform, "migrate")
    code, output = run(platform, "adopt", *options)
    assert code == 0, output
    assert history(platform) == ["001_feed_engagement", "002_trust_payments", "003_add_project_owner"]
    assert "Nothing to apply" in run(platform, "migrate")[1]
    said = node_json(platform, "write")
    database = edb.connect(platform)
    with database.connection_context():
        for model in edb.MODELS:
            table = model._meta.table_name
            assert rows_in_json(model) == known(model, said["read"][table]), table
        write_by_python()
        read = node_json(platform, "read")
        for model in edb.MODELS:
            table = model._meta.table_name
            assert rows_in_json(model) == known(model, read[table]), table


def test_a_trust_suite_of_sequelizes_alone_is_adopted_and_migrate_makes_the_feed(platform):
    node(platform, "migrate", "trust")
    code, output = run(platform, "adopt")
    assert (code, history(platform)) == (0, ["002_trust_payments"]), output
    code, output = run(platform, "migrate")
    assert (code, len(history(platform))) == (0, 3), output
    node(platform, "write")


# Both tools on one database


def test_the_two_histories_do_not_disturb_each_other(platform):
    node(platform, "migrate", "trust")
    before = query(platform, 'SELECT "name" FROM "SequelizeMeta"')
    run(platform, "adopt")
    run(platform, "migrate")
    assert query(platform, 'SELECT "name" FROM "SequelizeMeta"') == before
    assert node_json(platform, "add-column") == {"migrated": ["20241015090000-add-post-pinned.cjs"]}
    assert run(platform, "status")[0] == 0
    assert len(history(platform)) == 3


def test_a_later_column_of_sequelizes_is_unmanaged_and_the_models_keep_working(shared):
    node(shared, "add-column")
    code, output = run(shared, "check")
    assert code == 0
    assert "feed_posts.pinned: an unmanaged column" in output
    post = edb.FeedPost.create(user=1, content="Pinned or not")
    post.content = "Changed"
    post.save()
    assert [row["content"] for row in node_json(shared, "read")["feed_posts"]] == ["Changed"]
    assert [entry.content for entry in edb.FeedPost.timeline(limit=10)] == ["Changed"]


def test_what_sequelizes_undo_does_to_a_table_is_found(shared):
    node(shared, "add-column")
    post = edb.FeedPost.create(user=1, content="Here to stay")
    edb.FeedReaction.react(post, 2, edb.ReactionType.LIKE)
    node(shared, "undo")
    reactions = query(shared, 'SELECT COUNT(*) FROM "feed_reactions"')[0][0]
    check_code, check_output = run(shared, "check")
    adopt_code, adopt_output = run(shared, "adopt")
    if family(shared) != "sqlite":
        assert (reactions, check_code, adopt_code) == (1, 0, 0)
        return
    # There Sequelize makes the table anew, and the old one takes its children with it.
    assert (reactions, check_code, adopt_code) == (0, 1, 1)
    for output in (check_output, adopt_output):
        assert "feed_posts.id: the id is not auto-incremented" in output
        assert "feed_posts.createdAt: the default is" in output
        assert "feed_posts.userId: the foreign key" in output
    assert "001_feed_engagement: incompatible; recorded as applied" in adopt_output
