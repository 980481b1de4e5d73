"""A database of the cluster that a module brings up: with the platform's tables, and with the revisions too."""

import commands
import pytest
from cluster_plays import assert_migrated, make_platform, migrate
from clusters import Cluster


@pytest.fixture
def urls(cluster: Cluster) -> list[str]:
    """The URLs of a database with the platform's tables on each server."""
    cluster.start()
    urls = cluster.create_database()
    make_platform(urls)
    return urls


@pytest.fixture
def migrated(urls: list[str]) -> list[str]:
    """The same, with the revisions."""
    assert commands.run(migrate(urls[0])).code == 0
    assert_migrated(urls)
    return urls
