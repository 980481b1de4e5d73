"""What peewee's own calls may do to rows that are stored: write what was assigned, and never what only verbs change."""

from decimal import Decimal

import escrow
import peewee
import pytest
from feed_rows import a_post
from playhouse.shortcuts import update_model_from_dict
from tampering import tamper

import engagement_db as edb
from engagement_db.orm.bound import target
from engagement_db.orm.models import verb_update
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")


def stored(row):
    return type(row).get_by_id(row.id)


def columns_of(row):
    return dict(stored(row).__data__)


# save() writes what was assigned


def test_a_stale_row_undoes_no_move_of_money():
    payment = escrow.payment(escrow.account())
    stale = stored(payment)
    for verb in (payment.fund, payment.hold, payment.release):
        verb()
    stale.milestone_label = "second floor"
    assert stale.save() == 1
    after = stored(payment)
    assert (after.status, after.milestone_label, len(after.audit_trail)) == ("released", "second floor", 4)
    assert edb.find_problems() == []


def test_a_stale_row_brings_no_moderated_comment_back():
    ada = make_user()
    comment = edb.FeedComment.reply(a_post(ada), ada, "first")
    stale = stored(comment)
    comment.soft_delete(ada, "spam")
    stale.body = "edited"
    stale.save()
    assert (stored(comment).body, stored(comment).deleted_at) == ("edited", comment.deleted_at)


def test_defaults_of_a_row_made_by_hand_are_not_written_over_the_stored_row():
    post = a_post(make_user(), visibility=edb.Visibility.CONNECTIONS)
    edb.FeedPost(id=post.id, content="edited").save()
    after = stored(post)
    assert (after.content, after.visibility, after.created_at) == ("edited", "connections", post.created_at)


def test_a_save_without_assignments_writes_the_time_of_the_update_only():
    post = a_post(make_user())
    tamper(post, content="by others")
    assert post.save() == 1
    assert stored(post).content == "by others"
    assert stored(post).updated_at == post.updated_at > post.created_at


def test_a_row_that_is_gone_is_not_saved():
    post = a_post(make_user())
    post.delete_instance()
    post.content = "edited"
    assert post.save() == 0


@pytest.mark.parametrize("is_read_again", [True, False])
def test_a_document_changed_in_place_is_saved(is_read_again):
    post = a_post(make_user(), metadata={"tags": ["a"]})
    row = stored(post) if is_read_again else post
    tags = row.metadata["tags"]
    tags.append("b")
    row.save()
    assert stored(post).metadata == {"tags": ["a", "b"]}
    tags.append("c")
    row.save()
    assert stored(post).metadata == {"tags": ["a", "b", "c"]}
    tamper(post, metadata={"by": "others"})
    row.metadata["tags"].pop()
    row.metadata["tags"].append("c")
    row.content = "edited"
    row.save()
    assert stored(post).metadata == {"by": "others"}


def test_a_trail_changed_in_place_is_refused():
    payment = stored(escrow.payment(escrow.account()))
    payment.audit_trail.append({"move": "release"})
    with pytest.raises(edb.Protected, match="auditTrail"):
        payment.save()
    assert len(stored(payment).audit_trail) == 1


def test_what_was_assigned_before_a_verb_is_saved_after_it():
    payment = escrow.payment(escrow.account(), metadata={"a": 1})
    payment.milestone_label = "second floor"
    payment.metadata["a"] = 2
    payment.status = edb.TransactionStatus.RELEASED
    payment.fund()
    assert (payment.status, payment.milestone_label) == ("funded", "second floor")
    payment.save()
    after = stored(payment)
    assert (after.status, after.milestone_label, after.metadata) == ("funded", "second floor", {"a": 2})


def test_rows_inserted_in_bulk_are_saved_like_others():
    home = escrow.account()
    values = {"account": home, "amount": Decimal(1), "initiated_by": home.user_id}
    rows = [edb.EscrowTransaction(reference=reference, **values) for reference in "ab"]
    edb.EscrowTransaction.bulk_create(row for row in rows)
    assert [row.dirty_fields for row in rows] == [[], []]
    assert edb.EscrowTransaction.select().count() == 2


def test_a_copy_of_a_row_is_inserted_with_every_column():
    post = stored(a_post(make_user(), visibility="connections", metadata=[1]))
    original, post.id = post.id, None
    post.save()
    assert post.id != original
    assert (stored(post).visibility, stored(post).metadata) == ("connections", [1])


# Columns that only verbs change


def assigned(row, name, value):
    setattr(row, name, value)
    return row


def merge(row, name, value, **clause):
    model = type(row)
    values = {**row.__data__, "id": row.id}
    query = model.insert(values)
    if clause:
        return query.on_conflict(**clause)
    options = {"update": {model._meta.fields[name]: value}}
    if not isinstance(target(model._meta.database), peewee.MySQLDatabase):
        options["conflict_target"] = [model.id]
    return query.on_conflict(**options)


WAYS = {
    "save": lambda row, name, value: assigned(row, name, value).save(),
    "save only": lambda row, name, value: row.save(only=[name]),
    "save by hand": lambda row, name, value: type(row)(id=row.id, **{name: value}).save(),
    "update_model_from_dict": lambda row, name, value: update_model_from_dict(row, {name: value}).save(),
    "update by keyword": lambda row, name, value: type(row).update(**{name: value}).execute(),
    "update by name": lambda row, name, value: type(row).update({name: value}).execute(),
    "update by column": lambda row, name, value: (
        type(row).update({type(row)._meta.fields[name].column_name: value}).execute()
    ),
    "update by field": lambda row, name, value: type(row).update({type(row)._meta.fields[name]: value}).execute(),
    "bulk_update": lambda row, name, value: type(row).bulk_update([assigned(row, name, value)], [name]),
    "set_by_id": lambda row, name, value: type(row).set_by_id(row.id, {name: value}),
    "[id] =": lambda row, name, value: type(row).__class__.__setitem__(type(row), row.id, {name: value}),
    "on_conflict update": lambda row, name, value: merge(row, name, value).execute(),
    "on_conflict update by name": lambda row, name, value: merge(row, name, value, update={name: value}).execute(),
    "on_conflict preserve": lambda row, name, value: merge(row, name, value, preserve=[name]).execute(),
    "on_conflict preserve field": lambda row, name, value: merge(
        row, name, value, preserve=(type(row)._meta.fields[name],)
    ).execute(),
    "on_conflict replace": lambda row, name, value: merge(row, name, value, action="REPLACE").execute(),
    "on_conflict_replace": lambda row, name, value: type(row).insert(id=row.id).on_conflict_replace().execute(),
    "insert_many": lambda row, name, value: (
        type(row).insert_many([{"id": row.id, name: value}]).on_conflict(action="replace").execute()
    ),
    "insert_from": lambda row, name, value: (
        type(row).insert_from(type(row).select(type(row).id), ["id"]).on_conflict(preserve=[name]).execute()
    ),
    "replace": lambda row, name, value: type(row).replace(**{**row.__data__, name: value}).execute(),
    "replace_many": lambda row, name, value: type(row).replace_many([{"id": row.id, name: value}]).execute(),
}


def comment():
    ada = make_user()
    row = edb.FeedComment.reply(a_post(ada), ada, "first")
    row.soft_delete(ada, "spam")
    return row


PROTECTED = {
    "status": (lambda: escrow.payment_in("released"), "status", "in_escrow"),
    "amount": (lambda: escrow.payment_in("released"), "amount", Decimal(1)),
    "released_at": (lambda: escrow.payment_in("released"), "released_at", None),
    "audit_trail": (lambda: escrow.payment_in("released"), "audit_trail", []),
    "counterparty": (lambda: escrow.payment_in("initiated"), "counterparty", 1),
    "balance": (lambda: escrow.payment_in("funded").account, "current_balance", Decimal(0)),
    "account status": (lambda: escrow.payment_in("funded").account, "status", "closed"),
    "case status": (lambda: escrow.dispute(escrow.payment_in("funded")), "status", "settled"),
    "case assignee": (lambda: escrow.dispute(escrow.payment_in("funded")), "assigned_to", None),
    "deleted_at": (comment, "deleted_at", None),
    "author": (lambda: a_post(make_user()), "user", 1),
}


@pytest.mark.parametrize("case", PROTECTED)
@pytest.mark.parametrize("way", WAYS)
def test_a_column_that_only_verbs_change_is_refused(way, case):
    make, name, value = PROTECTED[case]
    row = make()
    before = columns_of(row)
    row = stored(row)
    with pytest.raises(edb.Protected) as error:
        WAYS[way](row, name, value)
    assert error.value.table == row._meta.table_name
    assert columns_of(row) == before
    assert edb.find_problems() == []


def test_the_error_names_table_column_row_and_verb():
    payment = escrow.payment_in("funded")
    payment.status = "released"
    with pytest.raises(edb.Protected) as caught:
        payment.save()
    error = caught.value
    assert isinstance(error, edb.Refused)
    assert (error.table, error.column, error.attribute, error.id) == (
        "escrow_transactions",
        "status",
        "status",
        payment.id,
    )
    assert error.allowed == ("fund, hold, release, refund or cancel",)
    assert str(error) == (
        f"escrow_transactions.status of escrow_transactions {payment.id} is changed only by fund, hold, release, "
        "refund or cancel. Nothing was changed. Call fund, hold, release, refund or cancel on the row instead, or use "
        "engagement_db.repair, which leaves a trace."
    )


@pytest.mark.parametrize("model", edb.MODELS, ids=lambda model: model.__name__)
def test_every_declared_column_exists(model):
    assert model._meta.verb_columns.keys() <= model._meta.fields.keys()


def test_other_columns_are_changed_in_every_usual_way():
    payment = escrow.payment_in("funded")
    edb.EscrowTransaction.update(external_id="pi_1").where(edb.EscrowTransaction.id == payment.id).execute()
    edb.EscrowTransaction.set_by_id(payment.id, {"milestone_label": "first"})
    payment.metadata = {"a": 1}
    edb.EscrowTransaction.bulk_update([payment], ["metadata"])
    merge(payment, "external_id", "pi_2").execute()
    after = stored(payment)
    assert (after.external_id, after.milestone_label, after.metadata) == ("pi_2", "first", {"a": 1})
    assert (after.status, after.amount, after.audit_trail) == (payment.status, payment.amount, payment.audit_trail)


def test_a_conflict_that_is_ignored_needs_no_permission():
    payment = escrow.payment_in("funded")
    values = {**payment.__data__, "status": "released"}
    edb.EscrowTransaction.insert(values).on_conflict_ignore().execute()
    assert stored(payment).status == "funded"


def test_a_verb_may_write_what_others_may_not():
    payment = escrow.payment(escrow.account())
    query = verb_update(edb.EscrowTransaction, {"status": "funded"}).where(edb.EscrowTransaction.id == payment.id)
    assert query.execute() == 1
    assert stored(payment).status == "funded"
    assert stored(payment).updated_at > payment.updated_at


# Rows that are kept


def event():
    return escrow.dispute(escrow.payment_in("funded")).events.get()


KEPT = {
    "transaction": lambda: escrow.payment_in("cancelled"),
    "case": lambda: escrow.dispute(escrow.payment_in("funded")),
    "event": event,
    "log entry": lambda: edb.FeedActivityLog.record("noted"),
}
DELETIONS = {
    "delete_instance": lambda row: row.delete_instance(),
    "delete_instance recursive": lambda row: row.delete_instance(recursive=True, delete_nullable=True),
    "delete": lambda row: type(row).delete().execute(),
    "delete where": lambda row: type(row).delete().where(type(row).id == row.id).execute(),
    "delete_by_id": lambda row: type(row).delete_by_id(row.id),
    "del [id]": lambda row: type(row).__class__.__delitem__(type(row), row.id),
    "truncate_table": lambda row: type(row).truncate_table(),
    "truncate_table cascade": lambda row: type(row).truncate_table(cascade=True, restart_identity=True),
    "drop_table": lambda row: type(row).drop_table(),
    "drop_tables": lambda row: row._meta.database.drop_tables([type(row)]),
}


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("way", DELETIONS)
def test_rows_of_the_books_and_of_the_logs_are_never_deleted(way, kept):
    row = KEPT[kept]()
    with pytest.raises(edb.Protected, match=row._meta.table_name):
        DELETIONS[way](row)
    assert stored(row) == row


def test_an_event_of_a_case_is_never_changed():
    row = event()
    row.notes = "forged"
    with pytest.raises(edb.Protected, match=f"dispute_events is append-only: dispute_events {row.id}"):
        row.save()
    with pytest.raises(edb.Protected):
        edb.DisputeEvent.update(notes="forged").execute()
    assert stored(row).notes == "Nothing came."


PARENTS = {
    "account": lambda payment: payment.account,
    "account's owner": lambda payment: payment.account.user,
}


@pytest.mark.parametrize("parent", PARENTS)
@pytest.mark.parametrize("way", [name for name in DELETIONS if not name.startswith("drop")])
def test_a_parent_of_kept_rows_is_not_deleted(way, parent):
    payment = escrow.payment_in("released")
    row = PARENTS[parent](payment)
    with pytest.raises(edb.Protected):
        DELETIONS[way](row)
    assert stored(row) == row
    assert stored(payment) == payment


def test_an_account_that_never_held_a_transaction_is_deleted():
    home, other = escrow.account(), escrow.account()
    assert home.delete_instance() == 1
    assert other.user.delete_instance(recursive=True) == 1
    assert edb.EscrowAccount.select().count() == 0


def test_books_are_kept_in_a_database_whose_keys_cascade(database):
    """Foreign keys of an adopted database may be CASCADE."""
    if not isinstance(database, peewee.SqliteDatabase):
        pytest.skip("one server shows it: SQLite, where switching foreign keys off does what a CASCADE would not stop")
    payment = escrow.payment_in("released")
    database.pragma("foreign_keys", 0)
    try:
        for row in (payment.account, payment.account.user):
            with pytest.raises(edb.Protected, match="rows of escrow_"):
                row.delete_instance()
        with pytest.raises(edb.Protected, match="rows of escrow_transactions refer to it by accountId"):
            edb.EscrowAccount.delete().execute()
    finally:
        database.pragma("foreign_keys", 1)
    assert edb.EscrowAccount.select().count() == 1


def test_a_recursive_deletion_deletes_all_or_nothing():
    ada = make_user()
    post = a_post(ada)
    reply = edb.FeedComment.reply(post, make_user("bob"), "first")
    edb.FeedReaction.react(post, ada)
    home = edb.EscrowAccount.open(ada, "stripe")
    payment = escrow.payment(home)
    with pytest.raises(edb.Protected, match=f"escrow_transactions {payment.id} cannot be deleted"):
        ada.delete_instance(recursive=True)
    assert [stored(row) for row in (ada, post, reply, home)] == [ada, post, reply, home]
    assert edb.FeedReaction.select().count() == 1


def test_a_recursive_deletion_keeps_rows_whose_reference_may_be_empty():
    ada, bob = make_user(), make_user("bob")
    payment = escrow.payment(edb.EscrowAccount.open(bob, "stripe"), counterparty=ada)
    project = edb.Project.create(title="Site", owner=ada)
    post = a_post(ada)
    assert ada.delete_instance(recursive=True) == 1
    assert (stored(payment).counterparty_id, stored(project).owner_id) == (None, None)
    assert edb.FeedPost.get_or_none(id=post.id) is None


def test_empty_tables_are_dropped_and_emptied(database):
    for model in (edb.EscrowTransaction, edb.FeedActivityLog, edb.FeedShare):
        if isinstance(database, peewee.SqliteDatabase):
            model.truncate_table()
    a_post(make_user())
    edb.FeedReaction.react(edb.FeedPost.get(), make_user("bob"))
    edb.FeedReaction.delete().execute()
    assert edb.FeedReaction.select().count() == 0
