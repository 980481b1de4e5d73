"""Fixtures for pytest, which loads them wherever the package is installed. They do nothing until a test asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import peewee

    from engagement_db.testing.clock import Clock


@pytest.fixture(scope="session")
def engagement_db_url() -> str:
    """The URL of the scratch database: SQLite in memory. Override it in a conftest.py to test on another server."""
    return "sqlite:///:memory:"


@pytest.fixture(scope="session")
def engagement_db_migrated(engagement_db_url: str) -> Iterator[peewee.Database]:
    """The scratch database, migrated once for the run, and connected. No model is bound to it."""
    from engagement_db.testing.database import scratch_database

    with scratch_database(engagement_db_url) as database:
        yield database


@pytest.fixture
def engagement_db_database(engagement_db_migrated: peewee.Database) -> Iterator[peewee.Database]:
    """The scratch database for one test, all models bound to it: what the test writes is rolled back."""
    from engagement_db.testing.database import rolled_back

    with rolled_back(engagement_db_migrated) as database:
        yield database


@pytest.fixture
def engagement_db_clock() -> Iterator[Clock]:
    """The library's clock, stopped in the test; it can be set and advanced."""
    from engagement_db.testing.clock import stopped_clock

    with stopped_clock() as clock:
        yield clock
