"""The models that peewee-migrate compares with ours in ``pw_migrate create --auto``."""

from typing import TYPE_CHECKING, Any

import peewee

from engagement_db.tables import Column, Enum, Id, Integer, Json, Money, Table, Text, Time, Varchar

if TYPE_CHECKING:
    from engagement_db.schema.revision import Revision


def register(migrator: Any, revision: "Revision") -> None:
    """Put the tables that ``revision`` leaves into the migrator's picture of the schema."""
    known = {model._meta.table_name: model for model in migrator.orm}
    before = {name: model.declared for name, model in known.items()}
    for name, shape in revision.declared(before).items():
        if before.get(name) != shape:
            if name in known:
                migrator.orm.remove(known[name])
            known[name] = model_of(shape, known)
            migrator.orm.add(known[name])


def model_of(shape: Table, parents: dict[str, Any]) -> Any:
    """Return a plain peewee model with the columns, keys and indexes of ``shape``."""
    attributes: dict[str, Any] = {column.name: _field(column) for column in shape.columns}
    for key in shape.foreign_keys:
        parent = "self" if key.parent == shape.name else parents[key.parent]
        attributes[key.column] = peewee.ForeignKeyField(
            parent,
            column_name=key.column,
            object_id_name=f"{key.column}_key",
            backref="+",
            null=getattr(shape.column(key.column), "null", True),
            on_delete=key.on_delete,
            on_update=key.on_update,
            index=False,
        )
    attributes["Meta"] = type("Meta", (), {"table_name": shape.name})
    model: Any = type(shape.name, (peewee.Model,), attributes)
    model.declared = shape
    for index in shape.indexes:
        fields = [model._meta.columns[column] for column in index.columns]
        model._meta.indexes.append(peewee.ModelIndex(model, fields, unique=index.unique, name=index.name))
    return model


def _field(column: Column) -> peewee.Field:
    match column.type:
        case Id():
            return peewee.AutoField()
        case Integer():
            return peewee.IntegerField(null=column.null)
        case Text():
            return peewee.TextField(null=column.null)
        case Varchar(length):
            return peewee.CharField(max_length=length, null=column.null)
        case Enum():
            return peewee.CharField(null=column.null)
        case Time():
            return peewee.DateTimeField(null=column.null)
        case Json():
            return peewee.JSONField(null=column.null)
        case Money():
            return peewee.DecimalField(max_digits=18, decimal_places=4, null=column.null)
        case _:
            return peewee.BareField(null=column.null)
