"""Databases that a Node service and the library share."""

from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from node import node

import engagement_db as edb
from engagement_db.cli import main


@pytest.fixture
def platform(url: str) -> str:
    """The URL of a database with the platform's own tables, by Sequelize."""
    node(url, "platform")
    return url


@pytest.fixture
def shared(platform: str) -> Iterator[str]:
    """The URL of a database that our scripts migrated beside the platform; models are bound to it."""
    result = CliRunner().invoke(main, ["migrate", "--database", platform])
    assert result.exit_code == 0, result.output
    database = edb.connect(platform)
    with database.connection_context():
        yield platform
