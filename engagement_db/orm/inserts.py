"""INSERTs that write the values of all rows at once, where peewee would make and visit a node for each value."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import peewee

_MISSING: Final = object()


class ValuesInsert(peewee.ModelInsert):
    """peewee's INSERT in one piece; where a value is an SQL expression, it is left to peewee."""

    model: Any
    _columns: Any

    def _generate_insert(self, insert: Iterable[Any], ctx: Any) -> Any:
        rows = list(insert)
        columns = self._all_columns(rows)
        values = None if columns is None else self._values(rows, columns)
        if not columns or not values:
            return super()._generate_insert(rows, ctx)  # type: ignore[misc]
        marks = f"({', '.join([ctx.state.param or '?'] * len(columns))})"
        ctx.sql(peewee.EnclosedNodeList(columns)).literal(f" VALUES {', '.join([marks] * len(rows))}")
        ctx._values.extend(values)
        return ctx

    def _all_columns(self, rows: Sequence[Any]) -> list[Any] | None:
        """Return the columns that are given and those with a default, or None for what is no list of fields."""
        given = self._columns or (list(rows[0]) if rows and isinstance(rows[0], Mapping) else [])
        if not given or not all(isinstance(column, peewee.Field) for column in given):
            return None
        known = set(given)
        return [*given, *(column for column in self.model._meta.defaults if column not in known)]

    def _values(self, rows: Sequence[Any], columns: Sequence[Any]) -> list[Any] | None:
        """Return what the driver takes for each column of each row, or None if peewee has to write one."""
        takes = [(column.db_value, self._default_of(column)) for column in columns]
        found: list[Any] = []
        for row in rows:
            if isinstance(row, Mapping):
                given = [row.get(column, _MISSING) for column in columns]
            else:
                given = [*row, *[_MISSING] * (len(columns) - len(row))]
            for value, (convert, default) in zip(given, takes, strict=True):
                value = default() if value is _MISSING else value
                if isinstance(value, peewee.Node) and not isinstance(value, peewee.Model):
                    return None
                found.append(convert(value))
        return found

    def _default_of(self, column: Any) -> Callable[[], Any]:
        """Return what makes a value for a row that gives none; it raises ValueError if there is no default."""
        defaults = self.model._meta.defaults

        def default() -> Any:
            if column not in defaults and not column.null:
                raise ValueError(f"Missing value for {column.name}.")
            value = defaults.get(column)
            return value() if callable(value) else value

        return default
