"""Every column of every model: what is written comes back, whichever way it was written."""

import itertools
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import peewee
import pytest
from playhouse.shortcuts import model_to_dict

import engagement_db as edb
from engagement_db import servers, tables
from engagement_db.orm.fields import ReferenceField
from engagement_db.orm.models import verb_update

TEXTS = [
    "Shipped! 🚀",
    "👩‍👩‍👧‍👦 🇳🇴 👍🏽",
    "e\u0301 and \u00e9 are two spellings",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 漢字 العربية",
    "quote ' double \" backslash \\ percent %s %% line\r\n tab\t",
    " spaces at both ends ",
    "",
]
DOCUMENTS = [
    None,
    edb.JSON_NULL,
    {},
    [],
    "text 🚀",
    "",
    "null",
    0,
    -1,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    0.1,
    1.0,
    1.5e300,
    5e-324,
    True,
    False,
    {"": {"a": [1, [2, {"b": None}]], "A": "e\u0301", "a ": "\\ \" ' %s \\u0000"}},
    [None, True, {"🚀": "👩‍👩‍👧‍👦"}],
    [1.0, 0.1, 1.5e300, 5e-324, 2**64 - 1, 0, -0.5],
    "1",
    "1.0",
    "1e400",
    '"1"',
    " 1",
    {"large": ["0123456789abcdef" * 4] * 1600},
]
OSLO = ZoneInfo("Europe/Oslo")
TIMES = [
    datetime(2024, 8, 1, 9, 0, 0, 123456, tzinfo=UTC),
    datetime(2024, 8, 1, 9, 0, tzinfo=UTC),
    datetime(2024, 8, 1, 9, 0, 0, 1, tzinfo=timezone(timedelta(hours=-11, minutes=-30))),
    datetime(2024, 10, 27, 2, 30, 0, 999999, tzinfo=OSLO),
    datetime(2024, 10, 27, 2, 30, 0, 999999, tzinfo=OSLO, fold=1),
    datetime(2024, 3, 31, 2, 30, tzinfo=OSLO),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]


def amounts(dialect):
    digits = ["0.0001", "0.1", "1", "12345678901.2345", "99999999999.9999", "99999999999999"]
    return [Decimal(amount) for amount in [*digits, *(["99999999999999.9999"] if dialect.has_exact_decimal else [])]]


def is_kept(dialect, document):
    """Whether the server keeps the document as it is; SQLite does not keep every bare number."""
    is_number = isinstance(document, int | float) and not isinstance(document, bool)
    return not (is_number and dialect.converts_json_numbers) or (isinstance(document, int) and document < 2**63)


numbers = itertools.count(1)


def row(model, **given):
    """A stored row of the model, with the parents that it needs."""
    return model.create(**required(model, given), **given)


def required(model, given=()):
    values = {}
    for field in model._meta.sorted_fields:
        if field.name in given or field.null or field.default is not None:
            continue
        if isinstance(field.column_type, tables.Id):
            continue
        if isinstance(field, ReferenceField):
            values[field.name] = row(field.rel_model)
        elif isinstance(field.column_type, tables.Money):
            values[field.name] = Decimal(100)
        else:
            values[field.name] = f"{field.name} {next(numbers)}"
    return values


def tries(dialect, field, parent):
    """What is written into the column, one value after the other."""
    match field.column_type:
        case tables.Text():
            return [*TEXTS, "x" * 65_535, "漢" * 21_845]
        case tables.Varchar(length):
            texts = [*(text[:length] for text in TEXTS), "🚀" * length]
            # A column of its own may be unique.
            return [f"{number}{text}"[:length] for number, text in enumerate(texts)]
        case tables.Enum():
            return list(field.enum_class)
        case tables.Timestamp():
            return TIMES
        case tables.Money():
            return amounts(dialect)
        case tables.Json():
            return [document for document in DOCUMENTS if is_kept(dialect, document)]
        case tables.Integer():
            return [parent, None] if field.null else [parent]
    raise AssertionError(f"{field} has a type without samples")


def same(field, written, read):
    if written is None or written is edb.JSON_NULL:
        return read is written
    match field.column_type:
        case tables.Timestamp():
            return read == written.astimezone(UTC) and read.utcoffset() == timedelta(0)
        case tables.Money():
            return read == written and isinstance(read, Decimal) and read.as_tuple().exponent == -4
        case tables.Json():
            return plain_json(read) == plain_json(written)
        case tables.Enum():
            return read is written
        case tables.Integer():
            return read == (written if isinstance(written, int) else written.id)
    return type(read) is str and read == written


def plain_json(value):
    """The document as text, so that 1, 1.0 and True differ, but 1e300 may be written out in digits."""

    def number(digits):
        return int(digits) if -(2**63) <= int(digits) < 2**64 else float(digits)

    return json.dumps(json.loads(json.dumps(value), parse_int=number), sort_keys=True)


def columns(model):
    return [field for field in model._meta.sorted_fields if not isinstance(field.column_type, tables.Id)]


def remove(model, stored):
    # Not stored.delete_instance(), because some tables keep every row.
    peewee.ModelDelete(model).where(model.id == stored.id).execute()


@pytest.mark.parametrize("model", edb.MODELS, ids=lambda model: model._meta.table_name)
def test_every_column_gives_back_what_was_written(database, model):
    fields = columns(model)
    parents = {field: row(field.rel_model) for field in fields if isinstance(field, ReferenceField)}
    samples = {field: tries(servers.of(database), field, parents.get(field)) for field in fields}
    for turn in range(max(map(len, samples.values()))):
        written = {field: values[turn % len(values)] for field, values in samples.items()}
        stored = model.create(**{field.name: value for field, value in written.items()})
        read = model.get_by_id(stored.id)
        bent = {
            field.name: (value, read.__data__[field.name])
            for field, value in written.items()
            if not same(field, value, read.__data__[field.name])
        }
        assert bent == {}
        remove(model, stored)


@pytest.mark.parametrize("model", edb.MODELS, ids=lambda model: model.__name__)
def test_a_new_row_without_a_value_that_it_needs_is_refused_by_its_column(database, model):
    field = next(
        each for each in model._meta.sorted_fields if not (each.null or each.primary_key) and each.default is None
    )
    for write in (model.create, lambda: model().save(), lambda: model(id=1).save(force_insert=True)):
        with pytest.raises(edb.RefusedValue, match="a value is required") as caught:
            write()
        assert (caught.value.table, caught.value.column) == (model._meta.table_name, field.column_name)
    assert model.select().count() == 0


def write_by_create(written):
    return edb.EscrowTransaction.create(**written)


def changeable(model, values):
    """Those of the values that plain writes may change on a stored row."""
    return {name: value for name, value in values.items() if name not in model._meta.verb_columns}


def write_by_save(written):
    stored = row(edb.EscrowTransaction)
    for name, value in written.items():
        setattr(stored, name, value)
    assert stored.save() == 1
    return stored


def write_by_update(written):
    stored = row(edb.EscrowTransaction)
    assert edb.EscrowTransaction.update(written).where(edb.EscrowTransaction.id == stored.id).execute() == 1
    return stored


def write_by_insert_many(written):
    edb.EscrowTransaction.insert_many([written]).execute()
    return edb.EscrowTransaction.get(reference=written["reference"])


def write_by_bulk_create(written):
    edb.EscrowTransaction.bulk_create([edb.EscrowTransaction(**written)])
    return edb.EscrowTransaction.get(reference=written["reference"])


def write_by_bulk_update(written):
    stored, other = row(edb.EscrowTransaction), row(edb.EscrowTransaction)
    for name, value in written.items():
        setattr(stored, name, value)
    assert edb.EscrowTransaction.bulk_update([stored, other], list(written)) >= 1
    return stored


WRITERS = [
    write_by_create,
    write_by_save,
    write_by_update,
    write_by_insert_many,
    write_by_bulk_create,
    write_by_bulk_update,
]


UPDATERS = {write_by_save, write_by_update, write_by_bulk_update}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("document", [DOCUMENTS[1], *DOCUMENTS[-3:], None, "text", 7])
def test_every_way_of_writing_takes_the_same_path(database, write, document):
    written = {
        **required(edb.EscrowTransaction),
        "external_id": "🚀" * 120,
        "type": edb.TransactionType.RETAINER,
        "amount": Decimal("99999999999.9999"),
        "project": None,
        "cancelled_at": None,
        "released_at": datetime(2024, 8, 1, 9, 0, 0, 123456, tzinfo=OSLO),
        "scheduled_release_at": datetime(2024, 8, 1, 9, 0, 0, 123456, tzinfo=OSLO),
        "milestone_label": "e\u0301",
        "metadata": document,
    }
    if write in UPDATERS:
        written = changeable(edb.EscrowTransaction, written)
    read = edb.EscrowTransaction.get_by_id(write(written).id)
    fields = edb.EscrowTransaction._meta.fields
    assert {
        name: read.__data__[name]
        for name, value in written.items()
        if not same(fields[name], value, read.__data__[name])
    } == {}


@pytest.mark.parametrize("model", edb.MODELS, ids=lambda model: model._meta.table_name)
def test_a_row_of_plain_sql_gets_the_defaults_of_the_database(database, model):
    dialect = servers.of(database)
    given = {
        model._meta.fields[name].column_name: getattr(value, "id", value) for name, value in required(model).items()
    }
    if not given:
        given = {"title": "plain"}
    names = ", ".join(map(dialect.quoted, given))
    marks = ", ".join([database.param] * len(given))
    values = [str(value) if isinstance(value, Decimal) else value for value in given.values()]
    before = edb.now()
    database.execute_sql(f"INSERT INTO {dialect.quoted(model._meta.table_name)} ({names}) VALUES ({marks})", values)
    after = edb.now()
    read = model.select().order_by(model.id.desc()).get()
    for field in columns(model):
        value = read.__data__[field.name]
        if field.column_name in given:
            continue
        match model.declared().column(field.column_name).default:
            case None:
                assert value is None, field.name
            case tables.Now():
                # SQLite's clock has milliseconds.
                assert before - timedelta(seconds=1) < value < after + timedelta(seconds=1), field.name
                assert value.utcoffset() == timedelta(0)
            case default:
                assert value == (Decimal(default) if isinstance(value, Decimal) else default), field.name


def moved(stored):
    return type(stored).get_by_id(stored.id).updated_at > stored.created_at + timedelta(days=1)


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def old_row(model):
    return model.get_by_id(row(model, created_at=LONG_AGO, updated_at=LONG_AGO).id)


UPDATED_MODELS = [model for model in edb.MODELS if "updated_at" in model._meta.fields and not model._meta.append_only]


@pytest.mark.parametrize("model", UPDATED_MODELS, ids=lambda model: model._meta.table_name)
def test_updated_at_moves_with_every_save_and_update(database, model):
    name = next(iter(changeable(model, model._meta.fields).keys() - {"id", "created_at", "updated_at"}))
    saved, saved_in_part, updated, updated_in_bulk, bystander = (old_row(model) for _ in range(5))
    saved.save()
    saved_in_part.save(only=[name])
    model.update({name: getattr(updated, name)}).where(model.id == updated.id).execute()
    model.bulk_update([updated_in_bulk], [name])
    assert [moved(stored) for stored in (saved, saved_in_part, updated, updated_in_bulk)] == [True] * 4
    assert not moved(bystander)
    assert [model.get_by_id(stored.id).updated_at for stored in (saved, saved_in_part)] == [
        saved.updated_at,
        saved_in_part.updated_at,
    ]


@pytest.mark.parametrize("key", ["updated_at", edb.User.updated_at])
def test_an_update_may_set_updated_at_by_name(database, key):
    user = row(edb.User)
    edb.User.update({key: LONG_AGO}).where(edb.User.id == user.id).execute()
    assert edb.User.get_by_id(user.id).updated_at == LONG_AGO


def test_an_inserted_row_keeps_the_times_that_it_was_given(database):
    user = row(edb.User, created_at=LONG_AGO, updated_at=LONG_AGO)
    assert edb.User.get_by_id(user.id).updated_at == LONG_AGO
    edb.User(id=user.id + 1, **required(edb.User), updated_at=LONG_AGO).save(force_insert=True)
    assert edb.User.get_by_id(user.id + 1).updated_at == LONG_AGO


def test_comparisons_take_the_same_values_as_columns(database):
    nine = datetime(2024, 8, 1, 9, tzinfo=UTC)
    post = row(edb.FeedPost, content="🚀", visibility="connections", metadata={"a": [1]}, created_at=nine)
    row(edb.FeedPost, content="other", metadata={"a": [2]}, created_at=nine - timedelta(microseconds=1))
    account = row(edb.EscrowAccount, current_balance=Decimal("12.5"))
    eleven_in_oslo = nine.astimezone(OSLO)
    found = [
        edb.FeedPost.id == post.id,
        edb.FeedPost.id == str(post.id),
        edb.FeedPost.id.in_([post.id, 0]),
        edb.FeedPost.user == post.user,
        edb.FeedPost.user == post.user_id,
        edb.FeedPost.user.in_([post.user]),
        edb.FeedPost.content == "🚀",
        edb.FeedPost.content.contains("🚀"),
        edb.FeedPost.visibility == edb.Visibility.CONNECTIONS,
        edb.FeedPost.visibility == "connections",
        edb.FeedPost.visibility.in_([edb.Visibility.CONNECTIONS]),
        edb.FeedPost.visibility != edb.Visibility.PUBLIC,
        edb.FeedPost.metadata == {"a": [1]},
        edb.FeedPost.metadata["a"] == [1],
        edb.FeedPost.metadata["a"][0] == 1,
        edb.FeedPost.created_at == eleven_in_oslo,
        edb.FeedPost.created_at >= eleven_in_oslo,
        edb.FeedPost.created_at.between(eleven_in_oslo, eleven_in_oslo),
        edb.FeedPost.created_at.in_([eleven_in_oslo]),
        edb.FeedPost.id.in_(edb.FeedPost.select(edb.FeedPost.id).where(edb.FeedPost.content == "🚀")),
    ]
    missed = [number for number, where in enumerate(found) if list(edb.FeedPost.select().where(where)) != [post]]
    assert missed == []
    for where in (
        edb.EscrowAccount.current_balance == Decimal("12.5"),
        edb.EscrowAccount.current_balance > edb.EscrowAccount.pending_release_total + Decimal("12.4999"),
        edb.EscrowAccount.current_balance.between(12, 13),
        edb.EscrowAccount.current_balance.in_([Decimal("12.5000")]),
    ):
        assert list(edb.EscrowAccount.select().where(where)) == [account]


def test_sql_null_and_json_null_are_distinguished(database):
    nothing, null = row(edb.FeedPost, metadata=None), row(edb.FeedPost, metadata=edb.JSON_NULL)
    assert list(edb.FeedPost.select().where(edb.FeedPost.metadata.is_null())) == [nothing]
    assert list(edb.FeedPost.select().where(edb.FeedPost.metadata == edb.JSON_NULL)) == [null]
    assert list(edb.FeedPost.select().where(edb.FeedPost.metadata.is_null(False))) == [null]


def test_a_document_of_node_is_found_by_its_value(database):
    post = row(edb.FeedPost)
    database.execute_sql('UPDATE feed_posts SET metadata = \'{"a":[1,{"b":null}]}\'')
    assert edb.FeedPost.get(edb.FeedPost.metadata == {"a": [1, {"b": None}]}) == post


def test_amounts_are_changed_inside_the_database_exactly(database):
    account = row(edb.EscrowAccount, current_balance=Decimal("0.1"))
    balance = edb.EscrowAccount.current_balance
    for _ in range(2):
        verb_update(edb.EscrowAccount, {"current_balance": balance + Decimal("0.1")}).execute()
    assert edb.EscrowAccount.get_by_id(account.id).current_balance == Decimal("0.3")


def test_functions_joins_and_other_rows_read_the_same_values(database):
    post = row(edb.FeedPost, visibility=edb.Visibility.CONNECTIONS, metadata={"a": None}, created_at=TIMES[0])
    reaction = row(edb.FeedReaction, post=post, reaction_type=edb.ReactionType.LOVE)
    row(edb.EscrowAccount, current_balance=Decimal("7"))
    aggregate = edb.FeedPost.select(
        peewee.fn.COUNT(edb.FeedPost.visibility), peewee.fn.MAX(edb.FeedPost.created_at)
    ).tuples()
    assert aggregate[0] == (1, TIMES[0])
    assert edb.EscrowAccount.select(peewee.fn.MAX(edb.EscrowAccount.current_balance)).scalar() == Decimal("7")
    joined = edb.FeedReaction.select(edb.FeedReaction, edb.FeedPost).join(edb.FeedPost).get()
    assert (joined.reaction_type, joined.post.visibility) == (
        edb.ReactionType.LOVE,
        edb.Visibility.CONNECTIONS,
    )
    assert joined.post.metadata == {"a": None}
    as_dict = edb.FeedPost.select().dicts().get()
    assert as_dict == {**post.__data__, "user": post.user_id}
    assert model_to_dict(reaction, recurse=False)["reaction_type"] is edb.ReactionType.LOVE
    assert model_to_dict(joined)["post"]["created_at"] == TIMES[0]
    assert [*post.reactions] == [reaction]
    assert edb.FeedPost.created_at.year is not None
    parts = edb.FeedPost.select(edb.FeedPost.created_at.year, edb.FeedPost.created_at.hour).tuples()
    assert tuple(map(int, parts[0])) == (2024, 9)


def test_rows_are_sorted_by_time_whoever_wrote_it(database):
    """Python's six digits, Sequelize's three, the database's own default: one order."""
    texts = servers.of(database).stores_time_as_text
    second = datetime(2024, 8, 1, 9, 0, 0, tzinfo=UTC)
    moments = [second + timedelta(microseconds=n) for n in (0, 1, 999, 1000, 1001, 123_000, 123_456, 999_999)]
    stored = []
    for moment in reversed(moments):
        post = row(edb.FeedPost, created_at=second)
        if moment.microsecond % 1000 == 0 and texts:
            sequelize = moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " +00:00"
            database.execute_sql('UPDATE feed_posts SET "createdAt" = ? WHERE id = ?', (sequelize, post.id))
        else:
            edb.FeedPost.update(created_at=moment).where(edb.FeedPost.id == post.id).execute()
        stored.append(post)
    by_time = edb.FeedPost.select().order_by(edb.FeedPost.created_at)
    assert list(by_time) == stored[::-1]
    assert [post.created_at for post in by_time] == moments
    for moment, post in zip(moments, stored[::-1], strict=True):
        assert edb.FeedPost.get(edb.FeedPost.created_at == moment) == post
        assert edb.FeedPost.select().where(edb.FeedPost.created_at < moment).count() == moments.index(moment)


def test_the_default_of_the_database_sorts_among_times_of_python(database):
    dialect = servers.of(database)
    user = row(edb.User)
    before = row(edb.FeedPost, user=user, created_at=edb.now() - timedelta(seconds=1))
    user_id = dialect.quoted("userId")
    database.execute_sql(f"INSERT INTO feed_posts ({user_id}, content) VALUES ({user.id}, 'plain')")
    after = row(edb.FeedPost, user=user, created_at=edb.now() + timedelta(seconds=1))
    ordered = [post.content for post in edb.FeedPost.select().order_by(edb.FeedPost.created_at)]
    assert ordered == [before.content, "plain", after.content]


def tables_of(database):
    return set(database.get_tables()) - {"sqlite_sequence"}


def test_all_models_are_created_and_dropped_together(database, url):
    scratch = edb.bind(edb.connect(url))
    with scratch.connection_context():
        for _ in range(2):
            scratch.create_tables(edb.MODELS)
        assert tables_of(scratch) == {model._meta.table_name for model in edb.MODELS}
        for _ in range(2):
            scratch.drop_tables(edb.MODELS)
        assert tables_of(scratch) == set()
        if servers.of(scratch).name == "postgresql":
            assert scratch.execute_sql("SELECT typname FROM pg_type WHERE typtype = 'e'").fetchall() == []
