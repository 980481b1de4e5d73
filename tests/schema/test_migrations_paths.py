"""Any path up and down: whatever was done before, one revision is always the same schema."""

import contextlib
from collections.abc import Iterator

import peewee
import pytest
import servers
from commands import copy_scripts
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from independent_catalog import Snapshot, everything, unlike
from peewee_migrate import Router
from platform_database import build

from engagement_db.orm.urls import open_database
from engagement_db.schema import runner, script_files

REVISIONS = script_files.names()


class Ways:
    """One database on its way, and what each revision is when one comes to it straight from the platform."""

    def __init__(self, url: str, database: peewee.Database, directory: str) -> None:
        self.url = url
        self.database = database
        self.directory = directory
        self.expected: list[Snapshot] = [everything(url)]
        for revision in REVISIONS:
            runner.migrate(database, to=revision)
            self.expected.append(everything(url))

    @property
    def applied(self) -> int:
        return len(runner.status(self.database).applied)

    def go(self, applied: int, by_router: bool) -> None:
        steps = applied - self.applied
        if by_router and steps:
            router = Router(self.database, migrate_dir=self.directory)
            if steps > 0:
                router.run(REVISIONS[applied - 1])
            for _ in range(-steps):
                router.rollback()
        elif steps > 0:
            runner.migrate(self.database, to=REVISIONS[applied - 1])
        elif steps < 0:
            runner.rollback(self.database, count=-steps)


@pytest.fixture(scope="module")
def ways(server: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    server.start()
    url = server.create_database()
    build(url)
    scripts = copy_scripts(tmp_path_factory.mktemp("ways"))
    with contextlib.closing(open_database(url)) as database:
        yield Ways(url, database, str(scripts))
    server.drop_database(url)


# The database stays as the last path left it: that, too, is a path to the next.
@settings(max_examples=6, phases=[Phase.generate])
@given(path=st.lists(st.tuples(st.integers(0, len(REVISIONS)), st.booleans()), min_size=1, max_size=4))
def test_one_revision_is_one_schema(ways: Ways, path: list[tuple[int, bool]]) -> None:
    for applied, by_router in path:
        ways.go(applied, by_router)
    event(f"ends with {ways.applied} applied")
    assert ways.applied == path[-1][0]
    assert unlike(ways.expected[ways.applied], everything(ways.url)) == {}
