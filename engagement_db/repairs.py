"""The one way to correct a column of a stored row that only verbs change: deliberately, and never without a trace."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from engagement_db.errors import Refused
from engagement_db.orm.bound import now
from engagement_db.orm.fields import shown
from engagement_db.orm.models import BaseModel, store
from engagement_db.orm.protection import reject_rewrite
from engagement_db.orm.rows import copy_state, not_found, stored_value
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import User, resolve_actor_id

REASON_CHARACTERS: Final = 1000

Row = TypeVar("Row", bound=BaseModel)


@dataclass(frozen=True)
class Repair(Generic[Row]):
    """One repair: who corrected which columns of a row, when and why.

    ``before`` and ``after`` map the names of the columns that changed to their values; they are empty where the row
    held the wanted values already. ``by_id`` is the id of the user, None for the system.
    """

    row: Row
    by_id: int | None
    reason: str
    at: datetime
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.after)


def repair(row: Row, *, by: User | int | None, reason: str, **columns: object) -> Repair[Row]:
    """Write these columns of a stored row, bypassing the verbs, and record a trace of it.

    For errors that no verb can undo: a balance that another client wrote, a status after a chargeback. The library
    checks no rule of the books here; call ``find_problems`` afterwards. The trace is written in the same transaction,
    where the model keeps its history: the audit trail of a transaction, the events of a case, the activity log.

    ``by`` is the user (a row or an id) who decided it, None for the system; ``reason`` has 1 to 1000 characters;
    ``columns`` are named as the attributes of the row. Returns what changed; equal values change nothing.

    Raises RefusedValue for a value that does not fit; Refused without a reason, and for a model that keeps no
    history; NotFound for a row or user that does not exist; TypeError for an unknown column; Protected for an
    append-only table. Nothing is changed on error. Uses primary keys.
    """
    if not isinstance(row, BaseModel):
        raise TypeError(f"a repair takes a row of engagement_db, not {shown(row)}.")
    model, key = type(row), row.get_id()  # type: ignore[no-untyped-call]
    if model._meta.append_only:  # type: ignore[attr-defined]
        reject_rewrite(model, key)
    if not isinstance(reason, str) or not 0 < len(reason.strip()) <= REASON_CHARACTERS:
        raise Refused(
            f"a repair needs a reason of 1 to {REASON_CHARACTERS} characters. Nothing was changed.",
            table=model._meta.table_name,
            attribute="reason",
            id=key,
        )
    wanted = {name: _stored_value(model, name, value) for name, value in columns.items()}

    def work() -> Repair[Row]:
        by_id = resolve_actor_id(by)
        fresh = locked(model.select().where(model._meta.primary_key == key)).first()
        if fresh is None:
            raise not_found(model, key)
        after = {name: value for name, value in wanted.items() if fresh.__data__[name] != value}
        before = {name: fresh.__data__[name] for name in after}
        done = Repair(fresh, by_id, reason, now(), before, after)
        if after:
            store(fresh, {**after, **fresh.trace_repair(done), "updated_at": done.at})
        return done

    done = transaction(work)
    copy_state(row, done.row)
    return Repair(row, done.by_id, reason, done.at, done.before, done.after)


def _stored_value(model: type[BaseModel], name: str, value: Any) -> Any:
    field: Any = model._meta.fields.get(name)
    if field is None or field.primary_key:
        raise TypeError(f"{model.__name__} has no column {name!r} that can be repaired.")
    return stored_value(field, value)
