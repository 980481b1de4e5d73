"""What type checkers know of models: the type of a column is its annotation, the field class is what runs.

::

    class FeedReaction(BaseModel):
        post_id: ClassVar[Column[int]]                   # peewee makes it; a ClassVar is no argument of the constructor
        id: Column[int] = KeyField(default=None)
        post: Reference[FeedPost] = ReferenceField(FeedPost, ...)
        note: Column[str | None] = TextField(null=True, default=None)

A keyword of the constructor is optional for the checkers if ``default=`` is given in the call.
"""

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import peewee

V = TypeVar("V")
M = TypeVar("M", bound=peewee.Model)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    class Column(peewee.Field[V]):
        """A column: a ``V`` on a row, an expression on the class."""

        def __new__(cls, *args: Any, **options: Any) -> Self: ...
        def __set__(self, instance: object, value: V) -> None: ...
        def db_value(self, value: Any) -> Any: ...

    class Reference(Column[V]):
        """A foreign key: the other row on a row, assigned as a row or its id."""

        rel_model: Any

        @overload
        def __get__(self, instance: None, owner: Any) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> V: ...
        def __get__(self, instance: object, owner: Any) -> Any: ...
        def __set__(self, instance: object, value: V | int) -> None: ...

    class Query(peewee.ModelSelect[Any], Generic[V]):
        """A SELECT that yields ``V``: rows, dicts or tuples."""

        def __iter__(self) -> Iterator[V]: ...
        @overload
        def __getitem__(self, value: int) -> V: ...
        @overload
        def __getitem__(self, value: slice) -> list[V]: ...
        def __getitem__(self, value: int | slice) -> Any: ...
        def iterator(self, database: Any = None) -> Iterator[V]: ...
        def get(self, database: Any = None) -> V: ...
        def get_or_none(self, database: Any = None) -> V | None: ...
        @overload
        def first(self, database: Any = None, n: Literal[1] = 1) -> V | None: ...
        @overload
        def first(self, database: Any = None, n: int = 1) -> V | list[V] | None: ...
        def first(self, database: Any = None, n: int = 1) -> Any: ...
        def dicts(self, as_dict: bool = True) -> "Query[dict[str, Any]]": ...  # type: ignore[override]
        def tuples(self, as_tuple: bool = True) -> "Query[tuple[Any, ...]]": ...  # type: ignore[override]
        def namedtuples(self, as_namedtuple: bool = True) -> "Query[Any]": ...

    class Select(Query[M], peewee.ModelSelect[M]):
        """A SELECT of rows of ``M``."""

        def prefetch(self, *subqueries: object, prefetch_type: int = ...) -> list[M]: ...

    class Backref(Generic[M]):
        """The rows that refer to a row, as a SELECT."""

        @overload
        def __get__(self, instance: None, owner: Any) -> peewee.BackrefAccessor: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Select[M]: ...
        def __get__(self, instance: object, owner: Any) -> Any: ...

    class Create:
        """``Model.create``: it takes what the class takes, and returns the stored row."""

        def __get__(self, instance: object, owner: type[M]) -> type[M]: ...

    class Delete:
        """``Model.delete``, which a row does not have."""

        def __get__(self, instance: None, owner: Any) -> Callable[[], peewee.ModelDelete]: ...

else:

    class Column(Generic[V]):
        """A column, for annotations."""

    class Reference(Column[V]):
        """A foreign key, for annotations."""

    class Select(Generic[M]):
        """A SELECT of rows, for annotations."""

    class Backref(Generic[M]):
        """The rows that refer to a row, for annotations."""
