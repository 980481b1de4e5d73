"""The base of every model: names after the contract, tables made as the migrations make them."""

from typing import Any

import peewee

from engagement_db import ddl, dialects, tables
from engagement_db.orm.bound import BoundMetadata, models, now, proxy, refuse_in_scope, target
from engagement_db.orm.fields import ReferenceField
from engagement_db.orm.sessions import set_up_sessions


class _Metadata(BoundMetadata):
    """Names each index after the contract: ``<table>_<columns in snake_case>``."""

    checks: tuple[tuple[str, str], ...] = ()
    index_names: dict[tuple[str, ...], str] = {}

    def fields_to_index(self) -> list[peewee.ModelIndex]:
        found = []
        for item in self.indexes:
            names, unique = item
            fields = [self.fields[name] for name in names]
            name = self.index_names.get(names) or tables.index_name(
                self.table_name, [field.column_name for field in fields]
            )
            found.append(peewee.ModelIndex(self.model, fields, unique=unique, name=name))
        return found

    def set_database(self, database: Any) -> None:
        """Bind the model, as peewee's ``bind`` and ``bind_ctx`` ask; sessions are set up as by the library's own.

        Raises ConfigurationError in a scope, and for a database that ``engagement_db.bind`` would not take.
        """
        refuse_in_scope()
        if database is not None and not isinstance(database, peewee.Proxy):
            set_up_sessions(database)
        super().set_database(database)
        # The schema manager's own reference would outlast a scope.
        model: Any = self.model
        model._schema.database = None


class BaseModel(peewee.Model):
    """What all models share: the proxy, names after the contract, and ``updated_at`` that moves."""

    class Meta:
        database = proxy
        legacy_table_names = False
        model_metadata_class = _Metadata

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.partition(".")[0] == __package__.partition(".")[0]:
            models.append(cls)

    @classmethod
    def declared(cls) -> tables.Table:
        """Return the table that this model declares, in the vocabulary of ``engagement_db.tables``."""
        meta: Any = cls._meta
        columns, keys = [], []
        for field in meta.sorted_fields:
            default = _database_default(field)
            columns.append(tables.Column(field.column_name, field.column_type, field.null, default))
            if isinstance(field, ReferenceField):
                keys.append(_declared_key(field))
        indexes = tuple(
            tables.Index(index._name, tuple(field.column_name for field in index._expressions), index._unique)
            for index in meta.fields_to_index()
        )
        checks = tuple(
            tables.Check(tables.check_name(meta.table_name, column), expression) for column, expression in meta.checks
        )
        return tables.sort(tables.Table(meta.table_name, tuple(columns), tuple(keys), indexes, checks))

    @classmethod
    def create_table(cls, safe: bool = True, **options: Any) -> None:
        """Create the table exactly as the migrations do, enum types and indexes included.

        For scratch databases. With ``safe`` a table that exists is left alone.
        """
        database = cls._meta.database
        if safe and cls.table_exists():  # type: ignore[no-untyped-call]
            return
        for statement in ddl.create_whole(dialects.of(target(database)), cls.declared()):
            database.execute_sql(statement)

    @classmethod
    def drop_table(cls, safe: bool = True, drop_sequences: bool = True, **options: Any) -> None:
        """Drop the table and its enum types; with ``safe`` a table that does not exist is passed over."""
        database = cls._meta.database
        if safe and not cls.table_exists():  # type: ignore[no-untyped-call]
            return
        for statement in ddl.drop_whole(dialects.of(target(database)), cls.declared()):
            database.execute_sql(statement)

    @classmethod
    def update(cls, *args: Any, **values: Any) -> Any:
        """Return an UPDATE query; ``updated_at`` moves unless it is set by name."""
        given = dict(*args, **values)
        updated_at = cls._meta.fields.get("updated_at")
        if updated_at is not None and not {"updated_at", updated_at} & set(given):
            given[updated_at] = now()
        return super().update(given)

    def save(self, force_insert: bool = False, only: Any = None) -> Any:
        """Insert or update the row; ``updated_at`` moves with every update. Returns the rows changed."""
        key = self.get_id()  # type: ignore[no-untyped-call]
        updated_at = self._meta.fields.get("updated_at")
        if updated_at is not None and key is not None and not force_insert:
            self.updated_at = now()
            if only is not None:
                only = [*only, updated_at]
        return super().save(force_insert=force_insert, only=only)


def _database_default(field: peewee.Field) -> tables.Default:
    if field.default is now:
        return tables.NOW
    return None if field.default is None else str(field.default)


def _declared_key(field: ReferenceField) -> tables.ForeignKey:
    table = field.model._meta.table_name
    return tables.ForeignKey(
        tables.foreign_key_name(table, field.column_name),
        field.column_name,
        field.rel_model._meta.table_name,
        field.on_delete or "NO ACTION",
        field.on_update or "NO ACTION",
    )
