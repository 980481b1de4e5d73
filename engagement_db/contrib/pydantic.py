"""Pydantic schemas of the models: what a client reads of a row, and what it sends to make one.

Names are those of Python (snake_case); a reference is its id, as in ``user_id``. Enums are their labels, amounts exact
decimals written as text, times in UTC, a document that is ``null`` is null. Each column is described in the schema.
"""

import functools
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    create_model,
)

from engagement_db.orm import fields
from engagement_db.orm.fields import JSON_NULL, Unknown
from engagement_db.orm.models import BaseModel as Model

# What the server or the library fills in.
_GENERATED: Final = ("id", "created_at", "updated_at")


def _refuse_float(value: object) -> object:
    if isinstance(value, float):
        raise ValueError("an amount is a whole number or text such as '12.50', because a float is not exact")
    return value


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _document(value: object) -> object:
    return None if value is JSON_NULL else value.value if isinstance(value, Unknown) else value


Money = Annotated[
    Decimal,
    BeforeValidator(_refuse_float),
    Field(max_digits=18, decimal_places=4, allow_inf_nan=False),
    PlainSerializer(lambda amount: f"{amount:f}", return_type=str, when_used="json"),
]
UTCTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Document = Annotated[Any, BeforeValidator(_document)]


def read_schema(model: type[Model], *, exclude: Iterable[str] = (), name: str | None = None) -> type[BaseModel]:
    """Return the schema of a row as a client reads it: ``read_schema(FeedPost).model_validate(post)``.

    It has every column but those of ``exclude``, and sends no query. A label that this version does not know, as
    another service may write, is read as its text. ``name`` is that of the schema in OpenAPI, by default FeedPostRead,
    or FeedPostReadWithoutMetadata. Equal arguments return the same schema. In an annotation, ``Read[FeedPost]`` is the
    schema, and a type checker takes it for the row. Raises ValueError for a name in ``exclude`` that is no column's.
    """
    left_out = _left_out(model, exclude)
    return _read_schema(model, left_out, name or _named(model, "Read", left_out))


def create_schema(model: type[Model], *, exclude: Iterable[str] = (), name: str | None = None) -> type[BaseModel]:
    """Return the schema of what a client sends to make a row: ``FeedPost.create(**schema.model_dump())``.

    ``create`` writes the row as it is given. Where a verb makes such rows, as ``publish`` and ``initiate`` do, call it
    with the values instead: it writes the log or the audit trail too.

    It has every column but the id, the times of the row and those of ``exclude``; what is not known is refused. A
    column that may be null or has a default is optional. ``name`` and ``exclude`` are as for ``read_schema``. Equal
    arguments return the same schema. In an annotation, ``Create[FeedPost]`` is the schema, and a type checker takes it
    for a row: it knows the columns, and not that the id and the times are missing.
    """
    left_out = _left_out(model, exclude)
    return _create_schema(model, left_out.union(_GENERATED), name or _named(model, "Create", left_out))


Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:
    Read = Annotated[Row, "as a client reads it"]
    Create = Annotated[Row, "as a client sends it"]
else:

    class Read:
        """``Read[FeedPost]`` is ``read_schema(FeedPost)``; a type checker takes it for the row."""

        def __class_getitem__(cls, model: type[Model]) -> type[BaseModel]:
            return read_schema(model)

    class Create:
        """``Create[FeedPost]`` is ``create_schema(FeedPost)``; a type checker takes it for a row."""

        def __class_getitem__(cls, model: type[Model]) -> type[BaseModel]:
            return create_schema(model)


@functools.cache
def _read_schema(model: type[Model], left_out: frozenset[str], name: str) -> type[BaseModel]:
    columns: dict[str, Any] = {}
    for attribute, field, kind in _columns(model):
        if attribute not in left_out:
            read = kind | str if isinstance(field, fields.EnumField) else kind
            columns[attribute] = (read | None if field.null else read, Field(description=field.help_text))
    return _made(name, ConfigDict(from_attributes=True), columns)


@functools.cache
def _create_schema(model: type[Model], left_out: frozenset[str], name: str) -> type[BaseModel]:
    columns = {
        attribute: (kind | None if field.null else kind, Field(description=field.help_text, **_default(field)))
        for attribute, field, kind in _columns(model)
        if attribute not in left_out
    }
    return _made(name, ConfigDict(extra="forbid"), columns)


def _left_out(model: type[Model], exclude: Iterable[str]) -> frozenset[str]:
    """Return the names of ``exclude``. Raises ValueError for one that is no column's: what it means would be shown."""
    names, known = frozenset(exclude), [attribute for attribute, _, _ in _columns(model)]
    for name in sorted(names.difference(known)):
        raise ValueError(f"{model.__name__} has no column {name!r} to leave out; it has {', '.join(known)}.")
    return names


def _named(model: type[Model], use: str, left_out: frozenset[str]) -> str:
    """Return a name that no other schema of the model has, since a service's API may have both."""
    columns = "And".join(name.title().replace("_", "") for name in sorted(left_out))
    return f"{model.__name__}{use}{columns and 'Without'}{columns}"


def _made(name: str, config: ConfigDict, columns: dict[str, Any]) -> type[BaseModel]:
    schema: type[BaseModel] = create_model(name, __config__=config, **columns)
    return schema


def _columns(model: type[Model]) -> Iterable[tuple[str, Any, Any]]:
    """Yield each column's attribute, field and type."""
    for field in model._meta.sorted_fields:
        yield getattr(field, "object_id_name", field.name), field, _kind(field)


def _kind(field: Any) -> Any:
    match field:
        case fields.EnumField():
            return field.enum_class
        case fields.MoneyField():
            return Money
        case fields.UTCDateTimeField():
            return UTCTime
        case fields.JsonField():
            return Document
        case fields.VarcharField():
            return Annotated[str, Field(max_length=field.max_length)]
        case fields.TextField():
            return str
    return int


def _default(field: Any) -> dict[str, Any]:
    if callable(field.default):
        return {"default_factory": field.default}
    return {"default": field.default} if field.null or field.default is not None else {}
