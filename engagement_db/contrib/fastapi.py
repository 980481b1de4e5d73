"""For services built with FastAPI: a connection for each request, errors as problem documents, a health route.

``install(app)`` is all that a service calls, before it declares its routes.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
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

# What only begins when it is called.
_LATE: Final[Mapping[Callable[[object], bool], str]] = {
    inspect.isgeneratorfunction: "a generator",
    inspect.iscoroutinefunction: "async",
    inspect.isasyncgenfunction: "an async generator",
}


def connected(function: Callable[P, Result]) -> Callable[P, Result]:
    """Return the function with a connection to the bound database while it runs.

    For an endpoint or a dependency that is declared with ``def``. FastAPI runs such a function in a thread of its
    pool, and may run what a dependency does before and after its ``yield`` in two others; a connection belongs to the
    thread that opened it, so it is opened and closed around the function itself.

    Raises TypeError for a generator and for ``async def``, whose work is done after the call.
    """
    for is_kind, kind in _LATE.items():
        if is_kind(function):
            raise TypeError(
                f"{function.__qualname__} is {kind}, and would run when the connection is closed again; declare it "
                "with def and return, or open a connection inside."
            )

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
        super().__init__(path, endpoint if _is_async(endpoint) else connected(endpoint), **options)


def install(app: FastAPI, *, health_path: str | None = HEALTH_PATH) -> None:
    """Give each route declared from now on a connection, answer errors with problem documents, add a health route.

    Routers of the service take ``route_class=ConnectedRoute``. The health route answers 200 if the bound database has
    the revisions of this version, or newer ones too, else 503; with None as its path there is none.

    Raises RuntimeError for an app with routes that were declared before, which would have no connection.
    """
    unconnected = [
        route for route in app.routes if isinstance(route, APIRoute) and not isinstance(route, ConnectedRoute)
    ]
    early = [route.path for route in unconnected if not _is_async(route.endpoint)]
    if early:
        raise RuntimeError(
            f"call install(app) before the routes are declared: {', '.join(early)} would have no connection."
        )
    app.router.route_class = ConnectedRoute
    app.add_exception_handler(EngagementError, _answer)
    if health_path is not None:
        health = APIRouter(route_class=ConnectedRoute)
        health.add_api_route(health_path, _report_health, name="health", summary="Health", tags=["health"])
        app.include_router(health)


def _is_async(endpoint: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(endpoint) or inspect.isasyncgenfunction(endpoint)


def _report_health() -> dict[str, str]:
    """Return ok if the database has the revisions that this version needs."""
    verify(accept_newer=True)
    return {"status": "ok"}


async def _answer(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EngagementError)
    return JSONResponse(problem_document(error), status_of(error), headers_for(error), MEDIA_TYPE)
