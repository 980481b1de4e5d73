"""The recipes of docs/services.md do what they say."""

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import peewee
import pytest

import engagement_db as edb
from engagement_db import testing
from engagement_db.schema import runner
from engagement_db.schema.stub_tables import create_stub_tables

PAGE = (Path(__file__).parents[2] / "docs" / "services.md").read_text("utf-8")
RECIPES = dict(re.findall(r"<!-- (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def database(tmp_path, monkeypatch):
    """The file that the recipes name, migrated, with a user."""
    monkeypatch.chdir(tmp_path)
    database = edb.connect("sqlite:///engagement.db")
    with database.connection_context():
        runner.migrate(database, prepare=create_stub_tables)
        testing.make_user()
        testing.make_post(1)
    return database


def recipe(name):
    scope = {"__name__": name}
    exec(compile(RECIPES[name], f"services.md, {name}", "exec", dont_inherit=True), scope)
    return scope


def test_every_recipe_is_tried():
    tried = {
        name.removeprefix("test_the_").removesuffix("_recipe") for name in globals() if name.startswith("test_the_")
    }
    assert set(RECIPES) == tried
    assert len(re.findall("```python", PAGE)) == len(RECIPES)


@pytest.mark.usefixtures("database")
def test_the_fastapi_recipe():
    pytest.importorskip("fastapi", reason="fastapi is not installed; tests/run -e services installs it")
    pytest.importorskip("httpx", reason="httpx is not installed; tests/run -e services installs it")
    from fastapi.testclient import TestClient

    with TestClient(recipe("fastapi")["app"]) as client:
        assert client.get("/health").json() == {"status": "ok"}
        post = client.post("/posts", json={"user_id": 1, "content": "Hello", "visibility": "public"}).json()
        assert (post["content"], post["visibility"]) == ("Hello", "public")
        assert client.put(f"/posts/{post['id']}/reactions/1", params={"reaction": "love"}).json() is True
        missing = client.put("/posts/987/reactions/1", params={"reaction": "love"})
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
        entry = client.get("/feed", params={"viewer": 1}).json()["entries"][0]
        assert entry == {"post": post, "reactions": {"love": 1}, "own_reaction": "love"}


def test_the_tenants_recipe(tmp_path, monkeypatch):
    pytest.importorskip("fastapi", reason="fastapi is not installed; tests/run -e services installs it")
    pytest.importorskip("httpx", reason="httpx is not installed; tests/run -e services installs it")
    from fastapi.testclient import TestClient

    monkeypatch.chdir(tmp_path)
    scope = recipe("tenants")
    posts = {"north": 3, "south": 5}
    for name, database in scope["tenants"].items():
        with database.connection_context(), edb.bind_ctx(database):
            runner.migrate(database, prepare=create_stub_tables)
            for _ in range(posts[name]):
                testing.make_post()
    client = TestClient(scope["app"])
    with ThreadPoolExecutor(8) as pool:
        asked = ["north", "south"] * 20
        found = list(pool.map(lambda name: client.get("/posts", headers={"X-Tenant": name}).json(), asked))
    assert found == [posts[name] for name in asked]
    assert client.get("/posts", headers={"X-Tenant": "east"}).status_code == 404
    assert client.get("/health", headers={"X-Tenant": "north"}).json() == {"status": "ok"}


def test_the_standby_recipe(database):
    scope = recipe("standby")
    (entry,) = scope["read_feed"](1)
    assert entry.author.id == 1
    assert [entry.post for entry in scope["read_feed"](1, just_wrote=True)] == [entry.post]
    nobody = edb.open_database("postgresql://app@127.0.0.1:1/platform")
    scope["read_feed"].__globals__["standby"] = nobody
    assert [entry.post for entry in scope["read_feed"](1)] == [entry.post]


@pytest.mark.usefixtures("database")
def test_the_flask_recipe():
    pytest.importorskip("flask", reason="flask is not installed; tests/run -e services installs it")
    scope = recipe("flask")
    client = scope["app"].test_client()
    assert client.post("/posts/1/reactions?user_id=1").json == {"changed": True}
    answer = client.post("/posts/987/reactions?user_id=1")
    assert (answer.status_code, answer.content_type, answer.json["code"]) == (
        404,
        "application/problem+json",
        "not_found",
    )
    assert scope["database"].is_closed()


@pytest.mark.usefixtures("database")
def test_the_asyncio_recipe():
    pytest.importorskip("aiosqlite", reason="aiosqlite is not installed; the extra test has it")
    scope = recipe("asyncio")
    first = asyncio.run(scope["publish_with_bridge"](1))
    second = asyncio.run(scope["publish_in_thread"](1))
    assert second == first + 1


def test_the_worker_recipe(database):
    scope = recipe("worker")
    with database.connection_context():
        payment = testing.make_transaction(status=edb.TransactionStatus.IN_ESCROW)
        payment.edit(scheduled_release_at=edb.now())
    released = threading.Event()

    @edb.on_move
    def notice(move):
        released.set()

    worker = threading.Thread(target=scope["release_what_is_due"], args=(database, 0.01))
    worker.start()
    try:
        assert released.wait(60)
    finally:
        scope["stopping"].set()
        worker.join(60)
        edb.remove_move_listener(notice)
    assert not worker.is_alive()
    with database.connection_context():
        assert edb.EscrowTransaction.get_by_id(payment.id).status == edb.TransactionStatus.RELEASED


def test_the_outbox_recipe(database, request):
    scope = recipe("outbox")
    request.addfinalizer(lambda: edb.remove_move_listener(scope["notice"]))
    outbox, sent = scope["Outbox"], []

    def send(*message):
        sent.append(message)
        if len(sent) == 1:
            raise ConnectionError

    with database.connection_context(), database.bind_ctx([outbox]):
        database.create_tables([outbox])
        payment = testing.make_transaction(status=edb.TransactionStatus.IN_ESCROW)
        with pytest.raises(peewee.OperationalError), database.atomic():
            scope["release_and_tell"](payment, by=1)
            raise peewee.OperationalError
        assert outbox.select().count() == 0
        assert "release" not in scope["moved"]
        scope["awake"].clear()
        payment = edb.EscrowTransaction.get_by_id(payment.id)
        assert scope["release_and_tell"](payment, by=1).changed
        assert not scope["release_and_tell"](payment, by=1).changed
        assert (scope["moved"]["release"], scope["awake"].is_set()) == (1, True)
        assert outbox.select().count() == 1
        with pytest.raises(ConnectionError):
            scope["send_all"](send)
        scope["send_all"](send)
        assert sent == [(1, "payment.released", payment.reference)] * 2
        assert outbox.select().count() == 0
