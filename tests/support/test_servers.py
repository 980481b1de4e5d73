"""The basis of the other tests: fresh databases, and servers that can be killed."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg2
import pymysql
import pytest
import servers
import throwaway
from waiting import wait_until


def connect(url):
    """A connection of the bare driver, so that these tests need nothing but the server."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///")))
    if parts.scheme.startswith("postgresql"):
        return contextlib.closing(psycopg2.connect(servers.without_driver(url)))
    return contextlib.closing(
        pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=parts.path.removeprefix("/"),
        )
    )


def write_a_row(connection, value):
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE kept (value INTEGER)")
    cursor.execute(f"INSERT INTO kept VALUES ({value})")


def rows(url):
    with connect(url) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT value FROM kept")
        return cursor.fetchall()


def test_a_server_is_the_one_it_is_named_after(server):
    is_mariadb = "mariadb" in server.version.lower()
    assert is_mariadb == (server.name == "mariadb")
    assert int(server.version.split(".")[0]) >= {"sqlite": 3, "postgres": 13, "mariadb": 10, "mysql": 8}[server.name]


def test_a_fresh_database_is_empty_and_keeps_what_is_committed(url):
    with connect(url) as connection:
        write_a_row(connection, 7)
        connection.commit()
    assert list(rows(url)) == [(7,)]


def test_databases_are_apart(server, url):
    other = server.create_database()
    try:
        for database, value in ((url, 1), (other, 2)):
            with connect(database) as connection:
                write_a_row(connection, value)
                connection.commit()
        assert list(rows(url)) == [(1,)]
        assert list(rows(other)) == [(2,)]
    finally:
        server.drop_database(other)


def test_a_dropped_database_is_gone_whoever_was_connected(server):
    url = server.create_database()
    with connect(url) as connection:
        write_a_row(connection, 7)
        server.drop_database(url)
        if server.name == "sqlite":
            assert not Path(url.removeprefix("sqlite:///")).exists()
        else:
            with pytest.raises((psycopg2.OperationalError, pymysql.err.OperationalError)):
                rows(url)
    server.drop_database(url)


def test_a_committed_row_survives_a_killed_server(server, url):
    if not server.can_be_killed:
        pytest.skip(f"{server.name}: there is no server process of ours to kill")
    with connect(url) as open_when_killed:
        write_a_row(open_when_killed, 7)
        open_when_killed.commit()
        server.kill()
        with pytest.raises((psycopg2.OperationalError, pymysql.err.OperationalError)):
            rows(url)
        server.start()
    assert list(rows(url)) == [(7,)]


def test_a_statement_under_way_dies_with_a_killed_server(server, url):
    if not server.can_be_killed:
        pytest.skip(f"{server.name}: there is no server process of ours to kill")
    lost = []

    def wait_long():
        with connect(url) as connection:
            cursor = connection.cursor()
            try:
                cursor.execute("SELECT pg_sleep(300)" if server.name == "postgres" else "SELECT SLEEP(300)")
            except (psycopg2.OperationalError, pymysql.err.OperationalError) as error:
                lost.append(error)

    if server.name == "postgres":
        under_way = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    else:
        under_way = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'"
    client = threading.Thread(target=wait_long)
    client.start()
    wait_until(lambda: server.ask(under_way), "the statement is under way")
    server.kill()
    client.join(timeout=60)
    assert len(lost) == 1
    server.start()


def test_a_server_stops_and_starts_where_it_was(server, url):
    with connect(url) as connection:
        write_a_row(connection, 7)
        connection.commit()
    server.stop()
    server.start()
    assert list(rows(url)) == [(7,)]


def test_a_server_that_was_given_is_used_and_goes_on(server, monkeypatch):
    if not server.can_be_killed:
        pytest.skip(f"{server.name}: there is no server process of ours to give")
    own = server.create_database()
    whole = urlsplit(servers.without_driver(own))
    monkeypatch.setenv(servers.url_variable(server.name), whole._replace(path="").geturl())
    with servers.running(server.name) as given:
        assert not given.can_be_killed
        url = given.create_database()
        assert urlsplit(url).scheme == urlsplit(own).scheme
        assert urlsplit(url).netloc == urlsplit(own).netloc
        given.drop_database(url)
        given.stop()
    with connect(own) as connection:
        write_a_row(connection, 7)
    server.drop_database(own)


@pytest.mark.parametrize(("name", "scheme"), [("postgres", "postgresql"), ("mariadb", "mariadb"), ("mysql", "mysql")])
def test_a_given_server_that_does_not_answer_is_an_error_without_its_password(name, scheme, monkeypatch):
    monkeypatch.setenv(servers.url_variable(name), f"{scheme}://someone:s3cret@127.0.0.1:1/")
    with (
        pytest.raises(RuntimeError, match=f"TEST_{name.upper()}_URL is set") as refusal,
        servers.running(name),
    ):
        pass
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize("name", ["sqlite", "postgres", "mariadb"])
def test_a_server_that_can_always_be_had_is_never_skipped(name):
    with pytest.raises(pytest.fail.Exception, match=f"no {name}: not installed"):
        servers.skip_or_fail(name, throwaway.Unavailable("not installed"))


@pytest.mark.parametrize("name", ["mysql", "postgres-unstable", "mariadb-unstable"])
def test_without_its_tree_a_server_is_skipped_with_the_reason(name, monkeypatch, tmp_path):
    monkeypatch.delenv(servers.url_variable(name), raising=False)
    monkeypatch.setenv("TEST_TREES", str(tmp_path))
    with pytest.raises(throwaway.Unavailable) as reason, servers.running(name):
        pass
    with pytest.raises(pytest.skip.Exception, match=f"no {name}: "):
        servers.skip_or_fail(name, reason.value)


def test_a_run_that_skips_every_test_fails(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, "-k", "a_fresh_database", "-p", "no:cacheprovider"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"TEST_SERVERS": "mysql", "TEST_MYSQL_URL": "", "TEST_TREES": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 skipped" in done.stdout, done.stdout + done.stderr
    assert "every test was skipped" in done.stdout
    assert done.returncode == 1
