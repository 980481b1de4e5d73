"""Rows of models made from values of a query, without the work that peewee does for any shape of a query."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import peewee

from engagement_db.orm.fields import IntegerField, KeyField, ReferenceField, TextField, UTCDateTimeField, VarcharField

# Their values are the driver's own.
_UNCONVERTED = (KeyField, IntegerField, ReferenceField, TextField, VarcharField)


def loader(model: type[peewee.Model], fields: Sequence[peewee.Field]) -> Callable[[Sequence[Any]], Any]:
    """Return a function that makes a stored row of ``model`` from the values of these fields, with nothing to save."""
    names = [field.name for field in fields]
    conversions = [(field.name, _conversion(field)) for field in fields if not isinstance(field, _UNCONVERTED)]

    def load(values: Sequence[Any]) -> Any:
        row: Any = object.__new__(model)
        data = row.__data__ = dict(zip(names, values, strict=True))
        for name, convert in conversions:
            value = data[name]
            if value is not None:
                data[name] = convert(value)
        row._dirty, row.__rel__ = set(), {}
        return row

    return load


def _conversion(field: peewee.Field) -> Callable[[Any], Any]:
    convert: Callable[[Any], Any] = field.python_value
    if not isinstance(field, UTCDateTimeField):
        return convert

    def read(value: Any) -> Any:
        # What a driver returns for a timestamp, without asking for any other form.
        if type(value) is datetime:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return convert(value)

    return read
