"""Connecting: urls, drivers, sessions that are set up right, and errors that never show a password."""

import contextlib
import subprocess
import sys
import textwrap
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import peewee
import psycopg
import pytest
from playhouse import db_url, pool
from pymysql import converters
from pymysql.constants import FIELD_TYPE

import engagement_db as edb
from engagement_db import servers
from engagement_db.orm.bound import proxy, target
from engagement_db.orm.urls import open_database

SCHEMES = {
    "sqlite": ["sqlite"],
    "postgres": ["postgresql", "postgres", "postgresql+psycopg"],
    "mariadb": ["mariadb", "mysql"],
    "mysql": ["mysql", "mariadb"],
}
THREADS = 8
NASTY_PASSWORD = "p@s:s/w#o?r%d&=+ [1]'\"\\€é"


def with_scheme(url, scheme):
    return scheme + url[url.index("://") :]


def with_login(url, user, password):
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{login}@{place}").geturl()


def with_parameters(url, parameters):
    return f"{url}{'&' if '?' in url else '?'}{parameters}"


def run_python(source):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, check=False)
    return done.stdout.strip() + done.stderr.strip()


@contextlib.contextmanager
def connected(database):
    with database.connection_context():
        yield database


def everything_said_by(error):
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__)


def session_of(database):
    """What the server says of the open session, in one vocabulary for all servers."""
    if isinstance(database, peewee.SqliteDatabase):
        return {
            "foreign keys": database.foreign_keys,
            "journal": database.journal_mode,
            "busy timeout": database.execute_sql("PRAGMA busy_timeout").fetchone()[0],
        }
    if isinstance(database, peewee.PostgresqlDatabase):
        return {
            "zone": database.execute_sql("SHOW timezone").fetchone()[0],
            "quotes every name": database.execute_sql("SHOW quote_all_identifiers").fetchone()[0],
        }
    zone, mode, safe_updates, concatenated, selected, client, connection, results = database.execute_sql(
        "SELECT @@time_zone, @@sql_mode, @@sql_safe_updates, @@group_concat_max_len, @@sql_select_limit, "
        "@@character_set_client, @@character_set_connection, @@character_set_results"
    ).fetchone()
    return {
        "zone": zone,
        "strict": "STRICT_TRANS_TABLES" in mode.split(","),
        "of another kind": {"ORACLE", "ANSI", "NO_BACKSLASH_ESCAPES", "HIGH_NOT_PRECEDENCE"} & set(mode.split(",")),
        "refuses changes without a key": safe_updates,
        "joins lists whole": concatenated >= 1 << 20,
        "selects all": selected == (1 << 64) - 1,
        "text": {client, connection, results},
        "driver": database.connection().character_set_name(),
    }


SET_UP_MYSQL = {
    "zone": "+00:00",
    "strict": True,
    "of another kind": set(),
    "refuses changes without a key": 0,
    "joins lists whole": True,
    "selects all": True,
    "text": {"utf8mb4"},
    "driver": "utf8mb4",
}
SET_UP = {
    "sqlite": {"foreign keys": 1, "journal": "wal", "busy timeout": 5000},
    "postgres": {"zone": "UTC", "quotes every name": "off"},
    "mariadb": SET_UP_MYSQL,
    "mysql": SET_UP_MYSQL,
}

# What a service may have asked of its own sessions before it met this library.
CONTRARY_MYSQL = (
    "SET SESSION sql_mode = '{}', time_zone = '+05:30', sql_safe_updates = 1, group_concat_max_len = 4, "
    "sql_select_limit = 3"
)
CONTRARY = {
    "sqlite": {"pragmas": {"foreign_keys": 0, "journal_mode": "delete"}},
    "postgres": {"options": "-c timezone=Asia/Kolkata -c quote_all_identifiers=on"},
    "mariadb": {"init_command": CONTRARY_MYSQL.format("ORACLE"), "charset": "latin1"},
    "mysql": {
        "init_command": CONTRARY_MYSQL.format("ANSI,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE"),
        "charset": "latin1",
    },
}


def database_of_a_service(server, url, **options):
    scheme = SCHEMES[server.name][0].replace("mariadb", "mysql")
    return db_url.connect(with_scheme(url, scheme + options.pop("suffix", "")), **options)


def test_each_scheme_connects_plain_and_pooled(server, url):
    for scheme in SCHEMES[server.name]:
        for suffix, is_pooled in (("", False), ("+pool", True)):
            database = edb.connect(with_scheme(url, scheme + suffix))
            assert isinstance(database, pool.PooledDatabase) == is_pooled
            with connected(database):
                assert database.execute_sql("SELECT 1").fetchone() == (1,)
                assert session_of(database) == SET_UP[server.name]
            if is_pooled:
                database.close_all()


def test_pool_serves_many_threads(server, url):
    database = edb.connect(with_scheme(url, SCHEMES[server.name][0] + "+pool"), max_connections=2, timeout=60)
    with connected(database):
        database.create_tables([edb.User])
    begin = threading.Barrier(THREADS)

    def work(number):
        begin.wait(60)
        for _ in range(5):
            with connected(database):
                edb.transaction(lambda: edb.User.create(first_name=str(number), last_name="", email=""))

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, range(THREADS)))
    with connected(database):
        assert edb.User.select().count() == 5 * THREADS
    database.close_all()


def test_pool_of_databases_in_memory_is_refused():
    with pytest.raises(edb.ConfigurationError, match="each connection of a pool has a database of its own in memory"):
        edb.connect("sqlite+pool://")


@pytest.mark.parametrize("suffix", ["", "+pool"])
def test_psycopg_3_is_chosen_by_the_scheme_and_by_peewee_s_parameter(server, url, suffix):
    if server.name != "postgres":
        pytest.skip("psycopg is a driver of PostgreSQL")
    plain = f"postgresql{suffix}"
    for asked in (
        with_scheme(url, f"postgresql+psycopg{suffix}"),
        with_parameters(with_scheme(url, plain), "prefer_psycopg3=true"),
    ):
        database = edb.connect(asked)
        with connected(database):
            assert isinstance(database.connection(), psycopg.Connection)
            assert session_of(database) == SET_UP[server.name]
            database.create_tables([edb.User, edb.FeedPost])
            author = edb.User.create(first_name="Ada", last_name="", email="")
            for number, document in enumerate([edb.JSON_NULL, None, "text", {"a": [1, None]}]):
                post = edb.FeedPost.create(user=author, content=str(number), metadata=document)
                assert edb.FeedPost.get_by_id(post.id).metadata == document
            database.drop_tables([edb.User, edb.FeedPost])
        if suffix:
            database.close_all()


def test_connect_opens_no_connection(url):
    assert edb.connect(url).is_closed()


def test_a_session_is_set_up_whatever_the_url_asks_for(server, url):
    database = edb.connect(url, **CONTRARY[server.name])
    with connected(database):
        assert session_of(database) == SET_UP[server.name]


@pytest.mark.parametrize("suffix", ["", "+pool"])
def test_binding_a_database_sets_up_each_session_that_it_opens(server, url, suffix):
    database = database_of_a_service(server, url, suffix=suffix, **CONTRARY[server.name])
    assert edb.bind(database) is database
    for _ in range(2):
        with connected(database):
            assert session_of(database) == SET_UP[server.name]
    if suffix:
        database.close_all()


@pytest.mark.parametrize("suffix", ["", "+pool"])
def test_binding_a_database_sets_up_the_session_that_is_open(server, url, suffix):
    database = database_of_a_service(server, url, suffix=suffix, **CONTRARY[server.name])
    with connected(database):
        assert session_of(database) != SET_UP[server.name]
        edb.bind(database)
        assert session_of(database) == SET_UP[server.name]
    if suffix:
        database.close_all()


def test_a_pooled_session_whose_settings_were_changed_is_set_up_again(server, url):
    bend = {"sqlite": "PRAGMA foreign_keys = OFF", "postgres": "SET TIME ZONE 'Asia/Kolkata'"}
    database = edb.connect(with_scheme(url, SCHEMES[server.name][0] + "+pool"))
    with connected(database):
        raw_connection = database.connection()
        database.execute_sql(bend.get(server.name, "SET SESSION time_zone = '+05:30'"))
        assert session_of(database) != SET_UP[server.name]
    with connected(database):
        assert database.connection() is raw_connection
        assert session_of(database) == SET_UP[server.name]
    database.close_all()


def test_binding_inside_a_transaction_is_refused_and_binds_nothing(server, url):
    bound = edb.connect(url)
    database = database_of_a_service(server, url)
    with (
        connected(database),
        database.atomic(),
        pytest.raises(edb.ConfigurationError, match="inside a transaction; call bind before it begins"),
    ):
        edb.bind(database)
    assert target(proxy) is bound


def test_what_is_no_supported_database_is_refused():
    with pytest.raises(edb.ConfigurationError, match="Database is not supported; use a peewee SqliteDatabase"):
        edb.bind(peewee.Database("x"))


def test_a_session_that_cannot_be_set_up_is_not_left_open(tmp_path):
    path = tmp_path / "held.db"
    holder = peewee.SqliteDatabase(path)
    database = edb.bind(peewee.SqliteDatabase(path, timeout=0))
    with connected(holder), holder.atomic("EXCLUSIVE"):
        with pytest.raises(peewee.OperationalError, match="locked"):
            database.connect()
        assert database.is_closed()
    with connected(database):
        assert database.foreign_keys == 1


def test_a_lax_server_still_refuses_what_a_column_cannot_hold(server, url):
    database = edb.connect(url, **CONTRARY[server.name])
    if not servers.of(database).enforces_length:
        pytest.skip(f"{server.name} has no length to enforce; the fields do it")
    with connected(database):
        database.execute_sql("CREATE TABLE short (word VARCHAR(3))")
        with pytest.raises(peewee.DataError):
            database.execute_sql("INSERT INTO short VALUES ('long')")
        database.execute_sql("DROP TABLE short")
    database.close()


def test_mariadb_is_recognized_whatever_scheme_was_used(server, url):
    for scheme in SCHEMES[server.name]:
        database = edb.connect(with_scheme(url, scheme))
        with connected(database):
            assert servers.of(database).name == servers.named(server.name).name
    bound = edb.bind(database_of_a_service(server, url))
    with connected(bound):
        assert servers.of(bound).name == servers.named(server.name).name


TIMES = (
    "2024-08-01 09:00:00.123456",
    "2024-08-01 09:00:00.5",
    "2024-08-01 09:00:00",
    "9999-12-31 23:59:59.999999",
    "0000-00-00 00:00:00",
)


@pytest.mark.parametrize("kind", ["DATETIME(6)", "DATETIME(1)", "DATETIME", "TIMESTAMP(3)", "DATE"])
def test_times_are_what_pymysql_makes_of_them(server, url, kind):
    if server.name not in ("mysql", "mariadb"):
        pytest.skip("only PyMySQL is given a quicker way to read them")
    with connected(edb.bind(database_of_a_service(server, url))) as database:
        database.execute_sql("SET SESSION sql_mode = ''")
        database.execute_sql(f"CREATE TABLE moments (id INTEGER PRIMARY KEY, at {kind}, text VARCHAR(40))")
        for number, time in enumerate(TIMES):
            database.execute_sql("INSERT INTO moments VALUES (%s, %s, '')", (number, time))
        database.execute_sql("UPDATE moments SET text = at")
        rows = database.execute_sql("SELECT at, text FROM moments ORDER BY id").fetchall()
        convert = converters.convert_date if kind == "DATE" else converters.convert_datetime
        assert [repr(time) for time, _ in rows] == [repr(convert(text)) for _, text in rows]


def test_a_converter_that_the_service_gave_pymysql_stays(server, url):
    if server.name not in ("mysql", "mariadb"):
        pytest.skip("only PyMySQL takes converters with the connection")
    choice = {**converters.conversions, FIELD_TYPE.DATETIME: str.upper}
    with connected(edb.bind(database_of_a_service(server, url, conv=choice))) as database:
        found = database.execute_sql("SELECT CAST('2024-08-01 09:00:00' AS DATETIME)").fetchone()
        assert found == ("2024-08-01 09:00:00",)


def test_a_percent_escaped_password_logs_in(server, url):
    if server.name == "sqlite":
        pytest.skip("a file has no password")
    admin = open_database(url)
    name = urlsplit(url).path.removeprefix("/")
    user = f"u@{name}"[:32]
    accounts = [f"`{user}`@localhost", f"`{user}`@`%%`"]
    with connected(admin):
        if server.name == "postgres":
            literal = NASTY_PASSWORD.replace("'", "''").replace("%", "%%")
            admin.execute_sql(f"CREATE ROLE \"{user}\" LOGIN PASSWORD '{literal}'")
        else:
            # An anonymous user of localhost, where there is one, goes before the users of any host.
            for account in accounts:
                admin.execute_sql(f"CREATE USER {account} IDENTIFIED BY %s", (NASTY_PASSWORD,))
                admin.execute_sql(f"GRANT ALL ON `{name}`.* TO {account}", ())
        try:
            database = open_database(with_login(url, user, NASTY_PASSWORD))
            with connected(database):
                assert database.execute_sql("SELECT 1").fetchone() == (1,)
                if server.name == "postgres":
                    # A throwaway server trusts everybody on loopback, so ask the driver what it sent.
                    assert database.connection().info.password == NASTY_PASSWORD
            if server.name != "postgres":
                wrong = open_database(with_login(url, user, "wr0ng-s3cret"))
                with pytest.raises(peewee.OperationalError) as refusal:
                    wrong.connect()
                assert "wr0ng-s3cret" not in everything_said_by(refusal.value)
        finally:
            for account in [f'"{user}"'] if server.name == "postgres" else accounts:
                admin.execute_sql(f"DROP USER {account}", ())


def test_a_failing_login_does_not_show_the_password(server, url):
    if server.name == "sqlite":
        pytest.skip("a file has no password")
    nobody = with_login(url, "nobody_of_that_name", "s3cret")
    for place in (nobody, urlsplit(nobody)._replace(netloc="u:s3cret@127.0.0.1:1").geturl()):
        with pytest.raises(peewee.OperationalError) as refusal:
            edb.connect(place).connect()
        assert "s3cret" not in everything_said_by(refusal.value)


def test_query_parameters_reach_the_driver(server, url):
    if server.name == "sqlite":
        with connected(edb.connect(with_parameters(url, "timeout=7.5"))) as database:
            assert database.execute_sql("PRAGMA busy_timeout").fetchone() == (7500,)
    elif server.name == "postgres":
        parameters = "application_name=feed%20service&connect_timeout=7&sslmode=disable"
        with connected(edb.connect(with_parameters(url, parameters))) as database:
            assert database.execute_sql("SHOW application_name").fetchone() == ("feed service",)
            info = database.connection().info
            sent = info.get_parameters() if hasattr(info, "get_parameters") else info.dsn_parameters
            assert (sent["connect_timeout"], sent["sslmode"]) == ("7", "disable")
    else:
        parameters = "connect_timeout=7&init_command=SET+SESSION+lock_wait_timeout=77"
        with connected(edb.connect(with_parameters(url, parameters))) as database:
            assert database.execute_sql("SELECT @@lock_wait_timeout").fetchone() == (77,)
            assert database.connection().connect_timeout == 7


def test_parameters_reach_the_pool(server, url):
    pooled = with_scheme(url, SCHEMES[server.name][0] + "+pool")
    database = edb.connect(with_parameters(pooled, "max_connections=1&stale_timeout=60"))
    with connected(database):
        with pytest.raises(pool.MaxConnectionsExceeded):
            database._connect()
        assert not database._is_stale(database._in_use[id(database.connection())].timestamp)
    database.close_all()


@pytest.mark.parametrize(
    ("url", "name", "arguments"),
    [
        (
            "postgresql://app:p%40ss@[::1]:5433/shop",
            "shop",
            {"host": "::1", "port": 5433, "user": "app", "password": "p@ss"},
        ),
        ("postgresql:///shop?host=/run/postgresql", "shop", {"host": "/run/postgresql"}),
        ("postgres://%2Frun%2Fpostgresql/shop", "shop", {"host": "/run/postgresql"}),
        (
            "mysql://root@/shop?unix_socket=/run/mysqld.sock",
            "shop",
            {"user": "root", "unix_socket": "/run/mysqld.sock", "charset": "utf8mb4"},
        ),
        ("postgresql://db/a%20shop%2F1", "a shop/1", {"host": "db"}),
        (
            "postgresql://db/shop?password=0123&user=true",
            "shop",
            {"host": "db", "password": "0123", "user": "true"},
        ),
        ("postgresql://db/shop?application_name=007", "shop", {"host": "db", "application_name": "007"}),
        ("mysql://db/shop?compress=true", "shop", {"host": "db", "compress": True, "charset": "utf8mb4"}),
        ("sqlite:///shop.db", "shop.db", {}),
        ("sqlite:////var/lib/a%20shop.db", "/var/lib/a shop.db", {}),
        ("sqlite://", ":memory:", {}),
    ],
)
def test_a_url_is_taken_apart(url, name, arguments):
    database = open_database(url)
    assert (database.database, database.connect_params) == (name, arguments)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("oracle://app:s3cret@db/shop", r"^oracle://app:\*\*\*@db/shop: the scheme is not one of sqlite, "),
        ("postgresql+ssl://app:s3cret@db/shop", r"the scheme is not one of sqlite, "),
        ("sqlite+psycopg:///shop.db", r"the scheme is not one of sqlite, "),
        ("postgresql+pool+pool://app:s3cret@db/shop", r"the scheme is not one of sqlite, "),
        ("app:s3cret@db/shop", r"^the url of the database: the scheme is not one of "),
        ("s3cret", r"^the url of the database: the scheme is not one of "),
        ("postgresql://app:s3cret@db", r"^postgresql://app:\*\*\*@db: the name of the database is missing"),
        ("mysql://app:s3cret@db:3306/", r"the name of the database is missing"),
        ("postgresql://app:s3cret@db:port/shop", r"@db:\*\*\*: the port is not a number from 0 to 65535"),
        ("postgresql://app:s3cret@db:99999/shop", r"the port is not a number"),
        ("postgresql://app:s3cret/shop", r"^postgresql://app:\*\*\*: the port is not a number"),
        (
            "postgresql://app:s3/cret@db/shop",
            r"^postgresql://app:\*\*\*@db/shop: the url cannot be read; .*quote",
        ),
        ("postgresql://app:12/s3cret@db/shop", r"the url cannot be read"),
        ("postgresql://app:s3#cret@db/shop", r"the url cannot be read"),
        ("postgresql://app:s3?cret@db/shop", r"the url cannot be read"),
        ("postgresql://app:s3[cret@db/shop", r"the url cannot be read"),
        ("postgresql://app:s3cret℀@db/shop", r"the url cannot be read"),
        ("postgresql://db?password=s3cret", r"^postgresql://db: the name of the database is missing"),
        ("sqlite://app:s3cret@shop.db", r"a file takes three slashes, as in sqlite:///engagement.db"),
    ],
)
def test_a_url_that_cannot_work_is_refused_in_one_sentence_without_its_password(url, sentence):
    with pytest.raises(edb.ConfigurationError, match=sentence) as refusal:
        edb.connect(url)
    assert str(refusal.value).count("\n") == 0
    said = str(refusal.value) + repr(refusal.value.__cause__) + repr(refusal.value.__context__)
    assert not any(secret in said for secret in ("s3cret", "s3", "cret"))


def test_an_unescaped_at_sign_in_a_password_does_no_harm():
    database = open_database("postgresql://app:p@ss@db/shop")
    assert database.connect_params == {"host": "db", "user": "app", "password": "p@ss"}


WITHOUT_DRIVERS = """
    import sys

    DRIVERS = {"psycopg2", "psycopg", "pymysql", "MySQLdb"}

    class Without:
        def __init__(self, finder):
            self.finder = finder

        def find_spec(self, name, path=None, target=None):
            return None if name.partition(".")[0] in DRIVERS else self.finder.find_spec(name, path, target)

    sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


@pytest.mark.parametrize(
    ("scheme", "sentence"),
    [
        ("postgresql", "PostgreSQL needs a driver that is not installed; install engagement_db[postgres]."),
        ("postgresql+psycopg", "PostgreSQL needs a driver that is not installed; install engagement_db[psycopg]."),
        ("mysql", "MySQL needs a driver that is not installed; install engagement_db[mysql]."),
        ("mariadb+pool", "MariaDB needs a driver that is not installed; install engagement_db[mysql]."),
    ],
)
def test_a_missing_driver_names_the_extra_to_install(scheme, sentence):
    source = f"""
    import engagement_db
    try:
        engagement_db.connect("{scheme}://app:s3cret@db/shop")
    except engagement_db.ConfigurationError as error:
        print(error)
    """
    assert run_python(textwrap.dedent(WITHOUT_DRIVERS) + textwrap.dedent(source)) == sentence


def test_importing_needs_no_driver_and_opens_nothing():
    source = """
    opened = []
    sys.addaudithook(lambda event, _: opened.append(event) if event.endswith(".connect") else None)
    import engagement_db
    from engagement_db.orm.bound import proxy
    print(proxy.obj, opened)
    engagement_db.connect("sqlite://").connect()
    print(opened)
    """
    said = run_python(textwrap.dedent(WITHOUT_DRIVERS) + textwrap.dedent(source))
    assert said.splitlines() == ["None []", "['sqlite3.connect']"]


@pytest.fixture
def unbound():
    before = proxy.obj
    proxy.initialize(None)
    yield
    proxy.initialize(before)


def use_as_context():
    with proxy:
        pass


@pytest.mark.parametrize(
    "use",
    [
        lambda: list(edb.FeedPost.select()),
        lambda: edb.FeedPost.select().count(),
        lambda: edb.FeedPost.get_by_id(1),
        lambda: edb.FeedPost.get_or_none(id=1),
        lambda: edb.FeedPost.create(user=1, content="x"),
        lambda: edb.FeedPost(user=1, content="x").save(),
        lambda: edb.FeedPost(id=1).delete_instance(),
        lambda: edb.FeedPost.update(content="x").execute(),
        lambda: edb.FeedPost.delete().execute(),
        lambda: edb.FeedPost.insert_many([{"user": 1, "content": "x"}]).execute(),
        lambda: edb.FeedPost.bulk_create([edb.FeedPost(user=1, content="x")]),
        lambda: edb.FeedPost.select().sql(),
        lambda: edb.FeedPost.create_table(),
        lambda: edb.FeedPost.drop_table(),
        lambda: edb.FeedPost.table_exists(),
        lambda: edb.FeedPost(user=1).user,
        lambda: edb.transaction(lambda: None),
        lambda: proxy.atomic().__enter__(),
        lambda: proxy.connect(),
        lambda: edb.bind(proxy),
        use_as_context,
    ],
)
def test_an_unbound_model_names_what_to_call(unbound, use):
    with pytest.raises(edb.Unbound, match=r"not bound to a database; call engagement_db\.connect\(url\) or "):
        use()


def test_unbound_is_a_configuration_error():
    assert issubclass(edb.Unbound, edb.ConfigurationError)
