"""The database that the models are bound to: one proxy, and what it says while it is empty."""

from datetime import UTC, datetime
from typing import Any, Final, cast

import peewee

from engagement_db.errors import ConfigurationError


class Unbound(ConfigurationError, AttributeError):
    """A model was used before ``connect`` or ``bind``."""

    def __init__(self) -> None:
        super().__init__(
            "the engagement_db models are not bound to a database; call engagement_db.connect(url) or "
            "engagement_db.bind(database) first."
        )


class _Proxy(peewee.DatabaseProxy):
    def __getattr__(self, name: str) -> Any:
        if self.obj is None:
            raise Unbound
        return getattr(self.obj, name)

    def __enter__(self) -> Any:
        return self.__getattr__("__enter__")()


proxy: Final = _Proxy()


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def target(database: peewee.Database | peewee.Proxy) -> peewee.Database:
    """Return the database behind a proxy, or the database itself; raises Unbound for an empty proxy."""
    if isinstance(database, peewee.Proxy):
        if database.obj is None:
            raise Unbound
        return cast(peewee.Database, database.obj)
    return database
