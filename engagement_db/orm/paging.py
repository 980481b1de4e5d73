"""Pages of rows, newest first, by keyset: a page starts where a cursor points, never at an offset."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

import peewee

from engagement_db import servers
from engagement_db.errors import Refused, RefusedValue
from engagement_db.orm.bound import target
from engagement_db.orm.fields import UTCDateTimeField
from engagement_db.servers.driver import error_code

if TYPE_CHECKING:
    ModelSelect = peewee.ModelSelect[Any]
else:
    ModelSelect = peewee.ModelSelect

PAGE_LIMIT: Final = 200
CURSOR_VERSION: Final = 1
_CURSOR_LENGTH = 200
_CHECKSUM_BYTES = 6
_NUMBER = "="
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# The position of a row: its time as the server keeps it (text, or microseconds since 1970) and its id.
Position = tuple[str | int, int]


def validate_limit(table: str, limit: object, most: int = PAGE_LIMIT, name: str = "limit") -> int:
    """Return ``limit`` if it is a whole number from 1 to ``most``; raises RefusedValue otherwise."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= most:
        raise RefusedValue(table, name, f"{limit!r} is not a whole number from 1 to {most}")
    return limit


def instant_bound(field: UTCDateTimeField, value: datetime) -> Any:
    """Return an aware time to compare ``field`` with, so that no spelling of that instant falls behind it.

    Where times are text, an instant that plain SQL wrote without a fraction or a zone sorts before the
    same instant as we write it; the shortest spelling sorts before them all.
    """
    stored = field.db_value(value)
    if not isinstance(stored, str):
        return value
    shortest = stored.removesuffix(" +00:00").rstrip("0").removesuffix(".")
    return peewee.Value(shortest, converter=False)


def encode_cursor(walk: str, position: Position) -> str:
    """Return the cursor that points at ``position`` in the pages of ``walk``; fit for a URL as it is."""
    content = json.dumps([CURSOR_VERSION, walk, *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_checksum(content) + content).rstrip(b"=").decode()


def decode_cursor(table: str, walk: str, cursor: object, *, time_as_text: bool) -> Position:
    """Return the position at which a cursor of ``walk`` points.

    Raises RefusedValue for whatever ``encode_cursor`` did not return, for the cursor of another query
    and for one of a server that keeps its times otherwise. A cursor holds no secret and opens no door:
    it says where a page starts, and the query's own filters apply to every page.
    """
    content = _content(cursor)
    if content is None:
        _refuse_cursor(table, cursor, "was not given by this library, or was changed or cut on its way")
    version, owner, *position = content
    if version != CURSOR_VERSION:
        _refuse_cursor(table, cursor, f"is of version {version}, not {CURSOR_VERSION}")
    if owner != walk:
        _refuse_cursor(table, cursor, f"belongs to the pages of {owner}, not of {walk}")
    match position:
        case [str(time), int(key)] if time_as_text:
            return time, key
        case [int(time), int(key)] if not time_as_text:
            return time, key
    _refuse_cursor(table, cursor, "comes from a database on another kind of server")


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()


def _content(cursor: object) -> list[Any] | None:
    if not isinstance(cursor, str) or not cursor.isascii() or len(cursor) > _CURSOR_LENGTH:
        return None
    try:
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    checksum, content = decoded[:_CHECKSUM_BYTES], decoded[_CHECKSUM_BYTES:]
    # A second spelling of the same bytes is a changed cursor too.
    if checksum != _checksum(content) or base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != cursor:
        return None
    try:
        parts = json.loads(content)
    except ValueError:
        return None
    return parts if isinstance(parts, list) and len(parts) == 4 else None


def _refuse_cursor(table: str, cursor: object, reason: str) -> NoReturn:
    shown = repr(cursor)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    cure = "pass next_cursor of a page of the same query, or None to start anew"
    raise RefusedValue(table, "cursor", f"{shown} {reason}; {cure}")


class _Fetched:
    """The cursor of a page whose rows are here already."""

    def __init__(self, rows: Iterable[Any], description: Any) -> None:
        self._rows = iter(rows)
        self.description = description

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def close(self) -> None:
        pass


class _Walked(peewee.Node):
    """A table whose index to walk stands in a comment that MariaDB alone reads.

    For a page far down MariaDB would look up the equal columns only and pass over every newer row.
    """

    def __init__(self, model: Any, index: str) -> None:
        self.model = model
        self.index = index

    def __sql__(self, ctx: Any) -> Any:
        return ctx.sql(self.model).literal(f" /*M! FORCE INDEX ({self.index}) */")


class _Keyset(peewee.Select):
    """Reads one row more than the page has, and with each row its position as the server keeps it."""

    model: Any
    _walk: str
    _index: str
    _from_list: list[Any]
    _backwards: bool
    _returning: Any
    _limit: int
    _cursor_wrapper: Any
    _given: tuple[str | None, str | None]
    _positions: list[Position]
    _more: bool
    _get_cursor_wrapper: Any

    def _execute(self, database: Any) -> Any:
        if self._cursor_wrapper is None:
            wide = self.clone()
            wide._limit = self._limit + 1
            wide._returning = [
                *self._returning,
                self.model.created_at.alias("page_time"),
                self.model.id.alias("page_id"),
            ]
            cursor = self._walk_index(database, wide)
            rows = cursor.fetchall()
            self._more = len(rows) > self._limit
            rows = rows[: self._limit]
            if self._backwards:
                rows = rows[::-1]
            as_text = _as_text(self.model.created_at)
            self._positions = [((_text if as_text else _microseconds)(row[-2]), row[-1]) for row in rows]
            fetched = _Fetched([row[:-2] for row in rows], (cursor.description or [])[:-2])
            self._cursor_wrapper = self._get_cursor_wrapper(fetched)
        return self._cursor_wrapper

    def _walk_index(self, database: Any, wide: "_Keyset") -> Any:
        if not any(self._given) or len(wide._from_list) != 1 or wide._from_list[0] is not self.model:
            return database.execute(wide)
        plain = wide._from_list
        wide._from_list = [_Walked(self.model, self._index)]
        try:
            return database.execute(wide)
        except peewee.DatabaseError as error:
            if error_code(error) not in servers.family(target(database)).unknown_index_codes:
                raise
            # A database that another tool migrated may have the index under another name.
            wide._from_list = plain
            return database.execute(wide)


def _text(time: str | int | float) -> str:
    # SQLite sorts a number, which another client wrote, before every text.
    return time if isinstance(time, str) else f"{_NUMBER}{time!r}"


def _microseconds(time: datetime) -> int:
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return (aware - _EPOCH) // _MICROSECOND


class Page(ModelSelect, _Keyset):
    """One page of a query, newest first: a peewee query that also knows the cursors around it.

    ``where``, ``join``, ``select``, ``dicts`` and the like narrow or reshape the page before it is read;
    it is read once, when it is iterated or asked for a cursor. Rows that arrive or vanish meanwhile
    neither repeat nor hide a row of another page: each page starts right after the position, creation
    time and id, at which the cursor points.
    """

    def __init__(
        self,
        model: Any,
        walk: str,
        index: str,
        limit: int,
        after: str | None = None,
        before: str | None = None,
    ) -> None:
        table = model._meta.table_name
        if after is not None and before is not None:
            raise RefusedValue(table, "cursor", "a page is after one cursor or before one; pass either")
        super().__init__(model, model._meta.sorted_fields, is_default=True)
        self._walk = walk
        self._index = index
        self._given = (after, before)
        self._backwards = before is not None
        self._limit = validate_limit(table, limit)
        created_at, key = model.created_at, model.id
        if self._backwards:
            self._order_by = (created_at.asc(), key.asc())
        else:
            self._order_by = (created_at.desc(), key.desc())
        cursor = before if self._backwards else after
        if cursor is not None:
            position = decode_cursor(table, walk, cursor, time_as_text=_as_text(created_at))
            time, row_id = _bound(created_at, position)
            # The first comparison bounds the walk of the index, the second settles ties.
            if self._backwards:
                self._where = (created_at >= time) & ((created_at > time) | (key > row_id))
            else:
                self._where = (created_at <= time) & ((created_at < time) | (key < row_id))

    @property
    def next_cursor(self) -> str | None:
        """The cursor ``after`` which the older rows start; None when there are none."""
        positions = self._read()
        if positions and (self._more or self._backwards):
            return encode_cursor(self._walk, positions[-1])
        return None

    @property
    def previous_cursor(self) -> str | None:
        """The cursor ``before`` which newer rows stand, now or later; None when no row was ever seen.

        Pages before a cursor are those next to it: of 50 newer rows a page of 20 has the oldest 20.
        """
        positions = self._read()
        if positions:
            return encode_cursor(self._walk, positions[0])
        after, before = self._given
        return before or after

    def limit(self, value: Any = None) -> "Page":
        """Return the page with another number of rows, 1 to 200."""
        return super().limit(validate_limit(self.model._meta.table_name, value))

    def order_by(self, *values: Any) -> "Page":
        """Refuse: a page that is ordered otherwise has no cursors. (``count`` takes the order away.)"""
        if values:
            raise Refused("a page is ordered newest first, for its cursors; sort the rows after reading them.")
        return super().order_by()

    def _read(self) -> list[Position]:
        len(self)
        return self._positions


def _as_text(field: UTCDateTimeField) -> bool:
    return field.dialect is not None and field.dialect.stores_time_as_text


def _bound(field: UTCDateTimeField, position: Position) -> tuple[Any, int]:
    time, key = position
    if isinstance(time, str):
        stored = float(time.removeprefix(_NUMBER)) if time.startswith(_NUMBER) else time
        return peewee.Value(stored, converter=False), key
    try:
        return _EPOCH + time * _MICROSECOND, key
    except OverflowError:
        reason = "points outside the years 1 to 9999; pass None to start anew"
        raise RefusedValue(field.model._meta.table_name, "cursor", reason) from None
