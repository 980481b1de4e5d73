"""Errors carry data: a code, the place, and whether the call can be repeated."""

import ast
import pickle
import re
import traceback
from pathlib import Path

import escrow
import peewee
import pytest
from feed_rows import a_post

import engagement_db as edb
from engagement_db import errors
from engagement_db.contrib import problem_details
from engagement_db.testing import make_user

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, edb.EngagementError)
]


def data_of(error):
    return error.code, error.table, error.id, error.status, error.allowed, error.retryable


def refusals_in_the_source():
    """Each place of the models and verbs that makes a refusal, with the names of what it tells."""
    named = {"Refused", "InvalidTransition", "Protected", "ReferenceConflict", "NotFound", "DoesNotExist"}
    for folder in ("orm", "feed", "trust"):
        for path in sorted((Path(edb.__file__).parent / folder).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in named:
                    yield f"{path.name}:{node.lineno}", {keyword.arg or "**" for keyword in node.keywords}


def test_no_refusal_is_without_its_table():
    found = dict(refusals_in_the_source())
    assert len(found) > 20
    assert [place for place, told in found.items() if not told & {"table", "**"}] == []


def test_each_class_has_a_code_of_its_own():
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes) == len(CLASSES) > 10
    assert {edb.NotFound.code, edb.RefusedValue.code, edb.InvalidTransition.code} == {
        "not_found",
        "refused_value",
        "invalid_transition",
    }


def reply_elsewhere():
    ada = make_user()
    comment = edb.FeedComment.reply(a_post(ada), ada, "First")
    return lambda: edb.FeedComment.reply(a_post(ada), ada, "Second", parent=comment), "feed_comments", None, None, ()


def edit_of_deleted():
    ada = make_user()
    comment = edb.FeedComment.reply(a_post(ada), ada, "First")
    comment.soft_delete(by=ada, reason="posted twice")
    return lambda: comment.edit(by=ada, body="Second"), "feed_comments", None, None, ()


def funding_of_suspended():
    payment = escrow.payment_in("initiated")
    payment.account.activate()
    payment.account.suspend()
    return payment.fund, "escrow_accounts", None, "suspended", ("pending", "active")


def other_payload():
    payment = escrow.payment_in("funded")
    account, reference = payment.account, payment.reference
    return lambda: escrow.payment(account, "70", reference=reference), "escrow_transactions", None, "funded", ()


def verb_column():
    payment = escrow.payment_in("funded")
    verbs = edb.EscrowTransaction._meta.verb_columns["status"]
    return lambda: edb.EscrowTransaction.update(status="x"), payment._meta.table_name, "status", None, (verbs,)


def event_without_notes():
    case = escrow.dispute(escrow.payment_in("funded"))
    return lambda: case.record(notes=""), "dispute_events", "notes", None, ()


def status_that_settles():
    case = escrow.dispute(escrow.payment_in("funded"))
    active = ("open", "awaiting_customer", "under_review")
    return lambda: case.set_status(edb.DisputeStatus.SETTLED), "dispute_cases", None, "open", active


REFUSALS = {
    refuse.__name__: refuse
    for refuse in (
        reply_elsewhere,
        edit_of_deleted,
        funding_of_suspended,
        other_payload,
        verb_column,
        event_without_notes,
        status_that_settles,
    )
}


@pytest.mark.usefixtures("database")
class TestData:
    def test_an_invalid_transition_names_the_statuses_it_starts_from(self):
        payment = escrow.payment_in("released")
        with pytest.raises(edb.InvalidTransition) as caught:
            payment.fund()
        assert data_of(caught.value) == (
            "invalid_transition",
            "escrow_transactions",
            payment.id,
            "released",
            ("initiated",),
            False,
        )

    def test_a_value_that_does_not_fit_names_column_and_attribute(self):
        with pytest.raises(edb.RefusedValue) as caught:
            edb.FeedReaction(reaction_type="shrug")
        error = caught.value
        assert (error.table, error.column, error.attribute) == ("feed_reactions", "reactionType", "reaction_type")
        assert error.allowed == tuple(edb.ReactionType)

    def test_a_row_that_is_missing_is_named(self):
        with pytest.raises(edb.NotFound) as caught:
            escrow.payment_in("initiated").fund(by=987_654)
        assert data_of(caught.value)[:3] == ("not_found", "users", 987_654)

    @pytest.mark.parametrize(
        "look_up",
        [
            lambda: edb.FeedPost.get_by_id(7),
            lambda: edb.FeedPost[7],
            lambda: edb.FeedPost.get(edb.FeedPost.id == 7),
            lambda: edb.FeedPost.get(id=7),
            lambda: edb.FeedPost.select().where(edb.FeedPost.id == 7).get(),
        ],
    )
    def test_a_missing_row_is_both_not_found_and_does_not_exist(self, look_up):
        for kind in (edb.NotFound, edb.FeedPost.DoesNotExist, peewee.DoesNotExist):
            with pytest.raises(kind):
                look_up()

    def test_get_by_id_names_table_and_id(self):
        with pytest.raises(edb.NotFound, match=r"^feed_posts 7 does not exist\.$") as caught:
            edb.FeedPost.get_by_id(7)
        assert (caught.value.table, caught.value.id, caught.value.code) == ("feed_posts", 7, "not_found")

    def test_a_query_that_finds_no_row_tells_the_table_and_no_value(self):
        mail = edb.User.email == "ada@example.org"
        for look_up in (
            lambda: edb.User.get(mail),
            lambda: edb.User.select().where(mail).get(),
            lambda: edb.User.select(edb.User.id).where(mail).dicts().get(),
        ):
            with pytest.raises(edb.NotFound, match=r"^no row of users matches the query\.$") as caught:
                look_up()
            assert caught.value.table == "users"
            assert "ada@example.org" not in "".join(traceback.format_exception(caught.value))

    def test_habits_of_peewee_around_missing_rows_hold(self):
        assert edb.FeedPost.get_or_none(id=7) is None
        post, is_new = edb.FeedPost.get_or_create(user=make_user(), content="x")
        assert is_new
        assert edb.FeedPost.get_by_id(post.id) == post

    @pytest.mark.parametrize("refuse", REFUSALS)
    def test_every_refusal_says_where(self, refuse):
        call, table, column, status, allowed = REFUSALS[refuse]()
        with pytest.raises(edb.Refused) as caught:
            call()
        error = caught.value
        assert (error.table, error.column, error.status, error.allowed) == (table, column, status, allowed)
        assert column or error.id is not None
        assert not error.retryable

    def test_an_error_survives_pickling(self):
        payment = escrow.payment_in("released")
        a_post(edb.User.get())
        for call in (
            payment.fund,
            lambda: edb.FeedPost.get_by_id(7),
            lambda: edb.FeedReaction(reaction_type="shrug"),
            lambda: edb.FeedPost.update(user=1),
        ):
            with pytest.raises(edb.EngagementError) as caught:
                call()
            twin = pickle.loads(pickle.dumps(caught.value))
            assert (type(twin), str(twin), vars(twin)) == (type(caught.value), str(caught.value), vars(caught.value))


def test_every_error_survives_pickling():
    for error in (
        edb.SchemaConflict("head", ["a", "b"], "cure"),
        edb.ReferenceConflict("text", ["amount"]),
        edb.Unbound(),
        edb.Contention("text"),
    ):
        twin = pickle.loads(pickle.dumps(error))
        assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))


def test_the_page_says_which_http_status_fits_which_error():
    page = (Path(__file__).parent.parent / "docs" / "connecting.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \|", page, flags=re.MULTILINE)
    codes = problem_details.STATUS_CODES
    assert rows == [(kind.__name__, kind.code, str(status.value)) for kind, status in codes.items()]


def test_a_problem_document_has_the_data_of_the_error():
    error = edb.InvalidTransition("refused", table="t", id=7, status="released", allowed=["initiated"])
    assert problem_details.problem_document(error) == {
        "status": 409,
        "title": "Conflict",
        "code": "invalid_transition",
        "detail": "refused",
        "table": "t",
        "id": 7,
        "row_status": "released",
        "allowed": ["initiated"],
        "retryable": False,
    }
    assert problem_details.headers_for(error) == {}


def test_a_problem_that_passes_says_when_to_try_again():
    assert problem_details.headers_for(edb.Contention("x")) == {"Retry-After": "1"}


def test_a_mistake_of_the_service_tells_a_client_nothing():
    document = problem_details.problem_document(edb.ConfigurationError("postgresql://db.internal has no driver"))
    assert document == {"status": 500, "title": "Internal Server Error", "code": "configuration_error"}
