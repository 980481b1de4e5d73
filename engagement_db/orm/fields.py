"""Fields that reject what their column would truncate, round or coerce: enums, UTC times, money, JSON, bounded text.

Each carries ``column_type``, its logical type in the vocabulary of ``engagement_db.tables``. Every
refusal is a RefusedValue that names table and column, raised before any SQL is sent.
"""

import copy
import json
import math
import operator
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from enum import StrEnum
from typing import Any, Final, NoReturn

import peewee

from engagement_db import tables
from engagement_db.errors import RefusedValue
from engagement_db.orm.columns import Column, Reference
from engagement_db.servers import family
from engagement_db.servers.dialect import Dialect

TEXT_LIMIT_BYTES: Final = 65_535
MONEY_DIGITS: Final = 18
MONEY_PLACES: Final = 4
JSON_DEPTH: Final = 31
_CENT = Decimal(1).scaleb(-MONEY_PLACES)
_ZERO = Decimal(0).quantize(_CENT)
_MONEY_LIMIT = Decimal(10) ** (MONEY_DIGITS - MONEY_PLACES)
_EXACT = Context(prec=40)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_MILLISECONDS_FROM = 10**11
_SQLITE_INTEGERS = 2**63
# An escaped NUL, unless the backslash before the u is itself escaped.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Unknown(str):
    """A stored value that does not fit its column, as another client may write it. It is read as its text.

    It is a label that the enum lacks, or an unreadable time, amount or document. It compares and hashes as its text
    does; ``expected`` is the type that the column holds.
    """

    expected: type

    def __new__(cls, text: object, expected: type) -> "Unknown":
        value = super().__new__(cls, text)
        value.expected = expected
        return value

    def __getnewargs__(self) -> tuple[str, type]:  # type: ignore[override]
        return str(self), self.expected

    @property
    def value(self) -> str:
        """The text, as the ``value`` of an enum's member is."""
        return str(self)

    def __repr__(self) -> str:
        return f"<Unknown {self.expected.__name__}: {str(self)!r}>"


class JsonNull:
    """The JSON document ``null``, as opposed to no document (``None``, SQL NULL)."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "JSON_NULL"


JSON_NULL: Final = JsonNull()


def reject(field: peewee.Field, reason: str, allowed: Iterable[str] = ()) -> NoReturn:
    """Raise the RefusedValue that names this field's table and column."""
    raise RefusedValue(
        field.model._meta.table_name, field.column_name, reason, attribute=field.name, allowed=tuple(allowed)
    )


def shown(value: object) -> str:
    """Return the value as an error shows it, in at most 60 characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # Python does not print an integer of thousands of digits.
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_sql(value: object) -> bool:
    # A row is a Node too, but no row is a value here.
    return value is None or (isinstance(value, peewee.Node) and not isinstance(value, peewee.Model))


def _clean_text(field: peewee.Field, value: object) -> str:
    if not isinstance(value, str):
        reject(field, f"{shown(value)} is not text; pass a str")
    if "\x00" in value:
        reject(field, "the text holds a NUL character, which PostgreSQL cannot store; remove it")
    try:
        value.encode()
    except UnicodeEncodeError:
        reject(field, "the text holds half of a surrogate pair, which is not valid Unicode; remove it")
    return value


class _Accessor(peewee.FieldAccessor):
    """Gives a row what reading the column would give for the value that is assigned."""

    def __set__(self, instance: Any, value: Any) -> None:
        super().__set__(instance, self.field.assigned(value))


class _ReferenceAccessor(peewee.ForeignKeyAccessor):
    """Takes a row of the other model, stored by the time this row is, or its id."""

    def __set__(self, instance: Any, value: Any) -> None:
        if not isinstance(value, self.rel_model):
            value = self.field.assigned(value)
        super().__set__(instance, value)


class _Converting:
    """What the fields share: one form of a value in Python, and the dialect of the database in use."""

    model: Any
    accessor_class: Any = _Accessor

    def assigned(self, value: Any) -> Any:
        """Return what a row holds once ``value`` is assigned to it; raises RefusedValue if it does not fit."""
        if _is_sql(value) or self._is_read(value):
            return value
        field: Any = self
        return field.python_value(field.db_value(value))

    def _is_read(self, value: Any) -> bool:
        """Whether the value is already of the form that reading gives."""
        return isinstance(value, Unknown)

    @property
    def dialect(self) -> Dialect | None:
        database = self.model._meta.get_database_instance()
        return None if database is None else family(database)

    def case_value(self, value: Any) -> Any:
        """Return the expression for ``value`` in the CASE of a bulk_update."""
        field: Any = self
        value = field.db_value(value)
        if self.dialect is None or not self.dialect.casts_in_case:
            return value
        kind = tables.Integer(64) if _is_id(field) else field.column_type
        column = tables.Column(field.column_name, kind)
        spelling = self.dialect.type_sql(field.model._meta.table_name, column)
        return peewee.Value(value, converter=False).cast(spelling)


class KeyField(Column[Any], _Converting, peewee.AutoField):
    """The primary key ``id``; takes a row of its model or an id."""

    column_type = tables.Id()

    def db_value(self, value: Any) -> Any:
        return _key_value(self, value, self.model)


class IntegerField(Column[Any], _Converting, peewee.IntegerField):
    """A four byte integer, or an id of the table ``ids_of``; anything else is refused."""

    def __init__(self, ids_of: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.column_type = tables.Integer(ids_of=ids_of)

    def db_value(self, value: Any) -> Any:
        return _key_value(self, value)


class ReferenceField(Reference[Any], _Converting, peewee.ForeignKeyField):
    """A foreign key to another model's ``id``; takes the other row or its id."""

    accessor_class = _ReferenceAccessor

    def __init__(self, model: Any, **options: Any) -> None:
        # The model's Meta declares every index by its columns; peewee would add one of its own.
        super().__init__(model, index=False, **options)

    @property
    def column_type(self) -> tables.Integer:
        return tables.Integer(ids_of=self.rel_model._meta.table_name)

    def db_value(self, value: Any) -> Any:
        return _key_value(self, value, self.rel_model)


class LateReferenceField(Reference[Any], peewee.DeferredForeignKey):
    """A foreign key to a model that a later module defines, by the name of its class.

    This is a placeholder until that model exists; then it becomes a ReferenceField at the same position.
    """

    def set_model(self, rel_model: type[peewee.Model]) -> None:
        field: Any = ReferenceField(rel_model, **self.field_kwargs)
        vars(field).update(_order=self._order, _sort_key=self._sort_key)  # type: ignore[attr-defined]
        self.model._meta.add_field(self.name, field)


def _is_id(field: peewee.Field) -> bool:
    """Whether the column holds ids, of its own table or of another."""
    kind: object = field.column_type  # type: ignore[attr-defined]
    return isinstance(kind, tables.Id) or (isinstance(kind, tables.Integer) and kind.ids_of is not None)


def _key_value(field: peewee.Field, value: object, model: type[peewee.Model] | None = None) -> object:
    if model is not None and isinstance(value, model):
        value = value.get_id()
        if value is None:
            reject(field, f"the row of {model._meta.table_name} is not stored yet; save it first")
    if _is_sql(value):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        reject(field, f"{shown(value)} is not an id; pass a row or a whole number")
    # Whether the ids of this database have four bytes or eight is up to its platform.
    size, limit = ("an eight", 2**63) if _is_id(field) else ("a four", 2**31)
    if not -limit <= value < limit:
        reject(field, f"{shown(value)} does not fit {size} byte integer")
    return value


class TextField(Column[Any], _Converting, peewee.TextField):
    """Text of at most 65,535 bytes in UTF-8, MySQL's TEXT, on every server."""

    column_type = tables.Text()

    def db_value(self, value: Any) -> Any:
        if _is_sql(value):
            return value
        value = _clean_text(self, value)
        size = len(value.encode())
        if size > TEXT_LIMIT_BYTES:
            reject(self, f"the text has {size:,} bytes; at most {TEXT_LIMIT_BYTES:,} fit")
        return value


class VarcharField(Column[Any], _Converting, peewee.CharField):
    """Text of at most ``max_length`` characters, on every server."""

    max_length: int

    @property
    def column_type(self) -> tables.Varchar:
        return tables.Varchar(self.max_length)

    def db_value(self, value: Any) -> Any:
        if _is_sql(value):
            return value
        value = _clean_text(self, value)
        if len(value) > self.max_length:
            reject(self, f"the text has {len(value)} characters; at most {self.max_length} fit")
        return value


class _Members(dict[str, StrEnum]):
    """The members of an enum by label, and for any other label an Unknown."""

    enum: type[StrEnum]

    def __missing__(self, label: str) -> Unknown:
        return Unknown(label, self.enum)


class EnumField(Column[Any], _Converting, peewee.CharField):
    """A member of ``enum``, read back as the member; the label's text is taken too."""

    def __init__(self, enum: type[StrEnum], **options: Any) -> None:
        super().__init__(**options)
        self.enum_class = enum
        # An enum takes ten times as long to find a member.
        self._members = _Members({member.value: member for member in enum})
        self._members.enum = enum

    @property
    def column_type(self) -> tables.Enum:
        return tables.Enum(tuple(member.value for member in self.enum_class))

    def db_value(self, value: Any) -> Any:
        if _is_sql(value):
            return value
        if isinstance(value, Unknown) and value.expected is self.enum_class:
            return str(value)
        try:
            # Only text is looked up, because the error of an enum shows the whole value.
            return self.enum_class(value if isinstance(value, str) else "").value
        except ValueError:
            labels = [member.value for member in self.enum_class]
            reject(self, f"{shown(value)} is not one of {', '.join(labels)}", labels)

    def python_value(self, value: Any) -> Any:
        return None if value is None else self._members[value]

    def reader(self) -> Callable[[Any], Any]:
        """Return what reads a value of this column that is not NULL."""
        return self._members.__getitem__

    def _is_read(self, value: Any) -> bool:
        return isinstance(value, self.enum_class | Unknown)


class UTCDateTimeField(Column[Any], _Converting, peewee.DateTimeField):
    """An instant. Takes any aware datetime and gives it back in UTC; a naive one is refused."""

    column_type = tables.Timestamp()

    def db_value(self, value: Any) -> Any:
        if _is_sql(value):
            return value
        if not isinstance(value, datetime):
            reject(self, f"{shown(value)} is not a time; pass an aware datetime")
        if value.utcoffset() is None:
            reject(self, f"{value!r} is naive; say which zone it is in, as datetime.now(UTC) does")
        try:
            value = value.astimezone(UTC)
        except OverflowError:
            reject(self, f"{value!r} is outside the years 1 to 9999 in UTC")
        dialect = self.dialect
        return sortable_text(value) if dialect is not None and dialect.stores_time_as_text else value

    def python_value(self, value: Any) -> Any:
        return None if value is None else read_time(value)

    def _is_read(self, value: Any) -> bool:
        return isinstance(value, Unknown) or (isinstance(value, datetime) and value.tzinfo is UTC)


def read_time(value: Any) -> datetime | Unknown:
    """Return the UTC time that a server or another client means by ``value``.

    Text is read as ISO 8601, in UTC unless it has a zone; a number as seconds since 1970, from 100,000,000,000 on as
    milliseconds. What is neither is Unknown.
    """
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.replace(" +", "+").replace(" -", "-"))
        elif isinstance(value, int | float):
            seconds = value / 1000 if abs(value) >= _MILLISECONDS_FROM else value
            value = _EPOCH + timedelta(seconds=seconds)
        elif not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        return utc(value)
    except (ArithmeticError, AttributeError, ValueError):
        return Unknown(value, datetime)


def utc(time: datetime) -> datetime:
    """Return the time in UTC; a naive one is taken for UTC."""
    # ``replace`` takes ten times as long.
    return _EPOCH + (time - _NAIVE_EPOCH) if time.tzinfo is None else time.astimezone(UTC)


def sortable_text(value: datetime) -> str:
    """Return a UTC time as SQLite stores it, in the form that Sequelize writes and reads.

    One instant has one spelling, whoever writes it: three digits of the second where they are
    enough, six where they are not. So equal times are equal text, and text sorts as time does.
    """
    digits = "milliseconds" if value.microsecond % 1000 == 0 else "microseconds"
    return f"{value.replace(tzinfo=None).isoformat(' ', digits)} +00:00"


class MoneyField(Column[Any], _Converting, peewee.DecimalField):
    """An exact amount: a Decimal or an int, at most 14 digits before the point and four behind it.

    What would have to be rounded is refused. On SQLite, so is a value that a double does not preserve.
    """

    column_type = tables.Money()

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=MONEY_DIGITS, decimal_places=MONEY_PLACES, **options)
        if self.default is not None:
            self.default = Decimal(self.default).quantize(_CENT)

    def exact(self, value: Any) -> Decimal:
        """Return ``value`` with four places; raises RefusedValue when the column would not keep it exactly."""
        if isinstance(value, bool) or not isinstance(value, Decimal | int):
            reason = "is not exact" if isinstance(value, float) else "is not an amount"
            reject(self, f"{shown(value)} {reason}; pass a Decimal or an int")
        # The caller's decimal context may round or trap; nothing below consults it.
        amount = Decimal(value)
        if not amount.is_finite():
            reject(self, f"{amount} is not an amount")
        if amount.copy_abs() >= _MONEY_LIMIT:
            digits = MONEY_DIGITS - MONEY_PLACES
            reject(self, f"{shown(value)} is too large; at most {digits} digits stand before the point")
        exact = _EXACT.quantize(amount, _CENT)
        if exact != amount:
            reject(self, f"{shown(value)} has more than {MONEY_PLACES} decimal places; round it first")
        if self._keeps_doubles() and Decimal(repr(float(exact))) != exact:
            reject(self, f"{amount} has more significant digits than SQLite keeps (15)")
        return exact if exact else _ZERO

    def _keeps_doubles(self) -> bool:
        return self.dialect is not None and not self.dialect.has_exact_decimal

    def db_value(self, value: Any) -> Any:
        if _is_sql(value):
            return value
        return self.bound(self.exact(value))

    def bound(self, amount: Decimal) -> Decimal | float:
        """Return what the driver takes for an amount that ``exact`` returned."""
        # Bound as text it would be larger than every number in an expression.
        return float(amount) if self._keeps_doubles() else amount

    def python_value(self, value: Any) -> Any:
        if value is None:
            return None
        try:
            amount = _EXACT.quantize(value if isinstance(value, Decimal) else Decimal(str(value)), _CENT)
        except ArithmeticError:
            return Unknown(value, Decimal)
        return amount if amount.is_finite() else Unknown(value, Decimal)

    def _is_read(self, value: Any) -> bool:
        return isinstance(value, Unknown) or (type(value) is Decimal and value.as_tuple().exponent == -MONEY_PLACES)


def exact(field: Column[Decimal], amount: Decimal | int) -> Decimal:
    """Return ``amount`` with four places; raises RefusedValue when this column would not keep it exactly."""
    column: Any = field
    value: Decimal = column.exact(amount)
    return value


class _DocumentAccessor(_Accessor):
    """Notes a document's text when the document is read from a row, so that ``save`` sees a change inside it."""

    def __get__(self, instance: Any, instance_type: Any = None) -> Any:
        value = super().__get__(instance, instance_type)  # type: ignore[no-untyped-call]
        if instance is not None and isinstance(value, dict | list) and self.name not in instance._dirty:
            noted = vars(instance).setdefault("_documents", {})
            if self.name not in noted:
                noted[self.name] = _document_text(value)
        return value


def _document_text(value: object) -> str:
    try:
        return json.dumps(value, default=repr)
    except (RecursionError, ValueError):
        return ""  # Not what was noted, so it is written, and rejected with the reason.


def changed_documents(row: Any) -> set[str]:
    """Return the names of documents that were read from this row and have changed since."""
    noted: dict[str, str] = vars(row).get("_documents", {})
    return {name for name, text in noted.items() if _document_text(row.__data__.get(name)) != text}


def forget_documents(row: Any, names: Iterable[str]) -> None:
    """Forget what these columns of the row held, because they now have the stored values."""
    for name in names:
        vars(row).get("_documents", {}).pop(name, None)


def note_documents(row: Any) -> None:
    """Treat the row's documents, as they are now, as stored."""
    noted: dict[str, str] = vars(row).get("_documents", {})
    noted.update({name: _document_text(row.__data__.get(name)) for name in noted})


class JsonField(Column[Any], _Converting, peewee.JSONField):
    """A JSON document. ``None`` is SQL NULL; ``JSON_NULL`` is the document ``null``.

    Rejects what some server would not return unchanged: keys that are not text, integers beyond 64 bits (MySQL makes
    doubles of them), more than 31 levels (MariaDB), NUL characters (PostgreSQL); and on SQLite, where a document that
    is a bare number becomes a number of the column, fractions and integers from 2**63, which may not come back as they
    were. Such a number fits inside an array or object.
    """

    column_type = tables.Json()
    accessor_class = _DocumentAccessor
    _is_part = False

    def __init__(self, **options: Any) -> None:
        super().__init__(dumps=self._dump, loads=load_json, **options)

    def _db_hook(self, database: peewee.Database | None) -> None:
        """Keep nothing of the database, because what peewee keeps here would apply to every thread."""

    @property
    def _helper(self) -> Any:
        database = self.model._meta.get_database_instance()
        return None if database is None else database.json_methods(database)

    @_helper.setter
    def _helper(self, helper: None) -> None:
        """Ignore the None that peewee sets first."""

    def python_value(self, value: Any) -> Any:
        return self.reader()(value)

    def reader(self) -> Callable[[Any], Any]:
        """Return what reads a value of this column as the driver of the database in use returns it."""
        dialect = self.dialect
        return _checked_document if dialect is not None and dialect.driver_parses_json else _read_document

    def _dump(self, value: object) -> str:
        if isinstance(value, Unknown):
            reject(self, f"{shown(value)} is a stored text that is not JSON; pass a document instead")
        try:
            _check_document(value, JSON_DEPTH)
            document = _ENCODER.encode(value)
            document.encode()
        except (TypeError, ValueError) as error:
            reject(self, f"{shown(value)} is not JSON that every server keeps: {error}")
        if _NUL.search(document):
            reject(self, "the document holds a NUL character, which PostgreSQL cannot store; remove it")
        return document

    def db_value(self, value: Any) -> Any:
        if _is_sql(value):
            return value
        document = self._dump(value)
        is_large = isinstance(value, int) and not -_SQLITE_INTEGERS <= value < _SQLITE_INTEGERS
        if (is_large or isinstance(value, float)) and self._converts_numbers():
            reject(self, f"SQLite may turn the bare number {shown(value)} into another; put it into an array")
        return document

    def _converts_numbers(self) -> bool:
        return not self._is_part and self.dialect is not None and self.dialect.converts_json_numbers

    def path(self, *keys: Any) -> Any:
        """Return the part of the document at these keys, to be compared or changed."""
        part = copy.copy(self)
        part._is_part = True
        return peewee.JSONPath(part, keys)

    def __getitem__(self, key: Any) -> Any:
        return self.path(key)

    def assigned(self, value: Any) -> Any:
        try:
            return _with_lists(value)
        except RecursionError:
            reject(self, "the document refers to itself, or is nested too deeply")

    def _compare(self, left: Any, equal: Any, same: Any, right: Any, as_text: Any) -> Any:
        if left is self and right is not None and not isinstance(right, peewee.Node):
            # MySQL takes bare text for a JSON string, so there a document has to be marked as one.
            right = self._helper.compare_value(self, right) if self._helper else self._dump(right)
            right = right if isinstance(right, peewee.Node) else peewee.Value(right, converter=False)
        return super()._compare(left, equal, same, right, as_text)  # type: ignore[misc]


_CONTAINERS: Final = (dict, list, tuple)
# What has to be looked at in a document: everything else is as it is on every server.
_CHECKED: Final = (*_CONTAINERS, int)


def _checked_document(value: Any) -> Any:
    return Unknown(value, dict) if isinstance(value, float) and not math.isfinite(value) else value


def _read_document(value: Any) -> Any:
    return load_json(value) if isinstance(value, str) else _checked_document(value)


def _check_document(value: object, depth: int) -> None:
    if isinstance(value, _CONTAINERS):
        if depth == 0:
            raise ValueError(f"it is nested more than {JSON_DEPTH} levels deep")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(f"the key {shown(key)} is not text")
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, _CHECKED):
                _check_document(item, depth - 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("it holds an integer beyond 64 bits; pass it as text")


def _with_lists(value: Any) -> Any:
    """Return the document with a list for each tuple, as JSON would return it."""
    if isinstance(value, dict):
        parts = {key: _with_lists(item) for key, item in value.items() if isinstance(item, _CONTAINERS)}
        return {**value, **parts} if any(parts[key] is not value[key] for key in parts) else value
    if isinstance(value, list | tuple):
        entries = [_with_lists(item) if isinstance(item, _CONTAINERS) else item for item in value]
        is_same = isinstance(value, list) and all(map(operator.is_, entries, value))
        return value if is_same else entries
    return value


def _dump_null(value: object) -> None:
    if value is not JSON_NULL:
        raise TypeError(f"{type(value).__name__} has no JSON form")


# Without spaces, as JSON.stringify writes: equal documents are equal text.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_dump_null)


def _whole_number(digits: str) -> int | float:
    # PostgreSQL spells 1e300 with all its digits. No integer beyond 64 bits is ever written.
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


# Calls for each number would double the time, so they are made only for a document with so many digits in a row.
_LONG_NUMBER = b"0" * 19
_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_DECODER = json.JSONDecoder()
_DECODER_OF_LONG_NUMBERS = json.JSONDecoder(parse_int=_whole_number)


def load_json(document: str | bytes) -> Any:
    """Return the document's value; the document ``null`` is JSON_NULL, text that is not JSON is Unknown."""
    try:
        text = document if isinstance(document, str) else document.decode()
        is_long = _LONG_NUMBER in text.encode(errors="replace").translate(_AS_ZEROS)
        # ``decode`` looks for space with patterns, which takes twice as long as a short document.
        text = text.strip(" \t\n\r")
        value, end = (_DECODER_OF_LONG_NUMBERS if is_long else _DECODER).raw_decode(text)
        if end < len(text):
            raise ValueError("something follows the document")
    except (RecursionError, ValueError):
        return Unknown(document if isinstance(document, str) else document.decode(errors="replace"), dict)
    return JSON_NULL if value is None else value
