"""Cursors: positions in a list that is ordered by creation time and id, as text for a URL."""

import base64
import binascii
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import peewee

from engagement_db.errors import RefusedValue
from engagement_db.orm.fields import shown

CURSOR_VERSION: Final = 1
_CURSOR_LENGTH = 200
_CHECKSUM_BYTES = 6
_NUMBER = "="
_BLOB = "#"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# The creation time as the server stores it (text, or microseconds since 1970) and the id.
Position = tuple[str | int, int]


def position_of(field: Any, time: Any, key: int) -> Position:
    """Return the position of a row: its time as the driver returned it, and its id."""
    if _is_text(field):
        # Another client may have written a number or a blob.
        if isinstance(time, bytes):
            return f"{_BLOB}{time.hex()}", key
        return time if isinstance(time, str) else f"{_NUMBER}{time!r}", key
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return (aware - _EPOCH) // _MICROSECOND, key


def values_of(field: Any, position: Position) -> tuple[Any, int]:
    """Return the time and the id of a position, to compare columns with. Raises RefusedValue for an impossible time."""
    time, key = position
    if isinstance(time, str):
        stored: float | bytes | str = time
        if time.startswith(_NUMBER):
            stored = float(time.removeprefix(_NUMBER))
        elif time.startswith(_BLOB):
            stored = bytes.fromhex(time.removeprefix(_BLOB))
        return peewee.Value(stored, converter=False), key
    try:
        return _EPOCH + time * _MICROSECOND, key
    except OverflowError:
        reason = "points outside the years 1 to 9999; pass None to start again"
        raise RefusedValue(field.model._meta.table_name, "cursor", reason) from None


def encode_cursor(query_name: str, position: Position) -> str:
    """Return the cursor of ``position`` in the pages of a query; it needs no escaping in a URL."""
    content = json.dumps([CURSOR_VERSION, query_name, *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_checksum(content) + content).rstrip(b"=").decode()


def decode_cursor(field: Any, query_name: str, cursor: object) -> Position:
    """Return the position of a cursor of this query.

    Raises RefusedValue for anything that ``encode_cursor`` did not return, for the cursor of another query and for
    one of a server that stores times differently. A cursor is neither secret nor a permission: it is where a page
    starts, and the query's own filters apply to every page.
    """
    table = field.model._meta.table_name
    time_as_text = _is_text(field)
    content = _content(cursor)
    if content is None:
        _refuse_cursor(table, cursor, "was not given by this library, or was changed or cut on its way")
    version, owner, *position = content
    if version != CURSOR_VERSION:
        _refuse_cursor(table, cursor, f"is of version {version}, not {CURSOR_VERSION}")
    if owner != query_name:
        _refuse_cursor(table, cursor, f"belongs to the pages of {owner}, not of {query_name}")
    match position:
        case [str(time), int(key)] if time_as_text:
            return time, key
        case [int(time), int(key)] if not time_as_text:
            return time, key
    _refuse_cursor(table, cursor, "comes from a database on another kind of server")


def _is_text(field: Any) -> bool:
    return field.dialect is not None and field.dialect.stores_time_as_text


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
    # Another spelling of the same bytes is a changed cursor too.
    if checksum != _checksum(content) or base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != cursor:
        return None
    try:
        parts = json.loads(content)
    except ValueError:
        return None
    return parts if isinstance(parts, list) and len(parts) == 4 else None


def _refuse_cursor(table: str, cursor: object, reason: str) -> NoReturn:
    cure = "pass next_cursor of a page of the same query, or None to start again"
    raise RefusedValue(table, "cursor", f"{shown(cursor)} {reason}; {cure}")
