"""The GRANTs that `engagement-db grants` prints are enough for each role, and no more than it needs."""

import contextlib
import secrets

import peewee
import pytest
from commands import run
from platform_database import execute, family

import engagement_db as edb
from engagement_db import check_report, testing
from engagement_db.orm.urls import open_database
from engagement_db.schema import runner
from engagement_db.schema.stub_tables import create_stub_tables

PASSWORD = "aVerySecretWord"


class Logins:
    """A login for each role, named so that no other session uses it."""

    def __init__(self, url):
        self.url, suffix = url, secrets.token_hex(4)
        self.is_postgres = family(url) == "postgres"
        self.roles = {role: f"{role}_{suffix}" for role in ("migrator", "service", "auditor", "platform")}

    def create(self):
        for name in self.roles.values():
            if self.is_postgres:
                execute(self.url, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
            else:
                execute(self.url, f"CREATE USER {name} IDENTIFIED BY '{PASSWORD}'")

    def drop(self):
        for name in self.roles.values():
            if self.is_postgres:
                execute(self.url, f"REASSIGN OWNED BY {name} TO CURRENT_USER", f"DROP OWNED BY {name}")
        for name in self.roles.values():
            execute(self.url, f"DROP {'ROLE' if self.is_postgres else 'USER'} {name}")

    def grants(self):
        """The statements that the command prints, those for the migrator and the others."""
        options = [f"--{role}={name}" for role, name in self.roles.items()]
        printed = run(["engagement-db", "grants", "--database", self.url, *options])
        assert printed.code == 0, printed.words
        first, _, second = printed.stdout.partition("-- After each migration\n")
        return [
            [line.rstrip(";") for line in part.splitlines() if line.startswith("GRANT")] for part in (first, second)
        ]

    @contextlib.contextmanager
    def login(self, role):
        scheme, _, rest = self.url.partition("://")
        place = rest.rpartition("@")[2]
        with contextlib.closing(open_database(f"{scheme}://{self.roles[role]}:{PASSWORD}@{place}")) as database:
            database.connect()
            yield database


@pytest.fixture(scope="module")
def logins(server):
    """The roles with their GRANTs, the migration done by the migrator."""
    if server.name == "sqlite":
        pytest.skip("a file has no roles")
    server.start()
    url = server.create_database()
    with contextlib.closing(open_database(url)) as database:
        create_stub_tables(database)
    made = Logins(url)
    made.create()
    try:
        if made.is_postgres:
            execute(url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            execute(
                url,
                *(f"ALTER TABLE {name} OWNER TO {made.roles['platform']}" for name in ("users", "projects", "gigs")),
            )
        for_migrator, for_others = made.grants()
        execute(url, *for_migrator)
        with made.login("migrator") as database:
            runner.migrate(database)
            runner.rollback(database, to="000", discard_rows=True)
            runner.migrate(database)
        execute(url, *for_others)
        with contextlib.closing(open_database(url)) as database, edb.bind_ctx(database):
            testing.make_user()
            testing.make_project()
        yield made
    finally:
        server.start()
        made.drop()
        server.drop_database(url)


def test_the_service_has_what_every_verb_needs(logins):
    with logins.login("service") as database, edb.bind_ctx(database):
        edb.verify()
        ada = edb.User.get()
        assert edb.Project.get().assign_owner(ada)
        post = testing.make_post(ada)
        testing.make_reaction(post, ada)
        testing.make_share(post, ada)
        testing.make_comment(post, ada).soft_delete(by=ada, reason="posted twice")
        account = testing.make_account(ada)
        for status in edb.TransactionStatus:
            testing.make_transaction(account, status=status)
        testing.make_event(testing.make_case(testing.make_transaction(account, status=edb.TransactionStatus.FUNDED)))
        assert edb.reconcile(account).adds_up
        assert post.remove(by=ada)
        edb.erase_feed(ada, by=None)
        assert edb.find_problems() == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM users",
        "DELETE FROM escrow_transactions",
        "DELETE FROM dispute_events",
        "UPDATE dispute_events SET notes = NULL",
        "UPDATE feed_activity_logs SET action = 'x'",
        "DELETE FROM feed_activity_logs",
        "UPDATE users SET email = 'x'",
        "DROP TABLE feed_posts",
    ],
)
@pytest.mark.parametrize("role", ["service", "auditor"])
def test_no_role_can_do_what_the_library_never_does(logins, role, statement):
    with logins.login(role) as database, pytest.raises(peewee.PeeweeException, match=r"(?i)denied|must be owner"):
        database.execute_sql(statement)


def test_the_migrator_may_delete_old_entries_of_the_log(logins):
    with logins.login("service") as database, edb.bind_ctx(database):
        testing.make_log_entry()
    with logins.login("migrator") as database, edb.bind_ctx(database):
        assert database.execute_sql("DELETE FROM feed_activity_logs").rowcount > 0
        assert edb.find_problems() == []


def test_the_auditor_reads_everything_and_writes_nothing(logins):
    with logins.login("service") as database, edb.bind_ctx(database):
        payment = testing.make_transaction(testing.make_account(edb.User.get()))
    with logins.login("auditor") as database, edb.bind_ctx(database):
        assert edb.is_current()
        assert edb.find_problems() == []
        assert [page.problems for page in edb.audit_trails()] == [()]
        assert edb.EscrowTransaction.get_by_id(payment.id).status == edb.TransactionStatus.INITIATED
        with pytest.raises(peewee.PeeweeException, match=r"(?i)denied"):
            edb.EscrowTransaction.get_by_id(payment.id).fund()


@pytest.mark.parametrize("role", ["migrator", "service", "auditor"])
def test_each_role_can_check_a_database_with_rows(logins, role):
    with logins.login("service") as database, edb.bind_ctx(database):
        testing.make_account(edb.User.get())
    with logins.login(role) as database:
        assert check_report.check_database(database).sequences == []


def test_a_file_has_no_roles(tmp_path):
    printed = run(["engagement-db", "grants", "--database", f"sqlite:///{tmp_path}/shop.db"])
    assert (printed.code, printed.stdout) == (2, "")
    assert "SQLite has no roles" in printed.words


def test_every_table_of_the_contract_has_its_rights():
    printed = run(["engagement-db", "grants", "--dialect", "postgresql"])
    for model in edb.MODELS:
        table = model._meta.table_name
        assert f'ON "{table}" TO "engagement_service"' in printed.stdout
        assert f'GRANT SELECT ON "{table}" TO "engagement_auditor"' in printed.stdout
