"""Rows and their ids: the id that an argument names, whether its row exists, and what a row holds after a verb."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import MAXYEAR, datetime
from enum import Enum
from typing import Any, Final, TypeVar

import peewee

from engagement_db import servers
from engagement_db.errors import Contention, NotFound, Refused
from engagement_db.orm.bound import current, now
from engagement_db.orm.columns import Column, Reference
from engagement_db.orm.fields import (
    Unknown,
    changed_documents,
    forget_documents,
    reject,
    shown,
)
from engagement_db.orm.transactions import transaction
from engagement_db.servers.driver import server_message

Result = TypeVar("Result")


class Unchanged(Enum):
    """The default of an argument that may be None: leave the column as it is."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = Unchanged.UNCHANGED


def required(field: peewee.Field, value: Result | None) -> Result:
    """Return ``value``; raises RefusedValue for None."""
    if value is None:
        reject(field, "a value is required")
    return value


def required_text(field: Column[Any], value: str) -> str:
    """Return the text as it is stored; raises RefusedValue for a blank one too."""
    text = None if value is None else stored_value(field, value)
    if not isinstance(text, str) or not text.strip():
        reject(field, f"{shown(value)} is blank; it has to say something")
    return text


def begins_with(field: Column[Any], prefix: str) -> Any:
    """Return the condition that a text starts with this one, under its collation, in a form that an index can serve."""
    if servers.of(current()).compares_bytes:
        end = peewee.Value(f"{prefix}\U0010ffff", converter=False)
        return (field >= peewee.Value(prefix, converter=False)) & (field < end)
    pattern = re.sub(r"([\\%_])", r"\\\1", prefix) + "%"
    return peewee.NodeList((field, peewee.SQL("LIKE"), peewee.Value(pattern, converter=False)))


def id_of(field: Reference[Any], row: object) -> int:
    """Return the id of ``row``, a row or its id, for this column.

    Raises RefusedValue for None, for a row that is not stored and for a row of another model.
    """
    return required(field, optional_id_of(field, row))


def optional_id_of(field: Reference[Any], row: object) -> int | None:
    """Return the id of ``row``, or None for None; raises RefusedValue as ``id_of`` does."""
    if isinstance(row, peewee.Node) and not isinstance(row, peewee.Model):
        reject(field, "an SQL expression is not a row; pass a row or its id")
    key: int | None = None if row is None else field.db_value(row)
    return key


def ids_of(field: Reference[Any], rows: Iterable[object], most: int) -> list[int]:
    """Return the ids of up to ``most`` rows or ids, each once; raises RefusedValue for more."""
    keys: dict[int, None] = {}
    for row in rows:
        keys[id_of(field, row)] = None
        # Stop here, because the iterable may be endless.
        if len(keys) > most:
            reject(field, f"{len(keys)} rows are too many at once; ask for at most {most}")
    return list(keys)


def not_found(model: type[peewee.Model], key: object, role: str = "") -> NotFound | Contention:
    """Return the error that says which row is missing, and in which role it was named.

    It is Contention where the snapshot of the caller's transaction hides the row, or may hide it.
    """
    named = f"{role}: " if role else ""
    table = model._meta.table_name
    if _is_hidden(model, key):
        return Contention(
            f"{named}{table} {key} is not in the snapshot of the transaction around this call. It may have been "
            "written since; roll the transaction back and run all of it again. Nothing was changed.",
            table=table,
        )
    missing: NotFound = model.DoesNotExist(  # type: ignore[attr-defined]
        f"{named}{table} {key} does not exist; nothing was changed.", table=table, attribute=role or None, id=key
    )
    return missing


def error_data(row: Any, *, allowed: Iterable[str] = ()) -> dict[str, Any]:
    """Return the data of an error about this row: its table, id and status, and what would have been accepted."""
    status = row.__data__.get("status")
    return {
        "table": row._meta.table_name,
        "id": row.get_id(),
        "status": None if status is None else str(status),
        "allowed": tuple(map(str, allowed)),
    }


def _is_hidden(model: Any, key: object) -> bool:
    """Whether another session may have written the row since the transaction that is open took its snapshot."""
    database = current()
    if not database.in_transaction():
        return False
    if model.select(model.id).where(model.id == key).exists():
        # The row was missed for another reason, such as a viewer who may not see it.
        return False
    server = servers.of(database)
    if server.stale_reads_query is not None and database.execute_sql(server.stale_reads_query).fetchone()[0]:
        return True
    try:
        if server.supports_for_update:
            return bool(model.select(model.id).where(model.id == key).for_update().first())
        # A write is refused where the snapshot is not the latest.
        peewee.ModelUpdate(model, {model.id: model.id}).where(peewee.SQL("0")).execute()
    except peewee.DatabaseError as error:
        if server.lost_race(error):
            return True
        raise
    return False


def require_rows(*parents: tuple[Reference[Any], int | None]) -> None:
    """Raise NotFound unless each of these columns would find its row; None needs no row. Uses primary keys."""
    for field, key in parents:
        model: Any = field.rel_model
        if key is not None and not model.select(model.id).where(model.id == key).exists():
            raise not_found(model, key, field.name)


def write_with_parents(work: Callable[[], Result], *parents: tuple[Reference[Any], int | None]) -> Result:
    """Run ``work`` in a transaction; a parent row that turns out not to exist raises NotFound.

    Raises Refused if the server gave the new row an id that another has, as on a copy whose sequence was left behind.
    """
    try:
        return transaction(work)
    # DataError: an id beyond those that the column takes.
    except (peewee.IntegrityError, peewee.DataError) as error:
        require_rows(*parents)
        if servers.of(current()).is_duplicate_id(error):
            raise Refused(
                f"the server gave the new row an id that another row has: {server_message(error).rstrip('.')}. Its "
                "sequence or counter stands below the highest id, as after a switch-over to a copy. Nothing was "
                "changed. `engagement-db check` names the statement that sets it right.",
                table=parents[0][0].model._meta.table_name if parents else None,
            ) from error
        raise


def given_values(model: type[peewee.Model], **arguments: Any) -> dict[str, Any]:
    """Return the arguments that are not UNCHANGED, each as a row holds it; raises RefusedValue."""
    return {
        name: stored_value(model._meta.fields[name], value)
        for name, value in arguments.items()
        if value is not UNCHANGED
    }


def stored_value(field: Any, value: Any) -> Any:
    """Return what a row holds once ``value`` is written; raises RefusedValue for what the column does not take."""
    if isinstance(value, peewee.Node) and not isinstance(value, peewee.Model):
        reject(field, "an SQL expression is not a value; pass the value")
    if isinstance(value, Unknown):
        reject(field, f"{shown(value)} was stored by another client; pass a value of the column")
    if not field.null:
        required(field, value)
    field.db_value(value)
    return field.assigned(value)


def moment_of(field: Any, at: datetime | None) -> datetime:
    """Return the time ``at``, by default now, as a row holds it; raises RefusedValue for what is no aware time.

    The years 1 and 9999 are refused too, so that days can be added and subtracted.
    """
    moment: datetime = now() if at is None else stored_value(field, at)
    if not 1 < moment.year < MAXYEAR:
        reject(field, f"{shown(at)} leaves no room for a range of days")
    return moment


def differences(row: peewee.Model, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the wanted values that the row does not have."""
    return {name: value for name, value in wanted.items() if row.__data__[name] != value}


def copy_state(row: Any, fresh: Any) -> None:
    """Give the caller's ``row`` what ``fresh`` holds, but for what was assigned to ``row`` and is not saved yet.

    A column that only verbs change is always copied.
    """
    row._dirty = (row._dirty | changed_documents(row)) - row._meta.verb_columns.keys()
    copied = [name for name in fresh.__data__ if name not in row._dirty]
    row.__data__.update({name: fresh.__data__[name] for name in copied})
    row.__rel__.update({name: fresh.__rel__[name] for name in copied if name in fresh.__rel__})
    forget_documents(row, copied)
