"""Rows of models made from values of a query, without the work that peewee does for any shape of a query."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import peewee

from engagement_db.orm.fields import (
    EnumField,
    IntegerField,
    JsonField,
    KeyField,
    ReferenceField,
    TextField,
    UTCDateTimeField,
    VarcharField,
    read_time,
    utc,
)

# Their values are the driver's own, or converted by the loader itself.
_UNCONVERTED = (KeyField, IntegerField, ReferenceField, TextField, VarcharField, UTCDateTimeField)


class LoadedRows(peewee.CursorWrapper):
    """The rows of a query, each made by ``load`` from its values."""

    def __init__(self, cursor: Any, load: Callable[[Sequence[Any]], Any]) -> None:
        super().__init__(cursor)
        self._load = load

    def __iter__(self) -> Any:
        # All at once, because the drivers of the servers have all rows already. ``iterator`` makes one at a time.
        self.fill_cache()
        return iter(self.row_cache)

    def process_row(self, row: Any) -> Any:
        return self._load(row)

    def fill_cache(self, n: int = 0) -> None:
        if n or self.populated:
            super().fill_cache(n)
            return
        self.row_cache += map(self._load, self.cursor.fetchall())
        self.count, self.populated = len(self.row_cache), True
        self.cursor.close()


class _JoinedRows(peewee.ModelCursorWrapper):
    """Rows with joined rows, whose values are read and not assigned: what another client wrote may not fit."""

    _constructor_list: Any

    def initialize(self) -> None:
        super().initialize()
        self._constructor_list = [
            (key, partial(_Draft, make) if is_model else make, is_model)
            for key, make, is_model in self._constructor_list
        ]

    def process_row(self, row: Any) -> Any:
        return super().process_row(row).row  # type: ignore[no-untyped-call]


class _Draft:
    """A row that peewee is making: what is set on it is the data of the row."""

    row: Any

    def __init__(self, model: type[peewee.Model], **options: bool) -> None:
        vars(self)["row"] = model(**options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, _Draft):
            setattr(self.row, name, value.row)
        elif name in self.row._meta.fields:
            self.row.__data__[name] = value
        else:
            setattr(self.row, name, value)


class LoadingSelect(peewee.ModelSelect):
    """A SELECT of a model; if it has columns of this model alone, its rows are made by ``loader``."""

    model: Any
    _returning: Any
    _from_list: list[Any]
    _joins: Any

    def get(self, database: peewee.Database | peewee.DatabaseProxy | None = None) -> peewee.Model:
        """Return the first row. Raises the model's DoesNotExist, which is a NotFound, if there is none."""
        missing = self.model.DoesNotExist
        try:
            return super().get(database)
        except missing:
            pass
        # Not peewee's own, which has the values of the query: the message may be shown to a client.
        table = self.model._meta.table_name
        raise missing(f"no row of {table} matches the query.", table=table)

    def _get_model_cursor_wrapper(self, cursor: Any) -> Any:
        own = self.model._meta.fields.values()
        if all(any(field is each for each in own) for field in self._returning):
            return LoadedRows(cursor, loader(self.model, self._returning))
        if self._joins or len(self._from_list) > 1:
            return _JoinedRows(cursor, self.model, self._returning, self._from_list, self._joins)
        return super()._get_model_cursor_wrapper(cursor)  # type: ignore[misc]


def loader(model: type[peewee.Model], fields: Sequence[peewee.Field]) -> Callable[[Sequence[Any]], Any]:
    """Return a function that makes a stored row of ``model`` from the values of these fields, with nothing to save."""
    # Not strict: that alone takes a fifth of the time of a row.
    named = partial(zip, [field.name for field in fields])
    times = [field.name for field in fields if isinstance(field, UTCDateTimeField)]
    conversions = [(field.name, _conversion(field)) for field in fields if not isinstance(field, _UNCONVERTED)]

    def load(values: Sequence[Any]) -> Any:
        row: Any = object.__new__(model)
        data = row.__data__ = dict(named(values))
        for name in times:
            value = data[name]
            # What a driver returns for a timestamp, without a call for each.
            if type(value) is not datetime:
                data[name] = None if value is None else read_time(value)
            elif value.tzinfo is not UTC:
                data[name] = utc(value)
        for name, convert in conversions:
            value = data[name]
            if value is not None:
                data[name] = convert(value)
        row._dirty, row.__rel__ = set(), {}
        return row

    return load


def _conversion(field: peewee.Field) -> Callable[[Any], Any]:
    convert: Callable[[Any], Any] = field.reader() if isinstance(field, EnumField | JsonField) else field.python_value
    return convert
