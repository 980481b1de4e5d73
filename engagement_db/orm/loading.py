"""Rows of models made from values of a query, without the work that peewee does for any shape of a query."""

from collections.abc import Callable, Sequence
from typing import Any

import peewee

from engagement_db.orm.fields import IntegerField, KeyField, ReferenceField, TextField, VarcharField

# Their values are the driver's own.
_UNCONVERTED = (KeyField, IntegerField, ReferenceField, TextField, VarcharField)


def loader(model: type[peewee.Model], fields: Sequence[peewee.Field]) -> Callable[[Sequence[Any]], Any]:
    """Return a function that makes a stored row of ``model`` from the values of these fields, with nothing to save."""
    names = [field.name for field in fields]
    conversions: list[tuple[str, Callable[[Any], Any]]]
    conversions = [(field.name, field.python_value) for field in fields if not isinstance(field, _UNCONVERTED)]

    def load(values: Sequence[Any]) -> Any:
        row: Any = object.__new__(model)
        data = row.__data__ = dict(zip(names, values, strict=True))
        for name, convert in conversions:
            if data[name] is not None:
                data[name] = convert(data[name])
        row._dirty, row.__rel__ = set(), {}
        return row

    return load
