"""Rules for stored rows: columns that only verbs change, append-only tables and permanent records.

A model declares them in its ``Meta``; BaseModel and the queries below apply them to peewee's own calls.

``verb_columns``
    Maps the name of a column to the verbs that change it, as text for the error. An empty text means that the
    column never changes. A row may be created with any value: the books report what its audit trail does not
    explain.
``append_only``
    True for a table whose rows are neither changed nor deleted.
``permanent``
    True for a table whose rows are changed by verbs, but never deleted.
"""

from collections.abc import Iterable
from typing import Any, NoReturn

import peewee

from engagement_db.errors import Protected
from engagement_db.orm.inserts import ValuesInsert


class ProtectedInsert(ValuesInsert):
    """An INSERT whose conflict clause obeys the rules of its model."""

    def on_conflict(self, *args: Any, **options: Any) -> Any:
        """Return the query with this conflict clause. Raises Protected if the clause could change protected rows."""
        return _require_allowed_conflict(super().on_conflict(*args, **options))

    def on_conflict_replace(self, replace: bool = True) -> Any:
        """Return the query with REPLACE. Raises Protected if it could delete protected rows."""
        return _require_allowed_conflict(super().on_conflict_replace(replace))


class ProtectedDelete(peewee.ModelDelete):
    """A DELETE that is refused while a row to delete has children declared with ON DELETE RESTRICT.

    A database that was adopted may have CASCADE there, which would delete the children too.
    """

    def _execute(self, database: Any) -> Any:
        where: Any = self._where  # type: ignore[attr-defined]
        rows: Any = self.model.select(self.model._meta.primary_key)
        if where is not None:
            rows = rows.where(where)
        for reference, children in self.model._meta.backrefs.items():
            if reference.on_delete == "RESTRICT":
                found = children.select(reference).where(reference.in_(rows)).limit(1).tuples().execute(database)
                for (parent_id,) in found:
                    _reject_parent(self.model, parent_id, reference)
        return super()._execute(database)  # type: ignore[misc]


def require_changeable(model: type[peewee.Model], columns: Iterable[Any], row_id: Any = None) -> None:
    """Raise Protected if a stored row of ``model`` cannot have these columns changed by a plain UPDATE.

    ``columns`` are fields or names; ``row_id`` is the row, where it is known.
    """
    meta: Any = model._meta
    if meta.append_only:
        reject_rewrite(model, row_id)
    for column in columns:
        field = meta.combined.get(column, column) if isinstance(column, str) else column
        name = getattr(field, "name", None)
        if name in meta.verb_columns:
            _reject_column(model, field, meta.verb_columns[name], row_id)


def require_deletable(model: type[peewee.Model], row_id: Any = None) -> None:
    """Raise Protected if rows of ``model`` are never deleted."""
    meta: Any = model._meta
    if meta.append_only:
        reject_rewrite(model, row_id)
    if meta.permanent:
        raise Protected(
            f"{_place(model, row_id)} cannot be deleted: {meta.table_name} keeps every record. Nothing was changed.",
            table=meta.table_name,
            id=row_id,
        )


def require_no_records(model: type[peewee.Model]) -> None:
    """Raise Protected if emptying this table could delete records, its own or those of tables that refer to it."""
    for _, related, _ in [(None, model, False), *model._meta.model_graph(refs=False, backrefs=True)]:
        meta: Any = related._meta
        is_kept = meta.append_only or meta.permanent
        if is_kept and related.table_exists() and related.select(meta.primary_key).exists():
            raise Protected(
                f"{model._meta.table_name} cannot be emptied or dropped while {meta.table_name} holds rows, which are "
                "never deleted. Nothing was changed. To remove the tables, roll back their revision.",
                table=meta.table_name,
            )


def reject_rewrite(model: type[peewee.Model], row_id: Any = None) -> NoReturn:
    """Raise the Protected that says a table is append-only."""
    raise Protected(
        f"{model._meta.table_name} is append-only: {_place(model, row_id)} cannot be changed or deleted. "
        "Nothing was changed. Add a new entry instead.",
        table=model._meta.table_name,
        id=row_id,
    )


def _reject_column(model: type[peewee.Model], field: peewee.Field, verbs: str, row_id: Any) -> NoReturn:
    table, column = model._meta.table_name, field.column_name
    reason = f"is changed only by {verbs}" if verbs else "never changes once the row is stored"
    advice = f"Call {verbs} on the row instead, or" if verbs else "To correct an error,"
    raise Protected(
        f"{table}.{column} of {_place(model, row_id)} {reason}. Nothing was changed. {advice} use "
        "engagement_db.repair, which leaves a trace.",
        table=table,
        column=column,
        attribute=field.name,
        id=row_id,
        allowed=(verbs,) if verbs else (),
    )


def _reject_parent(model: type[peewee.Model], parent_id: Any, reference: peewee.ForeignKeyField) -> NoReturn:
    raise Protected(
        f"{_place(model, parent_id)} cannot be deleted: rows of {reference.model._meta.table_name} refer to it by "
        f"{reference.column_name}. Nothing was changed.",
        table=model._meta.table_name,
        id=parent_id,
    )


def _require_allowed_conflict(query: Any) -> Any:
    model, clause = query.model, query._on_conflict
    meta: Any = model._meta
    if clause is None or str(clause._action).upper() == "IGNORE":
        return query
    if str(clause._action).upper() == "REPLACE":
        require_deletable(model)
        if meta.verb_columns:
            require_changeable(model, meta.verb_columns)
    require_changeable(model, [*(clause._update or ()), *(clause._preserve or ())])
    return query


def _place(model: type[peewee.Model], row_id: Any) -> str:
    table = model._meta.table_name
    return f"a stored row of {table}" if row_id is None else f"{table} {row_id}"
