"""Reading a page of rows by keyset: from a position on, each of its parts with an index in the wanted order."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.orm.bound import target
from engagement_db.orm.columns import Reference
from engagement_db.orm.cursors import Position, position_of, values_of
from engagement_db.orm.loading import LoadedRows, loader
from engagement_db.servers.driver import error_code

logger = logging.getLogger(__name__)

# A page on its index takes milliseconds, however many rows the table has.
SLOW_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Branch:
    """The rows of a page whose ``field`` has one of ``values``, and that match ``predicate`` if there is one.

    ``index`` is on the field and the creation time.
    """

    index: str
    field: peewee.Field
    values: Sequence[object]
    predicate: peewee.Node | None = None

    @property
    def condition(self) -> Any:
        """The whole predicate."""
        if len(self.values) == 1:
            matches: Any = self.field == self.values[0]
            return matches if self.predicate is None else matches & self.predicate
        matches = self.field.in_(self.values)
        if self.predicate is None:
            return matches
        # CASE, because an index on what the predicate compares has too many rows of other values.
        is_wanted = peewee.Case(None, [(self.predicate, peewee.SQL("1"))], peewee.SQL("0"))
        return matches & (is_wanted == peewee.SQL("1"))


class _BufferedCursor:
    """A driver's cursor with rows that were fetched already."""

    def __init__(self, rows: Iterable[Any], description: Any) -> None:
        self._rows = iter(rows)
        self.description = description

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def close(self) -> None:
        pass


def _loader_with_parent(model: Any, reference: Reference[Any]) -> Callable[[Sequence[Any]], Any]:
    """Return a function that makes a row, and its parent if there is one, from the values of both."""
    parent = reference.rel_model
    fields = model._meta.sorted_fields
    width, load, load_parent = len(fields), loader(model, fields), loader(parent, parent._meta.sorted_fields)

    def load_both(values: Sequence[Any]) -> Any:
        row = load(values[:width])
        if values[width] is not None:
            row.__rel__[reference.name] = load_parent(values[width:])
        return row

    return load_both


class _ForcedIndex(peewee.Node):
    """A table with the index to use, in a comment that MySQL and MariaDB alone read.

    For a page far down MariaDB would look up the equal columns only and skip every newer row; MySQL would read every
    row by time if few of them match.
    """

    def __init__(self, model: Any, index: str) -> None:
        self.model = model
        self.index = index

    def __sql__(self, ctx: Any) -> Any:
        return ctx.sql(self.model).literal(f" /*! FORCE INDEX ({self.index}) */")


class Keyset(peewee.Select):
    """Reads one row more than the page has, and with each row its position as the server stores it."""

    model: Any
    _query_name: str
    _index: str
    _branches: tuple[Branch, ...] = ()
    _parent: Reference[Any] | None = None
    _from_list: list[Any]
    _backwards: bool
    _returning: Any
    _limit: int
    _cursor_wrapper: Any
    _given: tuple[str | None, str | None]
    _positions: list[Position]
    _more: bool
    _get_cursor_wrapper: Any
    _model_rows: Any
    _is_default: bool

    def _execute(self, database: Any) -> Any:
        if self._cursor_wrapper is None:
            began = time.monotonic()
            rows, description = self._read_branches(database)
            _report_slow(self, time.monotonic() - began)
            self._more = len(rows) > self._limit
            rows = rows[: self._limit]
            if self._backwards:
                rows = rows[::-1]
            ends = (rows[0], rows[-1]) if rows else ()
            self._positions = [position_of(self.model.created_at, row[-2], row[-1]) for row in ends]
            fetched = _BufferedCursor([row[:-2] for row in rows], description[:-2])
            if self._parent is not None and self._has_whole_rows():
                self._cursor_wrapper = LoadedRows(fetched, _loader_with_parent(self.model, self._parent))
            else:
                self._cursor_wrapper = self._get_cursor_wrapper(fetched)
        return self._cursor_wrapper

    def _has_whole_rows(self) -> bool:
        """Whether the rows are the model's own, as the page was made: no selection, no join, no other shape."""
        return self._is_default and self._model_rows() and self._reads_model_only()

    def _reads_model_only(self) -> bool:
        return len(self._from_list) == 1 and self._from_list[0] is self.model

    def _sources(self, table: Any) -> list[Any]:
        """Return what to read from: the table, and with whole rows the table of the joined parent."""
        if self._parent is None or not self._has_whole_rows():
            return [table]
        parent: Any = self._parent.rel_model
        # An outer join, so that no server begins with the parents.
        return [peewee.Join(table, parent, peewee.JOIN.LEFT_OUTER, on=self._parent == parent.id)]

    def _read_branches(self, database: Any) -> tuple[list[Any], Any]:
        """Return the page's rows, nearest to its cursor first, and their description.

        A branch is read no further than the rows that the branches before it have filled the page with.
        """
        wide: Any = self.clone()
        wide._branches = ()
        wide._limit = self._limit + 1
        moment, key = self.model.created_at, self.model.id
        wide._returning = [*self._returning, moment.alias("page_time"), key.alias("page_id")]
        if self._parent is not None and self._has_whole_rows():
            wide._from_list = self._sources(self.model)
            wide._returning[-2:-2] = self._parent.rel_model._meta.sorted_fields
        if not self._branches:
            cursor = self._read_index(database, wide, self._index)
            return cursor.fetchall(), cursor.description or []
        nearest: dict[int, Any] = {}
        for branch in self._branches:
            part = wide
            if len(nearest) > self._limit:
                *_, furthest = nearest.values()
                last, _ = values_of(moment, position_of(moment, furthest[-2], furthest[-1]))
                part = part.where(moment <= last if self._backwards else moment >= last)
            cursor = self._read_branch(database, part, branch)
            rows = sorted([*nearest.values(), *cursor.fetchall()], key=_order, reverse=not self._backwards)
            nearest = {row[-1]: row for row in rows[: self._limit + 1]}
        return list(nearest.values()), cursor.description or []

    def _read_branch(self, database: Any, wide: Any, branch: Branch) -> Any:
        spread = servers.family(target(database)).assumes_even_spread
        if len(branch.values) > 1:
            return self._read_each(database, wide, branch) if spread else database.execute(wide.where(branch.condition))
        if not spread:
            return self._read_index(database, wide.where(branch.condition), branch.index)
        # As one of a list the value counts as variable, so only the index on it has the order of both.
        part = _narrowed(wide, branch.field.in_([*branch.values, *branch.values]), branch.predicate)
        part._order_by = (branch.field.asc() if self._backwards else branch.field.desc(), *part._order_by)
        return database.execute(part)

    def _read_each(self, database: Any, wide: Any, branch: Branch) -> Any:
        """Read as many rows as the page has for each value, and of all these the nearest."""
        values = peewee.ValuesList([(value,) for value in branch.values], ["value"], alias="each")
        rows = _narrowed(wide, branch.field == values.c.value, branch.predicate).lateral().alias("rows")
        order = [column.asc() if self._backwards else column.desc() for column in (rows.c.page_time, rows.c.page_id)]
        each = peewee.Select([peewee.Join(values, rows, peewee.JOIN.CROSS)], [peewee.SQL('"rows".*')])
        return database.execute(each.order_by(*order).limit(wide._limit))

    def _read_index(self, database: Any, wide: Any, index: str) -> Any:
        if not self._reads_model_only() or not any(self._given):
            return database.execute(wide)
        forced = wide.clone()
        forced._from_list = self._sources(_ForcedIndex(self.model, index))
        try:
            return database.execute(forced)
        except peewee.DatabaseError as error:
            if error_code(error) not in servers.family(target(database)).unknown_index_codes:
                raise
            # A database that another tool migrated may have the index under another name.
            return database.execute(wide)

    def __sql__(self, ctx: Any) -> Any:
        if ctx.subquery and ctx.scope not in (peewee.SCOPE_SOURCE, peewee.SCOPE_COLUMN):
            # MySQL and MariaDB take no LIMIT inside IN, but in a derived table.
            page: Any = self.clone()
            if page._is_default:
                page = page.select(self.model._meta.primary_key)
            return peewee.Select([page.alias("page")], [peewee.SQL("*")]).__sql__(ctx)
        if not self._branches:
            return super().__sql__(ctx)  # type: ignore[no-untyped-call]
        # Counted, or used inside another query: one SELECT that has the rows of all branches.
        plain: Any = self.clone()
        plain._branches = ()
        return plain.where(reduce(or_, [branch.condition for branch in self._branches])).__sql__(ctx)


def _report_slow(page: Any, seconds: float) -> None:
    if seconds >= SLOW_SECONDS:
        logger.warning(
            "the page %r of %s took %.1f s; its index is %s",
            page._query_name,
            page.model._meta.table_name,
            seconds,
            page._index,
        )


def _order(row: Any) -> Any:
    # SQLite sorts a number, which another client wrote, before every text, and a blob after it.
    rank = 1 if isinstance(row[-2], str) else 2 if isinstance(row[-2], bytes) else 0
    return rank, row[-2], row[-1]


def _narrowed(query: Any, *conditions: peewee.Node | None) -> Any:
    return query.where(*[condition for condition in conditions if condition is not None])
