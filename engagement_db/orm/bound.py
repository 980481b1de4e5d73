"""The database to which the models are bound: by default for the process, in a scope for one block."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, cast

import peewee

from engagement_db.errors import ConfigurationError, NotWritable

_scoped: ContextVar[peewee.Database | None] = ContextVar("engagement_db_database", default=None)
_read_only: ContextVar[peewee.Database | None] = ContextVar("engagement_db_read_only", default=None)


class Unbound(ConfigurationError, AttributeError):
    """A model was used before ``connect`` or ``bind``."""

    def __init__(self) -> None:
        super().__init__(
            "the engagement_db models are not bound to a database; call engagement_db.connect(url) or "
            "engagement_db.bind(database) first."
        )


class _Proxy(peewee.DatabaseProxy):
    """Proxy of the scope's database, and outside a scope of the one that ``bind`` set."""

    @property
    def obj(self) -> peewee.Database | None:
        return _scoped.get() or vars(self).get("default")

    @obj.setter
    def obj(self, database: peewee.Database | None) -> None:
        vars(self)["default"] = database

    def __getattr__(self, name: str) -> Any:
        if self.obj is None:
            raise Unbound
        return getattr(self.obj, name)

    def __enter__(self) -> Any:
        return self.__getattr__("__enter__")()


proxy: Final = _Proxy()


class BoundMetadata(peewee.Metadata):
    """Looks up the database of a model each time the model is used.

    A model declared on the proxy follows the proxy or peewee's own ``bind``, and in a scope the scope. One that is
    declared on another database keeps it.
    """

    follows_scope = False

    def __init__(self, model: Any, database: Any = None, **options: Any) -> None:
        super().__init__(model, database, **options)
        self.follows_scope = database is proxy

    @property
    def database(self) -> Any:
        scoped = _scoped.get() if self.follows_scope else None
        return self._database if scoped is None else scoped

    @database.setter
    def database(self, database: Any) -> None:
        self._database = database

    def get_database_instance(self) -> Any:
        database = self.database
        return database.obj if isinstance(database, peewee.Proxy) else database


def refuse_in_scope() -> None:
    """Raise ConfigurationError in a scope, whose database cannot be changed."""
    if _scoped.get() is not None:
        raise ConfigurationError(
            "the models cannot be bound inside transaction() or bind_ctx(), which bind them for the block; "
            "call engagement_db.bind_ctx(database) for a block in another database."
        )


@contextlib.contextmanager
def scope(database: peewee.Database, *, for_reading: bool = False) -> Iterator[peewee.Database]:
    """Bind the models to ``database`` in this block, in this thread or asyncio task and the tasks it starts.

    ``for_reading`` lets ``refuse_writes`` raise for this database in the block, until another one is bound in it.
    """
    token, reading = _scoped.set(database), _read_only.set(database if for_reading else None)
    try:
        yield database
    finally:
        _read_only.reset(reading)
        _scoped.reset(token)


def refuse_writes(database: peewee.Database) -> None:
    """Raise NotWritable in a block that only reads from this database."""
    if _read_only.get() is database:
        raise NotWritable(
            "a write inside read_from() is refused, because its block reads from another server; call it outside the "
            "block. Nothing was changed."
        )


# The models of the library, which each verb needs in one database.
models: Final[list[type[peewee.Model]]] = []


def current() -> peewee.Database:
    """Return the database to which the models are bound here.

    Raises Unbound, and ConfigurationError when peewee's own ``bind`` left them in more than one database.
    """
    scoped = _scoped.get()
    if scoped is not None:
        return scoped
    first = models[0]._meta.database
    database = target(first)
    for model in models:
        bound = model._meta.database
        if bound is not first and target(bound) is not database:
            raise ConfigurationError(
                f"{models[0]._meta.table_name} is bound to one database and {model._meta.table_name} to another; "
                "bind all of engagement_db.MODELS, or call engagement_db.bind_ctx(database). Nothing was sent."
            )
    return database


# The clock that a test stops.
read_clock: Callable[[tzinfo], datetime] = datetime.now


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return read_clock(UTC)


def target(database: peewee.Database | peewee.Proxy) -> peewee.Database:
    """Return the database behind a proxy, or the database itself; raises Unbound for an empty proxy."""
    if isinstance(database, peewee.Proxy):
        if database.obj is None:
            raise Unbound
        return cast(peewee.Database, database.obj)
    return database
