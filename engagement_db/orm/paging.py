"""Pages of rows, newest first. A page starts at a cursor, never at an offset."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NoReturn, Self, TypeVar, overload

import peewee

from engagement_db.errors import Refused, RefusedValue
from engagement_db.orm.columns import Reference
from engagement_db.orm.cursors import Position, decode_cursor, encode_cursor, values_of
from engagement_db.orm.fields import shown
from engagement_db.orm.keyset import Branch, Keyset
from engagement_db.orm.loading import LoadingSelect

Row = TypeVar("Row", bound=peewee.Model)
Parent = TypeVar("Parent")

if TYPE_CHECKING:
    from engagement_db.orm.columns import Select as ModelSelect
else:

    class ModelSelect(LoadingSelect, Generic[Row]):
        """A SELECT of rows, which peewee's stubs know as generic."""


PAGE_LIMIT: Final = 200


def validate_limit(table: str, limit: object, most: int = PAGE_LIMIT, name: str = "limit") -> int:
    """Return ``limit`` if it is a whole number from 1 to ``most``; raises RefusedValue otherwise."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= most:
        raise RefusedValue(table, name, f"{shown(limit)} is not a whole number from 1 to {most}")
    return limit


def instant_bound(field: Any, value: datetime) -> Any:
    """Return a lower bound for ``value`` that sorts before every text form of that instant.

    Where timestamps are text, one that plain SQL wrote without a fraction or a zone sorts before the same instant
    as the library writes it; the shortest form sorts before all of them.
    """
    stored = field.db_value(value)
    if not isinstance(stored, str):
        return value
    shortest = stored.removesuffix(" +00:00").rstrip("0").removesuffix(".")
    return peewee.Value(shortest, converter=False)


class Page(ModelSelect[Row], Keyset):
    """One page of a query, newest first: a peewee query that also has the cursors around it.

    ``where``, ``join``, ``select``, ``dicts`` and the like narrow or reshape the page before it is read;
    it is read once, when it is iterated or asked for a cursor. Rows that are added or deleted between two pages
    neither repeat nor hide a row: each page starts right after the position of its cursor, a creation time and an id.
    """

    def __init__(
        self,
        model: type[Row],
        query_name: str,
        index: str,
        limit: int,
        after: str | None = None,
        before: str | None = None,
    ) -> None:
        meta: Any = model._meta
        table = meta.table_name
        if after is not None and before is not None:
            raise RefusedValue(table, "cursor", "a page is after one cursor or before one; pass either")
        super().__init__(model, meta.sorted_fields, is_default=True)
        self._query_name = query_name
        self._index = index
        self._given = (after, before)
        self._backwards = before is not None
        self._limit = validate_limit(table, limit)
        created_at, key = meta.fields["created_at"], meta.fields["id"]
        if self._backwards:
            self._order_by = (created_at.asc(), key.asc())
        else:
            self._order_by = (created_at.desc(), key.desc())
        cursor = before if self._backwards else after
        if cursor is not None:
            time, row_id = values_of(created_at, decode_cursor(created_at, query_name, cursor))
            # The first comparison bounds the range of the index, the second settles ties.
            if self._backwards:
                self._where = (created_at >= time) & ((created_at > time) | (key > row_id))
            else:
                self._where = (created_at <= time) & ((created_at < time) | (key < row_id))

    @property
    def next_cursor(self) -> str | None:
        """The cursor to pass as ``after`` for the older rows; None if there are none."""
        positions = self._read()
        if positions and (self._more or self._backwards):
            return encode_cursor(self._query_name, positions[-1])
        return None

    @property
    def previous_cursor(self) -> str | None:
        """The cursor to pass as ``before`` for newer rows, present or future; None if no row was ever read.

        A page before a cursor is the one next to it: of 50 newer rows a page of 20 has the oldest 20.
        """
        positions = self._read()
        if positions:
            return encode_cursor(self._query_name, positions[0])
        after, before = self._given
        return before or after

    def with_parent(self, parent: Reference[Parent]) -> Self:
        """Return the page whose rows have ``parent`` loaded, by the same query, as long as it is not reshaped."""
        page: Self = self.clone()
        page._parent = parent
        return page

    def among(self, *branches: Branch) -> Self:
        """Return the page of the rows of these branches, one or more. Each is one query, on its index."""
        page: Self = self.clone()
        page._branches = branches
        return page

    @overload
    def first(
        self, database: peewee.Database | peewee.DatabaseProxy | None = None, n: Literal[1] = 1
    ) -> Row | None: ...
    @overload
    def first(
        self, database: peewee.Database | peewee.DatabaseProxy | None = None, n: int = 1
    ) -> Row | list[Row] | None: ...
    def first(
        self, database: peewee.Database | peewee.DatabaseProxy | None = None, n: int = 1
    ) -> Row | list[Row] | None:
        """Return the newest row of the page, or None; with ``n`` above 1 a list of up to ``n`` rows.

        Reads the whole page, which keeps its rows and its cursors.
        """
        found: Row | list[Row] | None = self.peek(database, validate_limit(self.model._meta.table_name, n, name="n"))
        return found

    def get(self, database: peewee.Database | peewee.DatabaseProxy | None = None) -> Row:
        """Return the newest row of the page. Raises DoesNotExist if the page is empty."""
        row = self.first(database)
        if row is None:
            missing: Any = self.model
            table = self.model._meta.table_name
            raise missing.DoesNotExist(f"the page of {table} is empty.", table=table)
        return row

    def offset(self, value: object = None) -> NoReturn:
        """Raise Refused: a page starts at a cursor."""
        message = "a page starts at a cursor, not at an offset; pass after or before."
        raise Refused(message, table=self.model._meta.table_name)

    def paginate(self, page: object, paginate_by: object = 20) -> NoReturn:
        """Raise Refused: a page starts at a cursor."""
        self.offset(page)

    def iterator(self, database: peewee.Database | peewee.DatabaseProxy | None = None) -> Iterator[Row]:
        """Return the rows of the page, which is read at once, and once."""
        return iter(self.execute(database))

    def limit(self, value: object = None) -> Self:
        """Return the page with another number of rows, 1 to 200."""
        if value is None:
            reason = (
                "None is not a whole number from 1 to 200; to count all rows, or to page by offset as "
                f"fastapi_pagination does, take a query such as {self.model.__name__}.select()"
            )
            raise RefusedValue(self.model._meta.table_name, "limit", reason)
        return super().limit(validate_limit(self.model._meta.table_name, value))

    def order_by(self, *values: object) -> Self:
        """Raise Refused: a page in another order has no cursors. (``count`` removes the order.)"""
        if values:
            message = "a page is ordered newest first, for its cursors; sort the rows after reading them."
            raise Refused(message, table=self.model._meta.table_name)
        return super().order_by()

    def _read(self) -> list[Position]:
        """Read the page; return the positions of its first and its last row, or none."""
        len(self)
        return self._positions
