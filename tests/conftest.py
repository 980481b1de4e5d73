"""Which servers the tests run on, and a fresh database for each test.

`TEST_SERVERS` chooses them: a comma-separated list out of sqlite, postgres, mariadb and mysql, the default, and
postgres-unstable and mariadb-unstable. Tests that need no server run beside SQLite only.
"""

import os
import signal
from collections.abc import Iterator

import hypothesis
import peewee
import pytest
import servers
from commands import only_first_three
from peewee_migrate import models as peewee_migrate_models

import engagement_db as edb

# How long an example takes is the machine's affair. The examples are the same in each run, but for a run of everything.
hypothesis.settings.register_profile(
    "suite",
    deadline=None,
    derandomize=not os.environ.get("ENGAGEMENT_DB_EVERY_POINT"),
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("suite")

CHOSEN_SERVERS = [name.strip() for name in os.environ.get("TEST_SERVERS", ",".join(servers.NAMES)).split(",")]

_what_became_of_servers: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    known = servers.NAMES + servers.UNSTABLE_NAMES
    unknown = set(CHOSEN_SERVERS) - set(known)
    if unknown:
        raise pytest.UsageError(f"TEST_SERVERS names {', '.join(sorted(unknown))}; known are {', '.join(known)}.")
    # A request to end is Ctrl-C to us, so that the servers are stopped and their folders removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_report_header() -> str:
    return f"servers: {', '.join(CHOSEN_SERVERS)}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "sqlite" in CHOSEN_SERVERS:
        return
    elsewhere = [item for item in items if "server" not in getattr(item, "fixturenames", ())]
    items[:] = [item for item in items if item not in elsewhere]
    config.hook.pytest_deselected(items=elsewhere)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that skipped all of its tests has shown nothing, and fails."""
    if _all_skipped(session.config.pluginmanager.get_plugin("terminalreporter")):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _all_skipped(reporter: pytest.TerminalReporter | None) -> bool:
    if reporter is None:
        return False
    ran = any(reporter.stats.get(outcome) for outcome in ("passed", "failed", "error", "xfailed"))
    return bool(reporter.stats.get("skipped")) and not ran


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _what_became_of_servers:
        terminalreporter.section("servers")
        for name, what in _what_became_of_servers.items():
            terminalreporter.write_line(f"{name}: {what}")
    samples = [
        what
        for report in terminalreporter.stats.get("passed", ())
        for name, what in report.user_properties
        if name == "sample"
    ]
    if samples:
        terminalreporter.section("samples")
        for what in samples:
            terminalreporter.write_line(str(what))
    if _all_skipped(terminalreporter):
        terminalreporter.section("every test was skipped", red=True)


@pytest.fixture(scope="session", params=CHOSEN_SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[servers.Server]:
    """A running server; each test that uses it runs once on every chosen server."""
    name = request.param
    try:
        with servers.running(name) as running_server:
            _what_became_of_servers[name] = running_server.version
            yield running_server
    except servers.Unavailable as reason:
        _what_became_of_servers[name] = f"not available: {reason}"
        servers.skip_or_fail(name, reason)


@pytest.fixture
def url(server: servers.Server) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped after the test."""
    server.start()
    database_url = server.create_database()
    yield database_url
    server.start()
    server.drop_database(database_url)


@pytest.fixture(scope="session")
def url_of_tables(server: servers.Server) -> Iterator[str]:
    """The URL of a database that has all tables, made once for each server."""
    database_url = server.create_database()
    database = edb.connect(database_url)
    with database.connection_context():
        database.create_tables(edb.MODELS)
    yield database_url
    server.start()
    server.drop_database(database_url)


@pytest.fixture
def database(server: servers.Server, url_of_tables: str) -> Iterator[peewee.Database]:
    """A connected database, every model bound to it, all tables there and empty."""
    server.start()
    database = edb.connect(url_of_tables)
    with database.connection_context():
        for model in reversed(edb.MODELS):
            # Not model.delete(), because some tables keep every row.
            peewee.ModelDelete(model).execute()
        yield database


@pytest.fixture(scope="module")
def first_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The revisions 001 to 003 are all that there are, whatever was released since."""
    with only_first_three(tmp_path_factory.mktemp("scripts")):
        yield


@pytest.fixture(autouse=True)
def unbound_history() -> Iterator[None]:
    """peewee-migrate's history model is one for the process: no test leaves it on a database that is gone."""
    yield
    peewee_migrate_models.MigrateHistory.bind(None)
