"""A replica of MySQL, and one of MariaDB, that follows by GTID."""

from collections.abc import Callable, Iterator

import pytest
from cluster_plays import assert_nothing_is_missed
from clusters import Cluster, brought_up, replicated

Property = Callable[[str, object], None]


@pytest.fixture(params=["mysql", "mariadb"], scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with brought_up(replicated(request.param), f"{request.param} with a replica") as nodes:
        yield nodes


def test_an_up_to_date_block_on_a_replica_misses_nothing(
    cluster: Cluster, migrated: list[str], record_property: Property
) -> None:
    record_property("sample", f"{cluster.nodes[0].version} replica: {assert_nothing_is_missed(*migrated)}")
