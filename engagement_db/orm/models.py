"""The base of every model: names after the contract, tables made as the migrations make them."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

import peewee

from engagement_db import servers, tables
from engagement_db.errors import NotFound, Refused
from engagement_db.orm.bound import BoundMetadata, models, now, proxy, refuse_in_scope, target
from engagement_db.orm.columns import Select
from engagement_db.orm.failures import prepare
from engagement_db.orm.fields import (
    EnumField,
    IntegerField,
    JsonField,
    KeyField,
    LateReferenceField,
    MoneyField,
    ReferenceField,
    TextField,
    UTCDateTimeField,
    VarcharField,
    changed_documents,
    forget_documents,
    note_documents,
    reject,
)
from engagement_db.orm.loading import LoadingSelect
from engagement_db.orm.protection import (
    ProtectedDelete,
    ProtectedInsert,
    require_changeable,
    require_deletable,
    require_no_records,
)
from engagement_db.orm.statements import Parameter, Statement, parameters
from engagement_db.servers.driver import execute

if TYPE_CHECKING:
    from engagement_db.orm.columns import Create, Delete
    from engagement_db.repairs import Repair


class _Metadata(BoundMetadata):
    """Names each index after the contract: ``<table>_<columns in snake_case>``."""

    checks: tuple[tuple[str, str], ...] = ()
    index_names: dict[tuple[str, ...], str] = {}
    verb_columns: Mapping[str, str] = {}
    append_only: bool = False
    permanent: bool = False

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
            prepare(database)
        super().set_database(database)
        # The schema manager's own reference would outlast a scope.
        model: Any = self.model
        model._schema.database = None


@dataclass_transform(
    kw_only_default=True,
    eq_default=False,
    field_specifiers=(
        EnumField,
        IntegerField,
        JsonField,
        KeyField,
        LateReferenceField,
        MoneyField,
        ReferenceField,
        TextField,
        UTCDateTimeField,
        VarcharField,
    ),
)
class BaseModel(peewee.Model):
    """The base of all models: names after the contract, ``updated_at``, and rules for stored rows.

    The rules are those that ``orm.protection`` describes.
    """

    _dirty: ClassVar[Any]
    DoesNotExist: ClassVar[Any]

    if TYPE_CHECKING:
        create: ClassVar[Create]
        delete: ClassVar[Delete]  # type: ignore[misc]

    class Meta:
        database = proxy
        legacy_table_names = False
        model_metadata_class = _Metadata

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.partition(".")[0] == __package__.partition(".")[0]:
            models.append(cls)

    @classmethod
    def validate_model(cls) -> None:
        """Make the model's DoesNotExist a NotFound too. peewee calls this once the class is complete."""
        missing = cls.DoesNotExist
        data = {"code": NotFound.code, "__module__": cls.__module__, "__qualname__": f"{cls.__name__}.DoesNotExist"}
        cls.DoesNotExist = type(missing.__name__, (NotFound, missing), data)

    @classmethod
    def select(cls, *fields: object) -> Select[Self]:
        """Return a SELECT of these columns, by default of all."""
        query: Any = LoadingSelect(cls, fields or cls._meta.sorted_fields, is_default=not fields)
        found: Select[Self] = query
        return found

    @classmethod
    def get_by_id(cls, pk: object) -> Self:
        """Return the row with this id. Raises NotFound, which is the model's DoesNotExist too."""
        row = cls.select().where(cls._meta.primary_key == pk).first()
        if row is None:
            table = cls._meta.table_name
            raise cls.DoesNotExist(f"{table} {pk} does not exist.", table=table, id=pk)
        return row

    @classmethod
    def table_exists(cls) -> bool:
        """Return whether a query finds the table, in whichever schema of a search_path."""
        database: Any = cls._meta.database
        return servers.read(target(database)).has_table(cls._meta.table_name)

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
    def create_table(cls, safe: bool = True, **options: object) -> None:
        """Create the table exactly as the migrations do, enum types and indexes included.

        For scratch databases. With ``safe`` a table that exists is left alone.
        """
        database = cls._meta.database
        if safe and cls.table_exists():
            return
        server = servers.of(target(database))
        for statement in server.create_statements(servers.KeyTypes(server.read(database)).fit(cls.declared())):
            execute(database, statement)

    @classmethod
    def drop_table(cls, safe: bool = True, drop_sequences: bool = True, **options: object) -> None:
        """Drop the table and its enum types; with ``safe`` a table that does not exist is passed over.

        Raises Protected if that would delete rows that are kept, here or in child tables.
        """
        database = cls._meta.database
        if safe and not cls.table_exists():
            return
        require_no_records(cls)
        for statement in servers.of(target(database)).drop_statements(cls.declared()):
            execute(database, statement)

    def __init__(self, *args: object, **values: object) -> None:
        """Make a row with these columns; raises TypeError for a name that is none."""
        if values.pop("__no_default__", False):
            super().__init__(__no_default__=True)
            for name, value in values.items():
                if name in self._meta.fields:
                    # Read, so it has its form already.
                    self.__data__[name] = value
                else:
                    setattr(self, name, value)
            return
        given = {column_named(type(self), name).name: value for name, value in values.items()}
        super().__init__(*args, **given)
        # A default was not assigned, so updating this row by its id does not write it.
        self._dirty &= given.keys()  # type: ignore[misc]

    def __sql__(self, ctx: Any) -> Any:
        """Return the row's id where a reference or a key is compared, and refuse everywhere else."""
        if ctx.state.converter is None:
            raise TypeError(f"{self!r} is a row of {self._meta.table_name}, not a value; pass one of its attributes.")
        return ctx.sql(peewee.Value(self, converter=ctx.state.converter))

    @classmethod
    def _normalize_data(cls, data: Any, values: Mapping[str, Any]) -> dict[Any, Any]:
        """Return ``data`` and ``values`` by field. Raises TypeError for a name that is no column."""
        normalized = {}
        for name, value in (*(data or {}).items(), *values.items()):
            field = column_named(cls, name)
            is_row = isinstance(value, peewee.Model) and isinstance(field, peewee.Field)
            normalized[field] = field.db_value(value) if is_row else value
        return normalized

    def save(self, force_insert: bool = False, only: Iterable[object] | None = None) -> int:
        """Insert the row, or update what was assigned to it since it was read or saved. Returns the rows changed.

        An update writes ``updated_at`` too, and no other column: saving a stale row does not undo what others wrote
        since. A document changed in place counts as assigned.

        Raises Protected for a column that only verbs change, and for any update of an append-only table.
        """
        key = self.get_id()  # type: ignore[no-untyped-call]
        chosen = None if only is None else [column_named(type(self), item) for item in only]
        if force_insert or key is None:
            self._require_stored_parents(chosen)
            if chosen is None and not any(isinstance(value, peewee.Node) for value in self.__data__.values()):
                rows = self._insert()
            else:
                rows = super().save(force_insert=True, only=chosen)
            if chosen is None:
                # Columns that were not given are NULL now, as in a row that is read.
                self.__data__ = dict.fromkeys(self._meta.sorted_field_names) | self.__data__
            return rows
        fields = chosen or [self._meta.fields[name] for name in self._dirty | changed_documents(self)]
        require_changeable(type(self), fields, key)
        self._require_stored_parents(fields)
        if "updated_at" in self._meta.fields:
            self.updated_at = now()
            fields.append(self._meta.fields["updated_at"])
        rows = super().save(only=fields)
        note_documents(self)
        return rows

    def _insert(self) -> int:
        """Insert the row by a statement that is built once for its columns."""
        meta: Any = self._meta
        values = {**meta.get_default_dict(), **self.__data__}
        self._populate_unsaved_relations(values)  # type: ignore[attr-defined]
        key = meta.primary_key.name
        if values.get(key) is None:
            values.pop(key, None)
        cursor = _insert_of(type(self), tuple(values)).execute_on(target(meta.database), **values)
        # Whether peewee adds RETURNING depends on a setting of the database for which the statement was built.
        self.__data__[key] = cursor.fetchone()[0] if cursor.description else cursor.lastrowid
        self._dirty.clear()
        return 1

    def _require_stored_parents(self, fields: Iterable[peewee.Field] | None = None) -> None:
        """Raise RefusedValue if one of these references, by default any, was given a row that is not stored yet."""
        for reference in self._meta.refs if fields is None else fields:
            parent = self.__rel__.get(reference.name)
            if parent is not None and parent.get_id() is None:
                reference.db_value(parent)

    @classmethod
    def bulk_create(cls, model_list: Iterable[Self], batch_size: int | None = None) -> None:
        """Insert the rows. As after ``save``, nothing is left to be saved."""
        rows = list(model_list)
        for row in rows:
            row._require_stored_parents()
        super().bulk_create(rows, batch_size)
        for row in rows:
            row._dirty.clear()

    @classmethod
    def bulk_update(cls, model_list: Iterable[Self], fields: Iterable[object], batch_size: int | None = None) -> int:
        """Write these columns of the rows, and ``updated_at``. Returns the rows changed. Raises as ``update`` does."""
        rows, named = list(model_list), [column_named(cls, field) for field in fields]
        for row in rows:
            row._require_stored_parents(named)
        changed: int = super().bulk_update(rows, named, batch_size)  # type: ignore[no-untyped-call]
        return changed

    @classmethod
    def update(cls, *args: Mapping[Any, object], **values: object) -> peewee.ModelUpdate:
        """Return an UPDATE query; it writes ``updated_at`` too unless that is given.

        Raises Protected for a column that only verbs change, and for an append-only table; TypeError for an unknown
        column.
        """
        given = cls._normalize_data(dict(*args), values)
        require_changeable(cls, given)
        return verb_update(cls, given)

    @classmethod
    def insert(cls, data: Mapping[Any, object] | None = None, **values: object) -> ProtectedInsert:
        """Return an INSERT; its conflict clause raises Protected where ``update`` would.

        Raises TypeError for an unknown column.
        """
        return ProtectedInsert(cls, cls._normalize_data(data, values))

    @classmethod
    def insert_many(
        cls, rows: Iterable[Mapping[Any, object] | Sequence[object]], fields: Iterable[object] | None = None
    ) -> ProtectedInsert:
        """Return an INSERT of many rows, mappings or, with ``fields``, sequences. Otherwise as ``insert``.

        A column that some of the mappings lack gets its default there.
        """
        given: list[Any] = list(rows)
        if fields is None and given and all(isinstance(row, Mapping) for row in given):
            fields = list(given[0])
            are_distinct = len({column_named(cls, name) for name in fields}) == len(fields)
            if are_distinct and all(row.keys() == given[0].keys() for row in given):
                given = [[row[name] for name in fields] for row in given]
            else:
                given = [cls._normalize_data(row, {}) for row in given]
                fields = list({field: None for row in given for field in row})
        return ProtectedInsert(cls, insert=given, columns=_columns(cls, fields))

    @classmethod
    def insert_from(cls, query: object, fields: Iterable[object]) -> ProtectedInsert:
        """Return an INSERT of a query's rows. Otherwise as ``insert``."""
        return ProtectedInsert(cls, insert=query, columns=_columns(cls, fields))

    @classmethod
    def filter(cls, *nodes: object, **filters: object) -> Select[Self]:
        """Return a SELECT with these filters, in peewee's spelling. Raises TypeError for an unknown column."""
        try:
            found: Select[Self] = super().filter(*nodes, **filters)  # type: ignore[no-untyped-call]
        except AttributeError as error:
            raise TypeError(f"{cls.__name__} cannot be filtered by {', '.join(filters)}: {error}.") from None
        return found

    @classmethod
    def get(cls, *query: object, **filters: object) -> Self:
        """Return the first row that fits. Raises DoesNotExist, and TypeError for an unknown column."""
        if not filters:
            return super().get(*query)
        found = cls.filter(**filters)
        return (found.where(*query) if query else found).get()

    @classmethod
    def get_or_create(cls, *, defaults: Mapping[str, object] | None = None, **values: object) -> tuple[Self, bool]:
        """Return the row with these values, created with ``defaults`` too if it is missing, and whether it was.

        Raises TypeError for an unknown column.
        """
        for name in [*values, *(defaults or ())]:
            column_named(cls, name)
        found: tuple[Self, bool] = super().get_or_create(  # type: ignore[no-untyped-call]
            defaults=dict(defaults or {}), **values
        )
        return found

    if not TYPE_CHECKING:

        @peewee.classmethod_only
        def delete(cls) -> ProtectedDelete:
            """Return a DELETE query, which is refused for parents of rows that are kept (ON DELETE RESTRICT).

            Raises Protected for a table whose rows are never deleted.
            """
            require_deletable(cls)
            return ProtectedDelete(cls)

    def delete_instance(self, recursive: bool = False, delete_nullable: bool = False) -> int:
        """Delete the row, with ``recursive`` its children too: all of it or, on an error, nothing.

        Children whose reference may be empty are kept unless ``delete_nullable``; the server empties their
        reference. Raises Protected, before anything is deleted, if a row to be deleted is one that is kept.
        """
        require_deletable(type(self), self.get_id())  # type: ignore[no-untyped-call]
        with self._meta.database.atomic():
            if recursive:
                self._delete_children(delete_nullable)
            return super().delete_instance()

    def _delete_children(self, delete_nullable: bool) -> None:
        children = [
            (reference.model, where)
            for where, reference in self.dependencies(exclude_null_children=not delete_nullable)
            if delete_nullable or not reference.null
        ]
        for model, where in children:
            kept = model._meta.append_only or model._meta.permanent
            row = model.select().where(where).first() if kept else None
            if row is not None:
                require_deletable(model, row.get_id())
        for model, where in children:
            peewee.ModelDelete(model).where(where).execute()

    def trace_repair(self, repair: "Repair[Any]") -> Mapping[str, Any]:
        """Record a repair of this row in the history of its model; return further columns to write to the row.

        ``engagement_db.repair`` calls it in its transaction, with the stored row locked. A model with a history
        overrides it; this one raises Refused.
        """
        raise Refused(
            f"{self._meta.table_name} keeps no history, so a repair would leave no trace. Nothing was changed.",
            table=self._meta.table_name,
            id=self.get_id(),  # type: ignore[no-untyped-call]
        )

    @classmethod
    def truncate_table(cls, **options: object) -> None:
        """Delete all rows. Raises Protected if that could delete rows that are kept, here or in child tables."""
        require_no_records(cls)
        super().truncate_table(**options)


def column_named(model: type[peewee.Model], name: Any) -> Any:
    """Return the field of this name, or a field as it is. Raises TypeError, naming one that is alike, for no column."""
    meta: Any = model._meta
    if not isinstance(name, str):
        return name
    field = meta.combined.get(name)
    if field is None:
        by_id = {reference.object_id_name: reference for reference in meta.refs}
        if name in by_id:
            return by_id[name]
        import difflib

        alike = difflib.get_close_matches(name, [*meta.fields, *by_id], n=1)
        raise TypeError(
            f"{model.__name__} has no column {name!r}; "
            + (f"did you mean {alike[0]!r}?" if alike else f"it has {', '.join(meta.fields)}.")
        )
    return field


def _columns(model: type[peewee.Model], names: Any) -> list[Any] | None:
    return [column_named(model, name) for name in names] if names else None


def verb_update(model: type[peewee.Model], changes: Mapping[Any, Any]) -> peewee.ModelUpdate:
    """Return an UPDATE that may write columns which only verbs change. For the verbs of this library.

    ``changes`` maps fields or their names to values; ``updated_at`` is written too unless it is given.
    """
    meta: Any = model._meta
    values = model._normalize_data(changes, {})  # type: ignore[attr-defined]
    if "updated_at" in meta.fields:
        values.setdefault(meta.fields["updated_at"], now())
    return peewee.ModelUpdate(model, values)


@cache
def update_of(model: type[peewee.Model], names: tuple[str, ...], guard: str | None = None) -> Statement:
    """Return the UPDATE of the columns with these names in the row with the id that is given as ``id``.

    ``guard`` is a column that must still have the value given as ``before``, or else no row is changed.
    """

    def build() -> Any:
        fields: Any = model._meta.fields
        query = verb_update(model, parameters(*(fields[name] for name in names)))
        query = query.where(model._meta.primary_key == Parameter("id"))
        if guard is not None:
            query = query.where(fields[guard] == Parameter("before", fields[guard].db_value))
        return query

    return Statement(build)


@cache
def _insert_of(model: type[peewee.Model], names: tuple[str, ...]) -> Statement:
    fields: Any = model._meta.fields
    for name, field in fields.items():
        if name not in names and not (field.null or field.primary_key):
            reject(field, "a value is required")
    values = {fields[name]: Parameter(name, fields[name].db_value) for name in names}
    return Statement(lambda: ProtectedInsert(model, values))


def store(row: BaseModel, changes: Mapping[str, Any]) -> None:
    """Write these changes of a verb to the row with this id, and give them to ``row`` itself."""
    model, key = type(row), row._meta.primary_key
    verb_update(model, changes).where(key == row.get_id()).execute()  # type: ignore[no-untyped-call]
    assign(row, changes)


def certify(row: BaseModel) -> None:
    """Make other nodes notice that another row is changed by a decision that depends on this locked row.

    Where a lock holds on one node of a cluster only, two nodes conflict only if both write the row. So ``updated_at``
    is written there; elsewhere this does nothing.
    """
    database: Any = target(row._meta.database)
    known = getattr(database, "_engagement_db_locks_one_node", None)
    if known is None:
        known = database._engagement_db_locks_one_node = servers.of(database).locks_one_node(database)
    if known:
        store(row, {"updated_at": now()})


def assign(row: BaseModel, changes: Mapping[str, Any]) -> None:
    """Give ``row`` these values, which are stored already, so that ``save`` does not write them."""
    for name, value in changes.items():
        setattr(row, name, value)
    row._dirty -= changes.keys()  # type: ignore[misc]
    forget_documents(row, changes)


def _database_default(field: peewee.Field) -> tables.Default:
    if field.default is now:
        return tables.NOW
    if isinstance(field.default, Decimal):
        return str(field.default.normalize())
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
