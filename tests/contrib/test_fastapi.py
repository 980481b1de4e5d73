"""Services built with FastAPI: connections, problem documents, health, and a sample service with its own tests."""

import asyncio
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import engagement_db as edb
from engagement_db import testing
from engagement_db.schema import history, runner
from engagement_db.schema.stub_tables import create_stub_tables

fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed; tests/run -e services installs it")
pytest.importorskip("httpx", reason="httpx is not installed; tests/run -e services installs it")

from fastapi.testclient import TestClient  # noqa: E402

from engagement_db.contrib import fastapi as contrib  # noqa: E402
from engagement_db.contrib.pydantic import Read, create_schema, read_schema  # noqa: E402

SAMPLE = Path(__file__).parent.parent / "sample_service"
REQUESTS, CLIENTS = 480, 16


@pytest.fixture
def app():
    made = fastapi.FastAPI()
    contrib.install(made)
    return made


@pytest.fixture
def pooled(tmp_path):
    """A pool that refuses a connection too many at once, so that one that is left open is noticed."""
    database = edb.connect(f"sqlite+pool:///{tmp_path}/service.db", max_connections=40, timeout=0)
    with database.connection_context():
        database.create_tables(edb.MODELS)
        testing.make_user()
    return database


def test_no_request_of_many_is_dropped_and_no_connection_is_left(app, pooled):
    router = fastapi.APIRouter(route_class=contrib.ConnectedRoute)

    @app.get("/posts/{number}")
    def post(number: int) -> int:
        return edb.User.get_by_id(1).id * number

    @router.get("/users/{number}")
    def user(number: int) -> int:
        return edb.User.get_by_id(1).id * number

    app.include_router(router)

    def ask(client, number):
        return client.get(f"/{'posts' if number % 2 else 'users'}/{number}").json()

    with TestClient(app) as client, ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda number: ask(client, number), range(REQUESTS)))
    assert answers == list(range(REQUESTS))
    assert pooled._in_use == {}


def test_a_connection_is_given_back_when_the_endpoint_fails(app, pooled):
    @app.get("/posts/{number}")
    def post(number: int) -> int:
        return edb.FeedPost.get_by_id(number).id

    answer = TestClient(app).get("/posts/7")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json() == {
        "status": 404,
        "title": "Not Found",
        "code": "not_found",
        "detail": "feed_posts 7 does not exist.",
        "table": "feed_posts",
        "id": 7,
        "retryable": False,
    }
    assert pooled._in_use == {}


def test_a_dependency_may_be_connected(app, pooled):
    @contrib.connected
    def viewer(viewer_id: int) -> edb.User:
        return edb.User.get_by_id(viewer_id)

    @app.get("/me")
    def me(user: edb.User = fastapi.Depends(viewer)) -> str:  # noqa: B008
        return user.first_name

    assert TestClient(app).get("/me", params={"viewer_id": 1}).json() == "Ada"
    assert TestClient(app).get("/me", params={"viewer_id": 7}).status_code == 404


def test_what_would_run_without_its_connection_is_refused_when_it_is_declared():
    def dependency():
        yield edb.User.select().count()

    async def endpoint(): ...

    async def stream():
        yield edb.User.select().count()

    for function in (dependency, endpoint, stream):
        with pytest.raises(TypeError, match=rf"{function.__name__} is .*; declare it with def and return"):
            contrib.connected(function)
    router = fastapi.APIRouter(route_class=contrib.ConnectedRoute)
    with pytest.raises(TypeError, match="dependency is a generator"):
        router.add_api_route("/count", dependency)
    router.add_api_route("/sleep", endpoint)


def test_routes_that_were_declared_before_the_installation_are_refused_by_name():
    app = fastapi.FastAPI()
    app.get("/sleep")(asyncio.sleep)
    app.get("/count")(lambda: edb.User.select().count())
    with pytest.raises(RuntimeError, match=r"^call install\(app\) before .* are declared: /count .* no connection"):
        contrib.install(app)


def test_what_passes_says_when_to_try_again(app, pooled):
    @app.get("/busy")
    def busy() -> None:
        raise edb.Contention("too many at once")

    answer = TestClient(app).get("/busy")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_the_health_route_is_described_in_words_of_the_service(app):
    described = TestClient(app).get("/openapi.json").json()["paths"]["/health"]["get"]
    assert (described["summary"], described["operationId"]) == ("Health", "health_health_get")


def test_health_fails_while_a_revision_is_pending(app, tmp_path):
    edb.connect(f"sqlite:///{tmp_path}/empty.db")
    answer = TestClient(app).get("/health")
    assert (answer.status_code, answer.json()["code"]) == (503, "history_error")
    assert "engagement-db migrate" in answer.json()["detail"]


def test_a_service_stays_healthy_while_the_next_version_migrates(tmp_path):
    database = edb.connect(f"sqlite:///{tmp_path / 'health.db'}")
    with database.connection_context():
        runner.migrate(database, prepare=create_stub_tables)
        history.add(database, "999_of_a_later_version")
    app = fastapi.FastAPI()
    contrib.install(app)
    assert TestClient(app).get("/health").json() == {"status": "ok"}


def test_health_may_be_left_out():
    app = fastapi.FastAPI()
    contrib.install(app, health_path=None)
    assert TestClient(app).get("/health").status_code == 404


def test_fastapi_pagination_takes_a_query_and_a_page_is_refused(engagement_db_database):
    """It counts offsets, which a page by cursor does not have: it is for queries, and a page says so."""
    reason = "fastapi_pagination is not installed; tests/run -e services installs it"
    pytest.importorskip("fastapi_pagination", reason=reason)
    from fastapi_pagination import Params
    from fastapi_pagination.ext.peewee import paginate

    posts = [testing.make_post(content=str(number)) for number in range(3)]
    found = paginate(edb.FeedPost.select().order_by(edb.FeedPost.id), Params(page=2, size=2))
    assert (found.items, found.total) == (posts[2:], 3)
    with pytest.raises(
        edb.RefusedValue, match=r"feed_posts\.limit: None .*; to count all rows, or to page by offset as"
    ):
        paginate(edb.FeedPost.timeline(), Params(page=2, size=2))


def test_an_api_with_several_schemas_of_a_model_names_each_after_its_columns():
    app = fastapi.FastAPI()

    @app.get("/user")
    def user() -> Read[edb.User]: ...

    @app.get("/guest", response_model=read_schema(edb.User, exclude=["last_name", "email"]))
    def guest(): ...

    @app.post("/user")
    def sign_up(user: create_schema(edb.User, exclude=["email"])): ...

    names = set(app.openapi()["components"]["schemas"]) - {"HTTPValidationError", "ValidationError"}
    assert names == {"UserRead", "UserReadWithoutEmailAndLastName", "UserCreateWithoutEmail"}


def test_the_sample_service_passes_its_own_tests(tmp_path):
    shutil.copytree(SAMPLE, tmp_path / "service")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path / "service", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sample_service_is_as_short_as_promised():
    lines = [line for line in (SAMPLE / "service.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 120
