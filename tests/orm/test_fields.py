"""What a column would bend is refused, by name of table and column, before any SQL is sent."""

import decimal
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playhouse.test_utils import count_queries

import engagement_db as edb
from engagement_db import servers, tables
from engagement_db.orm.bound import target
from engagement_db.orm.models import verb_update

POST, ACCOUNT = edb.FeedPost, edb.EscrowAccount
NINE = datetime(2024, 8, 1, 9, tzinfo=UTC)

few_examples = settings(max_examples=30)


def nested(levels):
    document = []
    for _ in range(levels - 1):
        document = [document]
    return document


HUGE = 10**5000

REFUSED = [
    (
        POST,
        "visibility",
        "everybody",
        r"^feed_posts\.visibility: 'everybody' is not one of public, connections$",
    ),
    (POST, "visibility", "Public", r"is not one of public, connections"),
    (POST, "visibility", "", r"is not one of"),
    (POST, "visibility", edb.ReactionType.LOVE, r"is not one of public"),
    (POST, "visibility", 1, r"1 is not one of"),
    (POST, "visibility", b"public", r"is not one of"),
    (
        POST,
        "created_at",
        datetime(2024, 8, 1),
        r"^feed_posts\.createdAt: .* is naive; say which zone it is in",
    ),
    (POST, "created_at", date(2024, 8, 1), r"is not a time; pass an aware datetime"),
    (POST, "created_at", "2024-08-01T09:00:00+00:00", r"is not a time"),
    (POST, "created_at", 1_722_502_800, r"is not a time"),
    (
        POST,
        "created_at",
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))),
        r"outside the years 1 to 9999 in UTC",
    ),
    (ACCOUNT, "current_balance", 0.5, r"^escrow_accounts\.currentBalance: 0\.5 is not exact; pass a Decimal"),
    (ACCOUNT, "current_balance", "0.5", r"'0\.5' is not an amount; pass a Decimal or an int"),
    (ACCOUNT, "current_balance", True, r"True is not an amount"),
    (ACCOUNT, "current_balance", Decimal("0.00001"), r"has more than 4 decimal places; round it first"),
    (ACCOUNT, "current_balance", Decimal("1E-30"), r"has more than 4 decimal places"),
    (ACCOUNT, "current_balance", Decimal("NaN"), r"NaN is not an amount"),
    (ACCOUNT, "current_balance", Decimal("sNaN"), r"sNaN is not an amount"),
    (ACCOUNT, "current_balance", Decimal("Infinity"), r"Infinity is not an amount"),
    (ACCOUNT, "current_balance", Decimal(10**14), r"is too large; at most 14 digits stand before the point"),
    (ACCOUNT, "current_balance", -(10**14), r"is too large"),
    (ACCOUNT, "current_balance", HUGE, r"is too large"),
    (ACCOUNT, "current_balance", Decimal("1E+1000000"), r"is too large"),
    (
        ACCOUNT,
        "currency_code",
        "EURO",
        r"^escrow_accounts\.currencyCode: the text has 4 characters; at most 3",
    ),
    (ACCOUNT, "currency_code", "🚀🚀🚀🚀", r"the text has 4 characters"),
    (ACCOUNT, "currency_code", "U\x00", r"holds a NUL character"),
    (ACCOUNT, "currency_code", "\ud83d", r"holds half of a surrogate pair"),
    (ACCOUNT, "currency_code", 840, r"840 is not text; pass a str"),
    (POST, "content", "x" * 65_536, r"^feed_posts\.content: the text has 65,536 bytes; at most 65,535 fit"),
    (POST, "content", "漢" * 21_846, r"the text has 65,538 bytes"),
    (POST, "content", "a\x00b", r"holds a NUL character, which PostgreSQL cannot store"),
    (POST, "content", "\udc80", r"holds half of a surrogate pair"),
    (POST, "content", b"bytes", r"is not text"),
    (POST, "user", "abc", r"^feed_posts\.userId: 'abc' is not an id; pass a row or a whole number"),
    (POST, "user", "１", r"is not an id"),
    (POST, "user", "-1", r"is not an id"),
    (POST, "user", True, r"True is not an id"),
    (POST, "user", 1.0, r"is not an id"),
    (POST, "user", 2**63, r"9223372036854775808 does not fit an eight byte integer"),
    (POST, "user", HUGE, r"a huge int does not fit"),
    (POST, "id", "abc", r"^feed_posts\.id: 'abc' is not an id"),
    (POST, "metadata", {1, 2}, r"^feed_posts\.metadata: .* is not JSON that every server keeps: set has no"),
    (POST, "metadata", {"at": NINE}, r"datetime has no JSON form"),
    (POST, "metadata", {"amount": Decimal(1)}, r"Decimal has no JSON form"),
    (POST, "metadata", b"{}", r"bytes has no JSON form"),
    (POST, "metadata", math.nan, r"is not JSON"),
    (POST, "metadata", [math.inf], r"is not JSON"),
    (POST, "metadata", {1: "one"}, r"the key 1 is not text"),
    (POST, "metadata", {"a": {None: 1}}, r"the key None is not text"),
    (POST, "metadata", [2**64], r"an integer beyond 64 bits; pass it as text"),
    (POST, "metadata", -(2**63) - 1, r"an integer beyond 64 bits"),
    (POST, "metadata", nested(32), r"nested more than 31 levels deep"),
    (POST, "metadata", {"a": "b\x00"}, r"holds a NUL character"),
    (POST, "metadata", {"b\x00": 1}, r"holds a NUL character"),
    (POST, "metadata", ["\ud83d"], r"is not JSON"),
]

UNSENT = {"user": 1, "content": "x", "provider": "bank", "id": 1}


def others(model, name):
    return {key: value for key, value in UNSENT.items() if key in model._meta.fields and key != name}


def save(model, name, value):
    stored = model(**others(model, name)) if name == "id" else model(id=1)
    setattr(stored, name, value)
    stored.save(force_insert=name == "id")


WAYS = {
    "create": lambda model, name, value: model.create(**{**others(model, name), name: value}),
    "save": save,
    "insert_many": lambda model, name, value: model.insert_many([others(model, name) | {name: value}]).execute(),
    "bulk_create": lambda model, name, value: model.bulk_create([model(**{**others(model, name), name: value})]),
    "update": lambda model, name, value: model.update({name: value}).execute(),
    "verb_update": lambda model, name, value: verb_update(model, {name: value}).execute(),
    "bulk_update": lambda model, name, value: model.bulk_update([model(**{"id": 1, name: value})], [name]),
    "==": lambda model, name, value: list(model.select().where(model._meta.fields[name] == value)),
    "in": lambda model, name, value: list(model.select().where(model._meta.fields[name].in_([value]))),
}


def means_this_value(way, name, value):
    """Whether peewee hands this very value on: it takes a list for many values and bulk_create has no ids."""
    if way == "bulk_create":
        return name != "id"
    return way not in ("==", "in") or not isinstance(value, list | set)


@pytest.mark.parametrize("way", WAYS)
def test_a_value_that_does_not_fit_is_refused_before_any_sql(database, way):
    refused = [refusal[:3] for refusal in REFUSED if means_this_value(way, *refusal[1:3])]
    outcomes = []
    for model, name, value in refused:
        with count_queries() as queries:
            try:
                outcome = WAYS[way](model, name, value)
            except (edb.RefusedValue, edb.Protected) as refusal:
                outcome = f"{refusal.table}.{refusal.column}"
        outcomes.append((outcome, queries.count))
    expected = [(f"{model._meta.table_name}.{model._meta.fields[name].column_name}", 0) for model, name, _ in refused]
    assert outcomes == expected


@pytest.mark.parametrize(
    ("model", "name", "value", "reason"),
    REFUSED,
    ids=[f"{name}-{n}" for n, (_, name, *_) in enumerate(REFUSED)],
)
def test_a_rejected_value_is_explained(model, name, value, reason):
    with pytest.raises(edb.RefusedValue, match=reason) as refusal:
        model._meta.fields[name].db_value(value)
    assert isinstance(refusal.value, ValueError)
    assert str(refusal.value).startswith(f"{model._meta.table_name}.{refusal.value.column}: ")
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize("way", ["create", "save", "insert_many", "bulk_create", "update"])
def test_a_row_of_another_model_is_no_parent(database, way):
    with (
        count_queries() as queries,
        pytest.raises(edb.RefusedValue, match="<Gig: 1> is not an id"),
    ):
        WAYS[way](edb.Project, "owner", edb.Gig(id=1))
    assert queries.count == 0


def test_between_takes_values_as_a_column_does(database):
    with pytest.raises(edb.RefusedValue, match="is naive"):
        list(POST.select().where(POST.created_at.between(NINE, datetime(2024, 8, 2))))
    with pytest.raises(edb.RefusedValue, match="is not exact"):
        verb_update(ACCOUNT, {"current_balance": ACCOUNT.current_balance + 0.5}).execute()


def test_a_refusal_inside_many_rows_sends_none_of_them(database):
    rows = [{"user": 1, "content": "fits"}, {"user": 1, "content": None, "visibility": "nobody"}]
    with count_queries() as queries, pytest.raises(edb.RefusedValue, match="nobody"):
        POST.insert_many(rows).execute()
    assert queries.count == 0


def test_what_sqlite_would_round_is_refused_there_and_kept_elsewhere(database):
    user = edb.User.create(first_name="a", last_name="b", email="c")
    exact = Decimal("99999999999999.9999")
    if servers.of(database).has_exact_decimal:
        account = ACCOUNT.create(user=user, provider="bank", current_balance=exact)
        assert ACCOUNT.get_by_id(account.id).current_balance == exact
    else:
        with (
            count_queries() as queries,
            pytest.raises(edb.RefusedValue, match=r"digits than SQLite keeps \(15\)"),
        ):
            ACCOUNT.create(user=user, provider="bank", current_balance=exact)
        assert queries.count == 0


@pytest.mark.parametrize("trap", [[], [decimal.Inexact, decimal.Rounded, decimal.FloatOperation]])
def test_money_does_not_depend_on_the_decimal_context_of_the_caller(database, trap):
    user = edb.User.create(first_name="a", last_name="b", email="c")
    with decimal.localcontext(decimal.Context(prec=3, traps=trap)):
        for amount in (Decimal("12345678901.2345"), Decimal("-0"), Decimal("99999999999999"), 7):
            account = ACCOUNT.create(user=user, provider=f"bank {amount}", current_balance=amount)
            read = ACCOUNT.get_by_id(account.id).current_balance
            assert (
                read.as_tuple()
                == Decimal(amount).copy_abs().quantize(Decimal("0.0001"), context=decimal.Context(prec=40)).as_tuple()
            )


def test_a_row_and_its_id_are_interchangeable(database):
    user = edb.User.create(first_name="a", last_name="b", email="c")
    posts = [POST.create(user=given, content="x") for given in (user, user.id, str(user.id))]
    assert [POST.get_by_id(post.id).user for post in posts] == [user] * 3


@pytest.fixture
def account(database):
    user = edb.User.create(first_name="a", last_name="b", email="c")
    return ACCOUNT.create(user=user, provider="bank")


@pytest.fixture
def post(database):
    user = edb.User.create(first_name="a", last_name="b", email="c")
    return POST.create(user=user, content="x")


@few_examples
@given(units=st.integers(min_value=0, max_value=10**18 - 1))
def test_every_amount_comes_back_exactly_or_is_refused(account, units):
    amount = Decimal(units).scaleb(-4, context=decimal.Context(prec=40))
    try:
        verb_update(ACCOUNT, {"current_balance": amount}).where(ACCOUNT.id == account.id).execute()
    except edb.RefusedValue:
        assert len(amount.normalize(decimal.Context(prec=40)).as_tuple().digits) > 15
        assert not servers.of(ACCOUNT._meta.database.obj).has_exact_decimal
        return
    assert ACCOUNT.get_by_id(account.id).current_balance == amount
    assert ACCOUNT.select().where(ACCOUNT.current_balance == amount).count() == 1


zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(
    min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31), timezones=zones, allow_imaginary=False
)


@few_examples
@given(moment=times, later=times)
def test_every_time_comes_back_in_utc_and_sorts(post, moment, later):
    other = POST.create(user=post.user_id, content="y", created_at=later)
    POST.update(created_at=moment).where(POST.id == post.id).execute()
    read = POST.get_by_id(post.id).created_at
    assert (read, read.utcoffset()) == (moment, timedelta(0))
    in_order = [post.id, other.id] if moment <= later else [other.id, post.id]
    found = [row.id for row in POST.select().order_by(POST.created_at, POST.id)]
    POST.delete().where(POST.id == other.id).execute()
    assert found == in_order


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)
documents = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(-1e15, 1e15, allow_subnormal=False)
    | texts
    | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@few_examples
@given(document=documents)
def test_every_document_comes_back(post, document):
    if isinstance(document, int | float) and not isinstance(document, bool):
        document = [document]
    POST.update(metadata=document).where(POST.id == post.id).execute()
    assert POST.get_by_id(post.id).metadata == document


@pytest.mark.parametrize("number", [1e300, -1e22, 1.5e19])
def test_a_number_that_a_server_spells_with_all_its_digits_comes_back_as_it_was(post, number):
    POST.update(metadata=[number]).where(POST.id == post.id).execute()
    (read,) = POST.get_by_id(post.id).metadata
    assert read == number


@few_examples
@given(text=texts)
def test_every_text_comes_back(post, text):
    POST.update(content=text).where(POST.id == post.id).execute()
    assert POST.get_by_id(post.id).content == text
    assert POST.select().where(POST.content == text).count() == 1


BARE_NUMBERS = [0.1, 1.0, -0.0, 1.5e300, 2**63, 2**64 - 1]


@pytest.mark.parametrize("number", BARE_NUMBERS)
def test_a_bare_number_that_sqlite_would_change_is_refused_there_and_kept_elsewhere(post, number):
    dialect = servers.of(target(POST._meta.database))
    if not dialect.converts_json_numbers:
        POST.update(metadata=number).where(POST.id == post.id).execute()
        assert float(POST.get_by_id(post.id).metadata) == float(number)
        return
    with pytest.raises(edb.RefusedValue, match="may turn the bare number"):
        POST.update(metadata=number).where(POST.id == post.id).execute()
    POST.update(metadata=[number]).where(POST.id == post.id).execute()
    assert repr(POST.get_by_id(post.id).metadata) == repr([number])


def test_numbers_inside_documents_are_compared_by_path(post):
    POST.update(metadata={"a": 0.5, "b": 2**63, "c": 7}).where(POST.id == post.id).execute()
    for where in (
        POST.metadata["a"] == 0.5,
        POST.metadata["c"] == 7,
        POST.metadata["c"].in_([7]),
        POST.metadata.path("a") != 0.25,
        POST.metadata == {"a": 0.5, "b": 2**63, "c": 7},
    ):
        assert list(POST.select().where(where)) == [post]


def test_numbers_and_texts_are_distinguished(post):
    other = POST.create(user=post.user, content="y", metadata="7")
    POST.update(metadata=7).where(POST.id == post.id).execute()
    assert list(POST.select().where(POST.metadata == 7)) == [post]
    assert list(POST.select().where(POST.metadata == "7")) == [other]
    assert [type(row.metadata) for row in POST.select().order_by(POST.id)] == [int, str]


def test_sqlite_declares_documents_json_and_keeps_what_plain_clients_write(database):
    if not servers.of(database).converts_json_numbers:
        pytest.skip("SQLite alone has types by name only")
    declared = {
        (table, name): kind
        for table in database.get_tables()
        for _, name, kind, *_ in database.execute_sql(f'PRAGMA table_info("{table}")')
    }
    documents = {
        (model._meta.table_name, field.column_name)
        for model in edb.MODELS
        for field in model._meta.sorted_fields
        if field.column_type == tables.Json()
    }
    assert {declared[place] for place in documents} == {"JSON"}
    user = edb.User.create(first_name="a", last_name="b", email="c")
    insert = 'INSERT INTO feed_posts ("userId", content, metadata) VALUES (?, ?, ?)'
    written = {"5": 5, "1.5": 1.5, '"5"': "5", "null": edb.JSON_NULL, "[1.0]": [1.0], '{"a": 1}': {"a": 1}}
    for text, document in written.items():
        database.execute_sql(insert, (user.id, text, text))
        assert POST.get(POST.content == text).metadata == document
    for text in ("1e400", "{", "tru"):
        with pytest.raises(peewee.IntegrityError):
            database.execute_sql(insert, (user.id, text, text))
