"""Schemas of the models, and what peewee's own tools make of the models."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

import engagement_db as edb
from engagement_db import testing

pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed; tests/run -e services installs it")

from playhouse.pydantic_utils import to_pydantic  # noqa: E402

from engagement_db.contrib.pydantic import Create, Read, create_schema, read_schema  # noqa: E402


@pytest.fixture(autouse=True)
def bound(engagement_db_database):
    return engagement_db_database


MAKERS = [getattr(testing, name) for name in testing.__all__ if name.startswith("make_")]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_row_can_be_read(make):
    row = make()
    read = read_schema(type(row)).model_validate(row)
    assert set(type(read).model_fields) == {
        getattr(field, "object_id_name", field.name) for field in row._meta.sorted_fields
    }
    again = type(read).model_validate_json(read.model_dump_json())
    assert again == read


@pytest.mark.parametrize("schema", [read_schema, create_schema])
def test_every_column_is_described(schema):
    for model in edb.MODELS:
        words = {getattr(field, "object_id_name", field.name): field.help_text for field in model._meta.sorted_fields}
        for name, described in schema(model).model_json_schema()["properties"].items():
            assert described["description"] == words[name]


@pytest.mark.parametrize("model", edb.MODELS, ids=lambda model: model.__name__)
def test_an_annotation_is_the_schema_itself(model):
    assert Read[model] is read_schema(model)
    assert Create[model] is create_schema(model)
    assert read_schema(model, exclude=["id"]) is read_schema(model, exclude={"id"}) is not Read[model]


def test_values_are_exact():
    payment = testing.make_transaction(amount=Decimal("250.10"), status=edb.TransactionStatus.FUNDED)
    data = read_schema(edb.EscrowTransaction).model_validate(payment).model_dump(mode="json")
    assert (data["amount"], data["status"], data["account_id"]) == ("250.1000", "funded", payment.account_id)
    assert data["created_at"].endswith("Z")
    assert (data["counterparty_id"], data["released_at"]) == (None, None)


@pytest.mark.parametrize(("stored", "read"), [(None, None), (edb.JSON_NULL, None), ({"a": [1]}, {"a": [1]})])
def test_a_document_is_read_as_it_is(stored, read):
    post = edb.FeedPost.get_by_id(testing.make_post(metadata=stored).id)
    assert read_schema(edb.FeedPost).model_validate(post).model_dump(mode="json")["metadata"] == read


def test_a_label_of_another_service_is_read_as_text(bound):
    post = testing.make_post()
    bound.execute_sql("PRAGMA ignore_check_constraints = ON")
    bound.execute_sql("UPDATE feed_posts SET visibility = 'friends' WHERE id = ?", (post.id,))
    read = read_schema(edb.FeedPost).model_validate(edb.FeedPost.get_by_id(post.id))
    assert read.model_dump(mode="json")["visibility"] == "friends"


def test_what_a_client_sends_makes_a_row():
    sent = create_schema(edb.FeedPost)(user_id=testing.make_user().id, content="Hello")
    post = edb.FeedPost.create(**sent.model_dump())
    assert (post.content, post.visibility) == ("Hello", edb.Visibility.PUBLIC)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("amount", 0.1),
        ("amount", "1.23456"),
        ("amount", "NaN"),
        ("amount", "1e20"),
        ("currency_code", "DOLLAR"),
        ("type", "loan"),
        ("scheduled_release_at", "2030-01-01T00:00:00"),
        ("scheduled_relese_at", "2030-01-01T00:00:00Z"),
        ("id", 7),
    ],
)
def test_what_does_not_fit_is_refused(column, value):
    given = {"account_id": 1, "reference": "E-1", "amount": "1", "initiated_by_id": 1}
    schema = create_schema(edb.EscrowTransaction)
    assert schema(**given)
    with pytest.raises(pydantic.ValidationError, match=column):
        schema(**{**given, column: value})


def test_a_time_is_taken_in_utc():
    noon = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    schema = create_schema(edb.EscrowTransaction)
    sent = schema(account_id=1, reference="E-1", amount=1, initiated_by_id=1, scheduled_release_at=noon)
    assert (sent.scheduled_release_at, sent.scheduled_release_at.tzinfo) == (noon, UTC)


def test_columns_may_be_left_out():
    assert "email" not in read_schema(edb.User, exclude=["email"]).model_fields
    assert "metadata" not in create_schema(edb.FeedPost, exclude=["metadata"]).model_fields


@pytest.mark.parametrize("schema", [read_schema, create_schema])
@pytest.mark.parametrize("name", ["emial", "createdAt"])
def test_an_unknown_column_to_exclude_is_an_error(schema, name):
    with pytest.raises(
        ValueError, match=f"User has no column '{name}' to leave out; it has id, first_name, last_name, "
    ):
        schema(edb.User, exclude=["email", name])


@pytest.mark.parametrize("model", edb.MODELS, ids=lambda model: model.__name__)
def test_peewees_own_schema_takes_the_models(model):
    schema = to_pydantic(model)
    enums = {field.name: field.enum_class for field in model._meta.sorted_fields if hasattr(field, "enum_class")}
    assert {name: schema.model_fields[name].annotation for name in enums} == enums
    assert len(schema.model_fields) == len(model._meta.sorted_fields) - 1
