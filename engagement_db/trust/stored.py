"""Rows as they are stored, read without the checks of the models, because audited rows may be damaged."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.orm.bound import current
from engagement_db.orm.fields import MONEY_PLACES, JsonField, MoneyField, Unknown, UTCDateTimeField, read_time
from engagement_db.servers.catalog import HISTORY
from engagement_db.trust.money import EXACT

_CENT = Decimal(1).scaleb(-MONEY_PLACES)
# Text of this form sorts as the instants do, with the fraction or the zone left out too.
_SORTS = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?( \+00:00)?")
_REVISION: Final = "002_trust_payments"

Row = dict[str, Any]


def exact(value: object) -> Decimal | None:
    """Return a stored or recorded amount with four places, or None if it is not an amount."""
    try:
        return Decimal(str(value)).quantize(_CENT, context=EXACT)
    except (InvalidOperation, ValueError):
        return None


class StoredRows:
    """Reads some columns of a table into dicts by field name.

    A value that cannot be read is Unknown, and so is a time that SQLite does not sort as it sorts times.
    """

    def __init__(self, model: Any, names: str) -> None:
        self.model = model
        self.fields = [model._meta.fields[name] for name in names.split()]
        self._names = names.split()

    def select(self) -> Any:
        """Return a query of these columns, to be narrowed and passed to ``read``."""
        return self.model.select(*self.fields)

    def read(self, query: Any) -> Iterator[Row]:
        """Yield the rows of the query."""
        converters = [(field.name, convert) for field in self.fields if (convert := _converter(field)) is not None]
        for values in current().execute(query).fetchall():
            row = dict(zip(self._names, values, strict=True))
            for name, convert in converters:
                if row[name] is not None:
                    row[name] = convert(row[name])
            yield row


def _converter(field: Any) -> Callable[[Any], Any] | None:
    """Return what turns a stored value into that of the field, or None if it is that already."""
    if isinstance(field, UTCDateTimeField) and servers.of(current()).stores_time_as_text:
        return _sortable_time
    return field.python_value if isinstance(field, UTCDateTimeField | MoneyField | JsonField) else None


def _sortable_time(value: Any) -> Any:
    return read_time(value) if _SORTS.fullmatch(str(value)) else Unknown(value, datetime)


class Adoption:
    """When the tables were recorded as migrated: older rows were written by another program.

    The database is asked once, and only when a row is in question.
    """

    @cached_property
    def time(self) -> datetime | None:
        database = current()
        if not servers.read(database).has_table(HISTORY):
            return None
        history = peewee.Table(HISTORY)
        query = history.select(peewee.fn.MIN(history.c.migrated_at)).where(history.c.name == _REVISION)
        (recorded,) = database.execute(query).fetchone()
        time = UTCDateTimeField().python_value(recorded)
        return time if isinstance(time, datetime) else None

    def is_after(self, row: Row) -> bool:
        created_at = row["created_at"]
        return isinstance(created_at, datetime) and self.time is not None and created_at < self.time
