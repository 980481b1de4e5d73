"""The project state that ``pw_migrate create --auto`` compares with the models."""

from collections.abc import Sequence
from typing import Any

import peewee

from engagement_db.schema.steps import CreateTable, Step
from engagement_db.tables import (
    Column,
    Enum,
    ForeignKey,
    Id,
    Integer,
    Json,
    Money,
    Table,
    Text,
    Timestamp,
    Varchar,
    snake_case,
)


def register(migrator: Any, steps: Sequence[Step]) -> None:
    """Update the migrator's models to the tables after ``steps``, without the platform's own."""
    known = {model._meta.table_name: model for model in migrator.orm}
    before = {name: model.declared for name, model in known.items()}
    after = before
    for step in steps:
        after = step.declared(after)
    own = {*known, *(step.table.name for step in steps if isinstance(step, CreateTable))}
    for name, shape in after.items():
        if name in own and before.get(name) != shape:
            if name in known:
                migrator.orm.remove(known[name])
            known[name] = model_of(shape, known)
            migrator.orm.add(known[name])


def model_of(shape: Table, parents: dict[str, Any]) -> Any:
    """Return a plain peewee model with the columns, keys and indexes of ``shape``.

    Attributes are named as in the library's models: ``created_at`` for ``createdAt``, ``user`` for ``userId``.
    """
    attributes: dict[str, Any] = {}
    for column in shape.columns:
        key = shape.foreign_key(column.name)
        name = snake_case(column.name)
        if key is None:
            attributes[name] = _field(column)
        else:
            parent = "self" if key.parent == shape.name else parents.get(key.parent) or _stub(key.parent)
            attributes[name.removesuffix("_id")] = _reference(column, key, parent)
    attributes["Meta"] = type("Meta", (), {"table_name": shape.name})
    model: Any = type(shape.name, (peewee.Model,), attributes)
    model.declared = shape
    for index in shape.indexes:
        fields = [model._meta.columns[column] for column in index.columns]
        model._meta.indexes.append(peewee.ModelIndex(model, fields, unique=index.unique, name=index.name))
    return model


def _stub(table: str) -> Any:
    return type(table, (peewee.Model,), {"Meta": type("Meta", (), {"table_name": table})})


def _reference(column: Column, key: ForeignKey, parent: Any) -> Any:
    options: dict[str, Any] = {"column_name": column.name, "null": column.null}
    return peewee.ForeignKeyField(
        parent,
        object_id_name=snake_case(column.name),
        backref="+",
        on_delete=key.on_delete,
        on_update=key.on_update,
        index=False,
        **options,
    )


def _field(column: Column) -> Any:
    options: dict[str, Any] = {"column_name": column.name, "null": column.null}
    match column.type:
        case Id():
            return peewee.AutoField(column_name=column.name)
        case Integer():
            return peewee.IntegerField(**options)
        case Text():
            return peewee.TextField(**options)
        case Varchar(length):
            return peewee.CharField(max_length=length, **options)
        case Enum():
            return peewee.CharField(**options)
        case Timestamp():
            return peewee.DateTimeField(**options)
        case Json():
            return peewee.JSONField(**options)
        case Money():
            return peewee.DecimalField(max_digits=18, decimal_places=4, **options)
        case _:
            return peewee.BareField(**options)
