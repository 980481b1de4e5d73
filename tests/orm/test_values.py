"""What a row takes and gives: no unsaved row as a value, no misspelt column, and nothing that others wrote is fatal."""

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import escrow
import peewee
import pytest
from feed_rows import a_post

import engagement_db as edb
from engagement_db import servers
from engagement_db.orm.fields import Unknown
from engagement_db.orm.models import verb_update
from engagement_db.orm.odd_values import find_odd_values
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")


# An unsaved row is not nobody

UNSAVED = {
    "create": lambda user: edb.Project.create(title="Site", owner=user),
    "insert": lambda user: edb.Project.insert(title="Site", owner=user).execute(),
    "insert_many": lambda user: edb.Project.insert_many([{"title": "Site", "owner": user}]).execute(),
    "bulk_create": lambda user: edb.Project.bulk_create([edb.Project(title="Site", owner=user)]),
    "save": lambda user: edb.Project(id=stored_project().id, owner=user).save(),
    "update": lambda user: edb.Project.update(owner=user).execute(),
    "bulk_update": lambda user: edb.Project.bulk_update([edb.Project(id=stored_project().id, owner=user)], ["owner"]),
    "where": lambda user: list(edb.Project.select().where(edb.Project.owner == user)),
    "where not": lambda user: edb.Project.delete().where(edb.Project.owner != user).execute(),
    "where in": lambda user: list(edb.Project.select().where(edb.Project.owner.in_([user]))),
    "where id": lambda user: list(edb.User.select().where(edb.User.id == user)),
    "assign_owner": lambda user: stored_project().assign_owner(user),
    "initiate": lambda user: escrow.payment(escrow.account(), counterparty=user),
    "fund": lambda user: escrow.payment(escrow.account()).fund(by=user),
    "assign": lambda user: escrow.dispute(escrow.payment_in("funded")).assign(user),
    "withdraw": lambda user: escrow.dispute(escrow.payment_in("funded")).withdraw(by=user),
    "open": lambda user: edb.EscrowAccount.open(user, "stripe"),
    "soft_delete": lambda user: edb.FeedComment.reply(a_post(make_user()), make_user("b"), "x").soft_delete(user, "x"),
}


def stored_project():
    return edb.Project.create(title="Site", owner=make_user("owner"))


@pytest.mark.parametrize("way", UNSAVED)
def test_an_unsaved_row_is_never_taken_for_null(way):
    with pytest.raises(edb.RefusedValue, match="not stored yet; save it first"):
        UNSAVED[way](edb.User(first_name="Ada"))


def test_a_parent_saved_after_its_child_was_made_is_found():
    ada = edb.User(first_name="Ada", last_name="Byron", email="ada@example.org")
    project = edb.Project(title="Site", owner=ada)
    ada.save()
    project.save()
    assert edb.Project.get().owner == ada


# A row is not a value

ROW_AS_VALUE = {
    "reply": lambda row: edb.FeedComment.reply(a_post(make_user()), make_user("b"), row),
    "create": lambda row: edb.Gig.create(title=row),
    "insert": lambda row: edb.Gig.insert(title=row).execute(),
    "insert_many": lambda row: edb.Gig.insert_many([{"title": "a"}, {"title": row}]).execute(),
    "insert_many of tuples": lambda row: edb.Gig.insert_many([(row,)], ["title"]).execute(),
    "update": lambda row: edb.Gig.update(title=row).execute(),
    "attribute": lambda row: setattr(edb.Gig(), "title", row),
    "metadata": lambda row: a_post(make_user(), metadata=row),
    "amount": lambda row: escrow.payment(escrow.account()).__class__(amount=row),
    "reference": lambda row: edb.Project.create(title="x", owner=row),
    "where": lambda row: list(edb.Gig.select().where(edb.Gig.title == row)),
    "where reference": lambda row: list(edb.Project.select().where(edb.Project.owner == row)),
    "function": lambda row: list(edb.Gig.select().where(peewee.fn.LENGTH(row) == 1)),
}


@pytest.mark.parametrize("way", ROW_AS_VALUE)
def test_a_row_of_another_model_is_not_a_value(way):
    gig = edb.Gig.create(title="Logo")
    with pytest.raises((edb.RefusedValue, TypeError)):
        ROW_AS_VALUE[way](gig)
    assert [row.title for row in edb.Gig.select()] == ["Logo"]
    assert edb.FeedComment.select().count() == edb.Project.select().count() == 0


# Names of columns

MISSPELT = {
    "constructor": lambda: edb.FeedPost(content="x", visiblity="connections"),
    "create": lambda: edb.FeedPost.create(user=make_user(), content="x", visiblity="connections"),
    "insert": lambda: edb.FeedPost.insert(content="x", visiblity="connections"),
    "insert by name": lambda: edb.FeedPost.insert({"content": "x", "visiblity": "connections"}),
    "insert_many": lambda: edb.FeedPost.insert_many([{"content": "x"}, {"content": "y", "visiblity": "connections"}]),
    "insert_many of tuples": lambda: edb.FeedPost.insert_many([("x", "public")], ["content", "visiblity"]),
    "insert_from": lambda: edb.FeedPost.insert_from(edb.FeedPost.select(), ["visiblity"]),
    "replace": lambda: edb.FeedReaction.replace(visiblity="connections"),
    "update": lambda: edb.FeedPost.update(visiblity="connections"),
    "update by name": lambda: edb.FeedPost.update({"visiblity": "connections"}),
    "bulk_update": lambda: edb.FeedPost.bulk_update([], ["visiblity"]),
    "set_by_id": lambda: edb.FeedPost.set_by_id(1, {"visiblity": "connections"}),
    "save only": lambda: edb.FeedPost(id=1).save(only=["visiblity"]),
    "get": lambda: edb.FeedPost.get(visiblity="connections"),
    "get_or_none": lambda: edb.FeedPost.get_or_none(visiblity="connections"),
    "get_or_create": lambda: edb.FeedPost.get_or_create(visiblity="connections"),
    "get_or_create defaults": lambda: edb.FeedPost.get_or_create(id=1, defaults={"visiblity": "connections"}),
    "filter": lambda: edb.FeedPost.filter(visiblity="connections"),
}


@pytest.mark.parametrize("way", MISSPELT)
def test_a_misspelt_column_is_a_type_error(way):
    with pytest.raises(TypeError, match="visiblity"):
        MISSPELT[way]()
    assert edb.FeedPost.select().count() == 0


def test_the_error_names_the_column_that_was_meant():
    with pytest.raises(TypeError, match=r"FeedPost has no column 'visiblity'; did you mean 'visibility'\?"):
        edb.FeedPost(visiblity="connections")


def test_columns_go_by_attribute_id_attribute_and_database_name():
    ada = make_user()
    for values in ({"user": ada}, {"user_id": ada.id}, {"userId": ada.id}):
        post = edb.FeedPost.create(content="x", **values)
        assert edb.FeedPost.get_by_id(post.id).user == ada


def test_a_column_that_only_a_later_row_has_is_inserted_too():
    ada = make_user()
    rows = [{"user": ada, "content": "a"}, {"user": ada, "content": "b", "metadata": {"a": 1}}]
    edb.FeedPost.insert_many(row for row in rows).execute()
    edb.FeedPost.insert_many([{"user": ada, "userId": ada.id, "content": "c"}]).execute()
    assert [post.metadata for post in edb.FeedPost.select().order_by(edb.FeedPost.content)] == [None, {"a": 1}, None]


def test_expressions_and_defaults_are_inserted_in_every_way():
    ada = make_user()
    loud = peewee.fn.UPPER("b")
    edb.FeedPost.create(user=ada, content=loud)
    edb.FeedPost.insert(user=ada, content=loud).execute()
    edb.FeedPost.insert_many([{"user": ada, "content": "B"}, {"user": ada, "content": loud}]).execute()
    edb.FeedPost.insert_many([(ada, "B"), (ada.id, loud)], fields=["user", "content"]).execute()
    edb.FeedPost.bulk_create([edb.FeedPost(user=ada, content=content) for content in ("B", loud)])
    part = edb.FeedPost.select(edb.FeedPost.user, edb.FeedPost.content).first()
    part.save()
    first = edb.FeedPost.select(peewee.fn.MIN(edb.FeedPost.id)).scalar()
    edb.FeedPost(id=first + 100, user=ada, content="B").save(force_insert=True)
    posts = list(edb.FeedPost.select().order_by(edb.FeedPost.id))
    assert [(post.content, post.visibility) for post in posts] == [("B", edb.Visibility.PUBLIC)] * 10
    assert [posts[-2].id, posts[-1].id] == [part.id, first + 100]
    assert all(abs(post.created_at - edb.now()) < timedelta(minutes=5) for post in posts)
    assert len({post.created_at for post in posts[-2:]}) == 2


def test_a_new_row_gets_its_id_with_and_without_returning(tmp_path):
    for number, returning in enumerate([False, True, False]):
        plain = peewee.SqliteDatabase(tmp_path / f"{number}.sqlite", returning_clause=returning)
        with edb.bind_ctx(plain), plain.connection_context():
            plain.create_tables(edb.MODELS)
            ada = make_user()
            a_post(ada)
            edb.FeedReaction.react(a_post(ada), ada, "like")
            assert [row.id for row in edb.FeedPost.select().order_by(edb.FeedPost.id)] == [1, 2]
            assert edb.FeedReaction.get().id == 1


def test_get_or_create_finds_what_it_created():
    first, is_new = edb.Gig.get_or_create(title="Logo", defaults={"description": "round"})
    again, is_new_again = edb.Gig.get_or_create(title="Logo", defaults={"description": "square"})
    assert (is_new, is_new_again, again, again.description) == (True, False, first, "round")


# Values are converted when they are assigned


def test_a_row_holds_what_reading_it_back_gives():
    ada = make_user()
    noon = datetime(2024, 8, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    post = edb.FeedPost.create(user=str(ada.id), content="x", visibility="connections", metadata=(1, {"a": (2,)}))
    account = edb.EscrowAccount.create(user=ada, provider="x", current_balance=1, last_reconciled_at=noon)
    for row in (post, account, edb.Gig.create(title="Logo")):
        read = type(row).get_by_id(row.id)
        assert row.__data__ == read.__data__
        assert {name: repr(value) for name, value in row.__data__.items()} == {
            name: repr(value) for name, value in read.__data__.items()
        }
    account.pending_release_total = 2
    assert repr(account.pending_release_total) == "Decimal('2.0000')"


def test_what_does_not_fit_is_refused_when_it_is_assigned():
    post = edb.FeedPost()
    with pytest.raises(edb.RefusedValue, match=r"feed_posts\.visibility: 'friends' is not one of"):
        post.visibility = "friends"
    with pytest.raises(edb.RefusedValue, match="is naive"):
        post.created_at = datetime(2024, 8, 1)
    document = {}
    document["self"] = document
    with pytest.raises(edb.RefusedValue, match="refers to itself"):
        post.metadata = document


def test_an_expression_may_be_assigned():
    ada = make_user()
    post = a_post(ada, "hello")
    post.content = peewee.fn.UPPER(edb.FeedPost.content)
    post.save()
    assert edb.FeedPost.get_by_id(post.id).content == "HELLO"


# What others wrote


def another_client_writes(database, table, column, value, row_id):
    """Write the value as it is; on SQLite past the check of the column, as where Sequelize made the table."""
    server = servers.of(database)
    if isinstance(database, peewee.SqliteDatabase):
        database.execute_sql("PRAGMA ignore_check_constraints = ON")
    mark = database.param
    database.execute_sql(
        f"UPDATE {table} SET {server.quoted(column)} = {mark} WHERE id = {mark}",
        (value, row_id),
    )
    if isinstance(database, peewee.SqliteDatabase):
        database.execute_sql("PRAGMA ignore_check_constraints = OFF")


@pytest.fixture
def with_label(url):
    """A database of its own, in which the platform added a label to the status of transactions."""
    database = edb.connect(url)
    with database.connection_context():
        database.create_tables(edb.MODELS)
        if isinstance(database, peewee.PostgresqlDatabase):
            database.execute_sql("ALTER TYPE \"enum_escrow_transactions_status\" ADD VALUE 'held'")
        elif isinstance(database, peewee.MySQLDatabase):
            labels = ", ".join(f"'{status}'" for status in [*edb.TransactionStatus, "held"])
            database.execute_sql(f"ALTER TABLE escrow_transactions MODIFY status ENUM({labels}) NOT NULL")
        yield database


def test_an_unknown_label_is_read_as_its_text(with_label):
    payment, other = escrow.payment_in("in_escrow"), escrow.payment_in("funded")
    another_client_writes(with_label, "escrow_transactions", "status", "held", payment.id)
    read = list(edb.EscrowTransaction.select().order_by(edb.EscrowTransaction.id))
    assert [row.status for row in read] == ["held", "funded"]
    status = read[0].status
    assert isinstance(status, Unknown)
    assert status.expected is edb.TransactionStatus
    assert status.value == "held" == f"{status}"
    assert repr(status) == "<Unknown TransactionStatus: 'held'>"
    assert {status: 1}["held"] == 1
    assert json.dumps([status]) == '["held"]'
    for twin in (pickle.loads(pickle.dumps(status)), copy.deepcopy(status)):
        assert (twin, type(twin), twin.expected) == ("held", Unknown, edb.TransactionStatus)
    assert list(edb.EscrowTransaction.select().where(edb.EscrowTransaction.status == status)) == [payment]
    read[0].milestone_label = "kept"
    read[0].save()
    assert edb.EscrowTransaction.get_by_id(payment.id).status == "held"
    with pytest.raises(edb.InvalidTransition, match="held"):
        read[0].release()
    assert edb.EscrowTransaction.get_by_id(other.id).status is edb.TransactionStatus.FUNDED
    (odd,) = find_odd_values(edb.EscrowTransaction)
    assert (odd.table, odd.id, odd.column, odd.found) == ("escrow_transactions", payment.id, "status", "held")
    assert str(odd).startswith(f"escrow_transactions {payment.id}: status is held, expected one of initiated, funded, ")


def test_an_unknown_label_that_is_not_stored_is_refused():
    with pytest.raises(edb.RefusedValue, match="'held' is not one of"):
        verb_update(edb.EscrowTransaction, {"status": "held"}).execute()


def test_rows_of_the_library_are_not_odd():
    escrow.dispute(escrow.payment_in("funded"))
    a_post(make_user(), metadata=edb.JSON_NULL, created_at=datetime(1, 1, 1, tzinfo=UTC))
    a_post(edb.User.get(), metadata={"a": 1}, created_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
    for model in edb.MODELS:
        assert find_odd_values(model) == []


NINE = datetime(2024, 8, 1, 9, tzinfo=UTC)
TIMES = {
    "2024-08-01T09:00:00Z": NINE,
    "2024-08-01T09:00:00.000Z": NINE,
    "2024-08-01T11:00:00+02:00": NINE,
    "2024-08-01 11:00:00.000 +02:00": NINE,
    "2024-08-01 09:00:00,5": NINE.replace(microsecond=500_000),
    "2024-08-01": NINE.replace(hour=0),
    1722502800: NINE,
    1722502800.5: NINE.replace(microsecond=500_000),
    1722502800000: NINE,
    "yesterday": "yesterday",
    "2024-13-01 09:00:00.000 +00:00": "2024-13-01 09:00:00.000 +00:00",
    "": "",
    1e30: "1e+30",
}


# Those that sort among the library's own as the instants do.
SORTING = (
    "2024-08-01 09:00:00",
    "2024-08-01 09:00:00 +00:00",
    "2024-08-01 09:00:00.5",
    "2024-08-01 09:00:00.000000 +00:00",
)


@pytest.fixture
def sqlite(database):
    if not isinstance(database, peewee.SqliteDatabase):
        pytest.skip("the types of the other servers hold no such values")
    return database


@pytest.mark.parametrize("stored", TIMES)
def test_times_of_other_clients_are_read_and_named(sqlite, stored):
    posts = [a_post(make_user(name)) for name in "abc"]
    another_client_writes(sqlite, "feed_posts", "createdAt", stored, posts[1].id)
    read = edb.FeedPost.get_by_id(posts[1].id)
    assert read.created_at == TIMES[stored]
    read.content = "edited"
    read.save()
    (odd,) = find_odd_values(edb.FeedPost)
    assert (odd.id, odd.column, odd.found) == (read.id, "createdAt", str(stored))
    page = edb.FeedPost.timeline(limit=1)
    seen = list(page)
    while page.next_cursor:
        page = edb.FeedPost.timeline(limit=1, after=page.next_cursor)
        seen.extend(page)
    assert sorted(row.id for row in seen) == [post.id for post in posts]


@pytest.mark.parametrize("stored", SORTING)
def test_times_of_other_clients_that_sort_are_not_odd(sqlite, stored):
    post = a_post(make_user())
    another_client_writes(sqlite, "feed_posts", "createdAt", stored, post.id)
    at = edb.FeedPost.get_by_id(post.id).created_at
    around = [at - timedelta(milliseconds=1), at + timedelta(milliseconds=1)]
    assert edb.FeedPost.select().where(edb.FeedPost.created_at.between(*around)).count() == 1
    assert find_odd_values(edb.FeedPost) == []


DAMAGE = {
    "amount": ("escrow_transactions", "amount", "much", Decimal),
    "amount that is not a number": ("escrow_transactions", "amount", "1e999", Decimal),
    "document": ("escrow_transactions", "metadata", "{", dict),
    "label": ("escrow_transactions", "status", "", edb.TransactionStatus),
}


DOCUMENTS = {
    ' {"a": 1}': {"a": 1},
    '{"a": 1}\n\t\r ': {"a": 1},
    '"\u00a0"': "\u00a0",
    " null ": edb.JSON_NULL,
    '{"a": 1} {"b": 2}': Unknown('{"a": 1} {"b": 2}', dict),
    '{"a": 1}\u00a0': Unknown('{"a": 1}\u00a0', dict),
    " ": Unknown(" ", dict),
}


@pytest.mark.parametrize("stored", DOCUMENTS)
def test_a_document_may_stand_among_space_and_nothing_else(sqlite, stored):
    post = a_post(make_user())
    another_client_writes(sqlite, "feed_posts", "metadata", f"{stored}", post.id)
    assert repr(edb.FeedPost.get_by_id(post.id).metadata) == repr(DOCUMENTS[stored])


@pytest.mark.parametrize("kind", DAMAGE)
def test_one_odd_row_does_not_hide_the_others(sqlite, kind):
    table, column, value, expected = DAMAGE[kind]
    payments = [escrow.payment(escrow.account()) for _ in range(3)]
    another_client_writes(sqlite, table, column, value, payments[1].id)
    read = list(edb.EscrowTransaction.select().order_by(edb.EscrowTransaction.id))
    assert read == payments
    found = getattr(read[1], column)
    assert (type(found), found.expected) == (Unknown, expected)
    assert [(odd.id, odd.column) for odd in find_odd_values(edb.EscrowTransaction)] == [(payments[1].id, column)]


def test_a_joined_row_holds_what_it_holds_when_it_is_read_alone(sqlite):
    """A text with a NUL, one that is too long, an unreadable time, an id that is none."""
    comment = edb.FeedComment.reply(a_post(make_user()), edb.User.get(), "x")
    for table, column, value, key in (
        ("feed_comments", "body", "a\0b", comment.id),
        ("feed_comments", "updatedAt", "yesterday", comment.id),
        ("users", "firstName", "a" * 300, comment.user_id),
        ("feed_posts", "metadata", "{", comment.post_id),
    ):
        another_client_writes(sqlite, table, column, value, key)
    models = edb.FeedComment, edb.FeedPost, edb.User
    alone = [
        model.get_by_id(key) for model, key in zip(models, (comment.id, comment.post_id, comment.user_id), strict=True)
    ]
    query = edb.FeedComment.select(*models).join(edb.FeedPost).join(edb.User, on=edb.FeedComment.user == edb.User.id)
    joined = query.get()
    together = [joined, joined.post, joined.post.user]
    assert [row.__data__ for row in together] == [row.__data__ for row in alone]
    assert not any(row.is_dirty() for row in together)


def test_rows_are_read_as_peewee_shapes_them(database):
    """Expressions beside columns, columns that are named anew, rows without a partner."""
    post = a_post(make_user(), metadata={"a": 1})
    named = edb.FeedPost.select(edb.FeedPost.id, edb.FeedPost.content.alias("text"), peewee.Value(7).alias("seven"))
    assert [(row.id, row.text, int(row.seven), row.content) for row in named] == [(post.id, post.content, 7, None)]
    joined = edb.FeedPost.select(edb.FeedPost, edb.FeedComment, peewee.Value(7).alias("seven"))
    (alone,) = joined.join(edb.FeedComment, peewee.JOIN.LEFT_OUTER)
    assert (alone.__data__, int(alone.seven), alone.feedcomment) == (edb.FeedPost.get().__data__, 7, None)
    (part,) = edb.FeedPost.select(edb.FeedPost.id, edb.FeedPost.metadata)
    assert part.__data__ == {"id": post.id, "metadata": {"a": 1}}
    assert list(edb.FeedPost.select().objects(dict)) == [{**edb.FeedPost.get().__data__}]


def test_an_amount_with_too_many_places_is_named(sqlite):
    payment = escrow.payment(escrow.account())
    another_client_writes(sqlite, "escrow_transactions", "amount", 0.00001, payment.id)
    assert [odd.found for odd in find_odd_values(edb.EscrowTransaction)] == ["1e-05"]


def test_an_amount_that_is_not_a_number_is_named(database):
    if not isinstance(database, peewee.PostgresqlDatabase):
        pytest.skip("PostgreSQL alone has NaN in its numbers")
    payment = escrow.payment(escrow.account())
    another_client_writes(database, "escrow_transactions", "amount", Decimal("NaN"), payment.id)
    assert edb.EscrowTransaction.get().amount == "NaN"
    assert [odd.id for odd in find_odd_values(edb.EscrowTransaction)] == [payment.id]
