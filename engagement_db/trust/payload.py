"""The values of a call, in the form in which an audit trail keeps them; equal calls have equal values."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import peewee

from engagement_db.orm.fields import JsonField


def payload_of(row: peewee.Model, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of these fields of a row, as JSON holds them."""
    return {name: _plain(row._meta.fields[name], row.__data__.get(name)) for name in names}


def _plain(field: peewee.Field, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(field, JsonField):
        # As text, because a server may spell a number in its own way.
        return canonical_json(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, Decimal | StrEnum) else value


def canonical_json(document: Any) -> str:
    """Return the text that equal documents share: keys sorted, and 1.0 written as 1, as Node and some servers do."""
    return json.dumps(_with_plain_numbers(document), sort_keys=True, default=lambda null: None)


def _with_plain_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_plain_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
