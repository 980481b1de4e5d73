import pytest

from engagement_db.orm.urls import open_database


@pytest.fixture
def live(url):
    """A connected, empty database."""
    database = open_database(url)
    with database.connection_context():
        yield database
