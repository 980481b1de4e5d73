"""What a service asks when it starts: does this database have the revisions that the models need?"""

import subprocess
import sys

import pytest

import engagement_db as edb
from engagement_db.schema import history, runner, stub_tables


@pytest.fixture
def migrated(url):
    """A database with every revision."""
    database = edb.connect(url)
    with database.connection_context():
        stub_tables.create_stub_tables(database)
        runner.migrate(database)
        yield database


def test_migrated_database_is_current(migrated):
    edb.verify()
    edb.verify(migrated)
    assert edb.is_current()


def test_empty_database_names_the_command_to_run(url):
    database = edb.connect(url)
    with database.connection_context():
        with pytest.raises(
            edb.HistoryError, match=r"^revisions 001_feed_engagement, .* are pending\. Run `engagement-db migrate`"
        ):
            edb.verify(database)
        assert not edb.is_current(database)
        assert database.get_tables() == []


def test_pending_and_unknown_revisions_are_refused(migrated):
    history.remove(migrated, "003_add_project_owner")
    with pytest.raises(edb.HistoryError, match=r"^revision 003_add_project_owner is pending"):
        edb.verify()
    history.add(migrated, "003_add_project_owner")
    history.add(migrated, "999_of_a_later_version")
    with pytest.raises(edb.HistoryError, match="999_of_a_later_version is applied but not known"):
        edb.verify()
    assert not edb.is_current()


def test_a_service_goes_on_while_the_next_version_migrates(migrated):
    history.add(migrated, "999_of_a_later_version")
    edb.verify(accept_newer=True)
    assert edb.is_current(accept_newer=True)
    history.remove(migrated, "003_add_project_owner")
    with pytest.raises(edb.HistoryError, match=r"^revision 003_add_project_owner is pending"):
        edb.verify(accept_newer=True)


def test_an_unknown_revision_among_the_known_ones_is_never_accepted(migrated):
    history.add(migrated, "002_of_another_project")
    with pytest.raises(edb.HistoryError, match="002_of_another_project is applied but not known"):
        edb.verify(accept_newer=True)
    assert not edb.is_current(accept_newer=True)


def test_schema_is_not_loaded_before_it_is_asked(tmp_path):
    source = f"""
import sys
import engagement_db as edb
edb.connect("sqlite:///{tmp_path}/empty.db")
before = any(name.startswith("engagement_db.schema") for name in sys.modules)
print(before, edb.is_current())
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
