"""For services built with FastAPI: a connection for each request, errors as problem documents, a health route.

``install(app)`` is all that a service calls, before it declares its routes.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from engagement_db.contrib.problem_details import MEDIA_TYPE, headers_for, problem_document, status_of
from engagement_db.errors import EngagementError
from engagement_db.orm.bound import current
from engagement_db.readiness import verify

P = ParamSpec("P")
Result = TypeVar("Result")

HEALTH_PATH: Final = "/health"


def connected(function: Callable[P, Result]) -> Callable[P, Result]:
    """Return the function with a connection to the bound database while it runs.

    For an endpoint or a dependency that is declared with ``def``. FastAPI runs such a function in a thread of its
    pool, and may run what a dependency does before and after its ``yield`` in two others; a connection belongs to the
    thread that opened it, so it is opened and closed around the function itself.
    """

    @functools.wraps(function)
    def within(*args: P.args, **values: P.kwargs) -> Result:
        with current().connection_context():
            return function(*args, **values)

    return within


class ConnectedRoute(APIRoute):
    """A route whose endpoint has a connection, if it is declared with ``def``. For ``APIRouter(route_class=...)``.

    What the endpoint returns is serialized after the connection was closed: the columns of a row can be read, the rows
    that it refers to cannot.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        is_async = inspect.iscoroutinefunction(endpoint)
        super().__init__(path, endpoint if is_async else connected(endpoint), **options)


def install(app: FastAPI, *, health_path: str | None = HEALTH_PATH) -> None:
    """Give each route declared from now on a connection, answer errors with problem documents, add a health route.

    Routers of the service take ``route_class=ConnectedRoute``. The health route answers 200 if the bound database has
    the revisions of this version, or newer ones too, else 503; with None as its path there is none.
    """
    app.router.route_class = ConnectedRoute
    app.add_exception_handler(EngagementError, _answer)
    if health_path is not None:
        health = APIRouter(route_class=ConnectedRoute)
        health.add_api_route(health_path, _report_health, name="health", summary="Health", tags=["health"])
        app.include_router(health)


def _report_health() -> dict[str, str]:
    """Return ok if the database has the revisions that this version needs."""
    verify(accept_newer=True)
    return {"status": "ok"}


async def _answer(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EngagementError)
    return JSONResponse(problem_document(error), status_of(error), headers_for(error), MEDIA_TYPE)
