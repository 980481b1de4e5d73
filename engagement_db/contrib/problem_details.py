"""Errors as problem documents of RFC 9457, for any web framework."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from engagement_db import errors

MEDIA_TYPE: Final = "application/problem+json"

# A class that is missing has the status of the class it inherits from.
STATUS_CODES: Final[Mapping[type[errors.EngagementError], HTTPStatus]] = {
    errors.EngagementError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.RefusedValue: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Refused: HTTPStatus.CONFLICT,
    errors.Contention: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ConnectionLost: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OutcomeUnknown: HTTPStatus.GATEWAY_TIMEOUT,
    errors.NotWritable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.MigrationError: HTTPStatus.SERVICE_UNAVAILABLE,
}
RETRY_AFTER_SECONDS: Final = 1


def status_of(error: errors.EngagementError) -> HTTPStatus:
    """Return the HTTP status that fits the error."""
    return next(STATUS_CODES[kind] for kind in type(error).__mro__ if kind in STATUS_CODES)


def headers_for(error: errors.EngagementError) -> dict[str, str]:
    """Return the headers of the response: ``Retry-After`` if the same request may succeed later."""
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.retryable else {}


def problem_document(error: errors.EngagementError) -> dict[str, object]:
    """Return the problem document: ``status``, ``title`` and ``detail``, and the data of the error.

    The status of the row is ``row_status``. An error of the server itself (500) has no detail.
    """
    status = status_of(error)
    document: dict[str, object] = {"status": status.value, "title": status.phrase, "code": error.code}
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return document
    data = {
        "detail": str(error),
        "table": error.table,
        "column": error.column,
        "attribute": error.attribute,
        "id": error.id,
        "row_status": error.status,
        "allowed": list(error.allowed) or None,
        "retryable": error.retryable,
    }
    return document | {name: value for name, value in data.items() if value is not None}
