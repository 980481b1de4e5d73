"""Errors carry data: a code, the place, and whether the call can be repeated."""

import pickle

import escrow
import peewee
import pytest
from people import a_post, somebody

import engagement_db as edb
from engagement_db import errors

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, edb.EngagementError)
]


def data_of(error):
    return error.code, error.table, error.id, error.status, error.allowed, error.retryable


def test_each_class_has_a_code_of_its_own():
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes) == len(CLASSES) > 10
    assert {edb.NotFound.code, edb.RefusedValue.code, edb.InvalidTransition.code} == {
        "not_found",
        "refused_value",
        "invalid_transition",
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

    def test_habits_of_peewee_around_missing_rows_hold(self):
        assert edb.FeedPost.get_or_none(id=7) is None
        post, is_new = edb.FeedPost.get_or_create(user=somebody(), content="x")
        assert is_new
        assert edb.FeedPost.get_by_id(post.id) == post

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
