"""The kit for the tests of services: a scratch database, rows, a clock, and the fixtures of pytest."""

import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import engagement_db as edb
from engagement_db import testing

MAKERS = [getattr(testing, name) for name in testing.__all__ if name.startswith("make_")]


@pytest.fixture(scope="module")
def scratch():
    with testing.scratch_database() as database:
        yield database


@pytest.fixture
def bound(scratch):
    with testing.rolled_back(scratch):
        yield scratch


def test_a_scratch_database_has_every_revision_and_the_tables_of_the_platform(scratch):
    assert edb.is_current(scratch)
    assert {model._meta.table_name for model in edb.MODELS} <= set(scratch.get_tables())


@pytest.mark.usefixtures("bound")
class TestRows:
    def test_there_is_one_for_every_model_of_the_contract(self):
        assert {type(make()) for make in MAKERS} == set(edb.MODELS)

    @pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
    def test_a_second_one_is_another_row(self, make):
        assert make() != make()

    @pytest.mark.parametrize("status", edb.TransactionStatus)
    def test_a_transaction_of_any_status_has_books_that_fit(self, status):
        made = testing.make_transaction(status=status, fee_amount=10)
        assert edb.EscrowTransaction.get_by_id(made.id).status == made.status == status
        assert edb.find_problems() == []

    def test_an_unknown_status_is_refused_by_its_name(self):
        with pytest.raises(edb.RefusedValue, match=r"escrow_transactions\.status: 'paid' is not one of initiated, "):
            testing.make_transaction(status="paid")

    def test_a_payment_has_the_parties_and_the_time_that_are_given(self):
        buyer, maker, due = testing.make_user(), testing.make_user(), edb.now() + timedelta(days=7)
        made = testing.make_transaction(
            testing.make_account(maker).id, initiated_by=buyer, counterparty=maker.id, scheduled_release_at=due
        )
        made = edb.EscrowTransaction.get_by_id(made.id)
        assert (made.initiated_by, made.counterparty, made.scheduled_release_at) == (buyer, maker, due)

    def test_what_is_given_is_taken(self):
        ada = testing.make_user("Grace", email="grace@example.org")
        post = testing.make_post(ada, "Shipped!", visibility=edb.Visibility.CONNECTIONS)
        reply = testing.make_comment(post, ada, parent=testing.make_comment(post))
        assert (post.user, post.content, reply.post, reply.user) == (ada, "Shipped!", post, ada)


@pytest.mark.parametrize("turn", range(2))
def test_what_a_test_writes_is_rolled_back(bound, turn):
    assert edb.User.select().count() == 0
    testing.make_case()


def test_another_thread_sees_the_rows_of_the_test(scratch):
    seen = []
    with testing.rolled_back(scratch):
        post = testing.make_post()

        def serve():
            with edb.bind_ctx(scratch), scratch.connection_context():
                edb.FeedReaction.react(post.id, post.user_id)
                seen.append(edb.FeedPost.get_by_id(post.id))

        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
        assert seen == [post]
        assert edb.FeedReaction.select().count() == 1
    with edb.bind_ctx(scratch):
        assert edb.FeedReaction.select().count() == 0


def test_the_kit_works_on_every_server(url):
    with testing.scratch_database(url) as database:
        for _ in range(2):
            with testing.rolled_back(database):
                assert edb.User.select().count() == 0
                for make in MAKERS:
                    make()
                assert edb.find_problems() == []


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.usefixtures("bound")
class TestClock:
    def test_a_stopped_clock_is_the_time_of_rows_and_verbs(self):
        with testing.stopped_clock(NOON) as clock:
            post = testing.make_post()
            clock.advance(timedelta(hours=1))
            post.edit(by=None, content="Later")
            assert (post.created_at, post.updated_at, edb.now()) == (NOON, NOON + timedelta(hours=1), clock.now())
        assert edb.now() < NOON

    def test_a_release_comes_due_when_the_clock_is_set(self):
        with testing.stopped_clock(NOON) as clock:
            payment = testing.make_transaction(status=edb.TransactionStatus.IN_ESCROW)
            payment.edit(scheduled_release_at=NOON + timedelta(days=7))
            assert edb.release_due().released == ()
            clock.set(NOON + timedelta(days=7))
            assert edb.release_due().released == (payment,)

    def test_a_naive_time_is_refused(self):
        with pytest.raises(ValueError, match="naive"), testing.stopped_clock(datetime(2030, 1, 1)):
            pass


SERVICE_TESTS = """
from datetime import timedelta
import pytest
import engagement_db as edb
from engagement_db import testing

@pytest.mark.parametrize("turn", range(2))
def test_starts_empty(engagement_db_database, turn):
    assert edb.User.select().count() == 0
    testing.make_post()

def test_the_clock_stands_still(engagement_db_database, engagement_db_clock):
    post = testing.make_post()
    engagement_db_clock.advance(timedelta(days=1))
    assert edb.now() - post.created_at == timedelta(days=1)
"""


def run_pytest(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_fixtures_come_with_the_package(tmp_path):
    (tmp_path / "test_service.py").write_text(SERVICE_TESTS)
    assert "3 passed" in run_pytest(tmp_path)


def test_the_page_runs(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "testing.md").read_text()
    tests, conftest, blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "test_service.py").write_text(tests)
    (tmp_path / "conftest.py").write_text(conftest)
    assert "2 passed" in run_pytest(tmp_path)
    exec(blocks, {})
    assert [make.__name__ for make in MAKERS if f"`{make.__name__}`" not in page] == []


def test_a_service_may_name_another_database(tmp_path):
    (tmp_path / "test_service.py").write_text(SERVICE_TESTS)
    (tmp_path / "conftest.py").write_text(
        "import pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def engagement_db_url(tmp_path_factory):\n"
        f"    return 'sqlite:///{tmp_path}/scratch.db'\n"
    )
    assert "3 passed" in run_pytest(tmp_path)
    assert (tmp_path / "scratch.db").exists()


def test_the_plugin_loads_nothing_for_tests_that_do_not_use_it(tmp_path):
    (tmp_path / "test_other.py").write_text(
        "import sys\ndef test_other():\n    assert not {'peewee', 'engagement_db.public'} & set(sys.modules)\n"
    )
    assert "1 passed" in run_pytest(tmp_path)
